"""Base models: found by content, refused with a code, loaded as they are."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from coherence_ft.documents.canonical import file_digest
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.recipe import BaseModel, Quantization
from coherence_ft.models import gguf
from coherence_ft.models.base import load_config, load_model, load_tokenizer, locate, put_adapter
from tests.tiny import CHAT_TEMPLATE, tiny_config, tiny_model, tiny_model_folder, tiny_tokenizer


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(pristine, tmp_path / "model")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COHERENCE_FT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def codes(model: object, **fields: Any) -> tuple[str, ...]:
    with pytest.raises(CoherenceError) as caught:
        located = locate(BaseModel(str(model), **fields))
        load_model(located)
    return caught.value.codes


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_is_identified_by_the_content_of_what_makes_the_model(folder: Path) -> None:
    before = locate(BaseModel(str(folder)))
    (folder / "README.md").write_text("notes")
    assert locate(BaseModel(str(folder))).digest == before.digest
    assert "6 files" in before.digest_of and before.kind == "folder"
    for name in ("config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        try:
            assert locate(BaseModel(str(folder))).digest != before.digest
        finally:
            (folder / name).write_bytes(content)
    shutil.move(folder, folder.parent / "elsewhere")
    assert locate(BaseModel(str(folder.parent / "elsewhere"))).digest == before.digest


def test_a_loaded_model_is_the_saved_one(folder: Path) -> None:
    located = locate(BaseModel(str(folder), license="Apache-2.0"))
    model = load_model(located, precision="float32")
    saved = tiny_model().state_dict()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())
    assert not model.training and located.license == "Apache-2.0"
    assert load_model(located).dtype == torch.bfloat16


def test_a_pinned_digest_is_held(folder: Path) -> None:
    digest = locate(BaseModel(str(folder))).digest
    assert locate(BaseModel(str(folder), sha256=digest)).digest == digest
    assert codes(folder, sha256="0" * 64) == ("CFT505",)


def test_what_is_missing_or_no_model_is_refused(folder: Path, tmp_path: Path) -> None:
    assert codes(tmp_path / "nothing") == ("CFT501",)
    assert codes("not a model id at all!") == ("CFT501",)
    (tmp_path / "empty").mkdir()
    assert codes(tmp_path / "empty") == ("CFT502",)
    (folder / "config.json").write_text("{")
    assert codes(folder) == ("CFT502",)
    edit = tmp_path / "other" / "config.json"
    edit.parent.mkdir()
    edit.write_text('{"model_type": "llama"}')
    assert codes(edit.parent) == ("CFT502",)


def test_pickled_weights_are_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    assert codes(folder) == ("CFT506",)


def test_truncated_weights_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    for length in (4, 100, len(content) // 2, len(content) - 1):
        weights.write_bytes(content[:length])
        assert codes(folder) == ("CFT507",)


def test_a_missing_shard_is_named(folder: Path) -> None:
    tiny_model().save_pretrained(folder, max_shard_size="100KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2 and locate(BaseModel(str(folder)))
    shards[1].unlink()
    with pytest.raises(CoherenceError) as caught:
        locate(BaseModel(str(folder)))
    assert caught.value.codes == ("CFT507",)
    assert caught.value.diagnostics[0].path.endswith(shards[1].name)


def test_weights_of_another_configuration_are_refused(folder: Path) -> None:
    """transformers itself would warn and go on with random numbers."""
    edit_config(folder, num_hidden_layers=3)
    assert codes(folder) == ("CFT507",)
    edit_config(folder, num_hidden_layers=2, intermediate_size=112)
    assert codes(folder) == ("CFT507",)


def test_the_declared_architecture_is_compared_with_the_real_one(folder: Path) -> None:
    sizes = {"model_type": "llama", "hidden_size": 64, "vocab_size": 400, "rope_theta": 10000.0}
    assert load_config(locate(BaseModel(str(folder), architecture=sizes))).hidden_size == 64
    wrong = {**sizes, "hidden_size": 128, "rope_theta": 500.0}
    with pytest.raises(CoherenceError) as caught:
        load_config(locate(BaseModel(str(folder), architecture=wrong)))
    assert caught.value.codes == ("CFT508", "CFT508")
    assert "hidden_size" in caught.value.diagnostics[0].message


def test_unknown_experts_foreign_code_and_quantized_weights_are_refused(folder: Path) -> None:
    edit_config(folder, num_local_experts=4)
    assert codes(folder) == ("CFT509",)
    edit_config(folder, num_local_experts=0, quantization_config={"quant_method": "gptq", "bits": 4})
    assert codes(folder) == ("CFT514",)
    edit_config(folder, model_type="mystery", auto_map={"AutoConfig": "evil.Config"})
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    assert codes(folder) == ("CFT510",)


def test_known_experts_load_but_are_not_quantized(tmp_path: Path) -> None:
    located = locate(BaseModel(str(tiny_model_folder(tmp_path, "mixtral"))))
    assert load_model(located).config.model_type == "mixtral"
    with pytest.raises(CoherenceError) as caught:
        load_model(located, quantization=Quantization("nf4"))
    assert caught.value.codes == ("CFT515",)


def test_the_hub_needs_a_commit(tmp_path: Path) -> None:
    assert codes("org/model") == ("CFT503",)
    assert codes("org/model", revision="main") == ("CFT503",)


def test_an_unreachable_hub_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert codes("org/model-that-is-not-cached", revision="0" * 40) == ("CFT504",)


def test_a_derivative_is_not_located_here() -> None:
    with pytest.raises(ValueError, match="verified"):
        locate(BaseModel("derivative:/runs/x"))


@pytest.mark.parametrize("pad", [None, "<|im_end|>"])
def test_padding_is_never_the_end_of_a_turn(tmp_path: Path, pad: str | None) -> None:
    """SmolLM2 pads with its end-of-turn token."""
    folder = tiny_model_folder(tmp_path, pad_token=False)
    if pad:
        tokenizer = tiny_tokenizer(pad_token=False)
        tokenizer.pad_token = pad
        tokenizer.save_pretrained(folder)
    located = locate(BaseModel(str(folder)))
    tokenizer = load_tokenizer(located)
    assert tokenizer.pad_token == "<|pad|>" and len(tokenizer) == 400
    model = load_model(located)
    assert model.config.pad_token_id == model.get_input_embeddings().padding_idx == tokenizer.pad_token_id


def test_a_tokenizer_without_a_free_token_is_refused(folder: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.WordLevel({"<end>": 0, "yes": 1}, unk_token="<end>"))
    PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<end>").save_pretrained(folder)
    assert codes(folder) == ("CFT513",)


def test_a_missing_or_larger_tokenizer_is_refused(folder: Path) -> None:
    bigger = tiny_tokenizer()
    bigger.add_tokens([f"extra{i}" for i in range(5)])
    bigger.save_pretrained(folder)
    assert codes(folder) == ("CFT511",)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    assert codes(folder) == ("CFT511",)


def test_the_recipe_may_replace_the_chat_template(folder: Path, tmp_path: Path) -> None:
    template = tmp_path / "own.jinja"
    template.write_text("{{ messages[0].content }}")
    own = load_tokenizer(locate(BaseModel(str(folder), chat_template=template)))
    assert own.chat_template == "{{ messages[0].content }}"
    assert load_tokenizer(locate(BaseModel(str(folder)))).chat_template == CHAT_TEMPLATE
    assert codes(folder, chat_template=tmp_path / "none.jinja") == ("CFT512",)


@pytest.mark.parametrize("quantization", [Quantization("nf4", double=True), Quantization("int8")], ids=str)
def test_a_quantized_base_trains_only_what_is_added(
    folder: Path, quantization: Quantization, caplog: pytest.LogCaptureFixture
) -> None:
    from peft import LoraConfig, get_peft_model

    model = load_model(locate(BaseModel(str(folder))), quantization=quantization, for_training=True)
    assert model.is_quantized and not any(p.requires_grad for p in model.parameters())
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    ids = torch.tensor([[1, 2, 3, 4]])
    with caplog.at_level(logging.WARNING, "bitsandbytes"):
        adapted(ids, labels=ids).loss.backward()
    assert not caplog.records
    grads = {name for name, p in adapted.named_parameters() if p.grad is not None}
    assert grads and all("lora_" in name for name in grads)


def test_an_adapter_fits_its_base_and_no_other(folder: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    located = locate(BaseModel(str(folder)))
    trained = get_peft_model(load_model(located, precision="float32"), config).eval()
    trained.save_pretrained(tmp_path / "adapter")
    ids = torch.tensor([[1, 2, 3, 4]])
    again = put_adapter(load_model(located, precision="float32"), tmp_path / "adapter")
    with torch.no_grad():
        assert torch.equal(again(ids).logits, trained(ids).logits)
    assert not any(p.requires_grad for p in again.parameters())
    further = put_adapter(load_model(located), tmp_path / "adapter", trainable=True)
    assert {n.split(".")[-3] for n, p in further.named_parameters() if p.requires_grad} == {
        "lora_A",
        "lora_B",
    }

    def refused(model: Any, adapter: Path) -> bool:
        with pytest.raises(CoherenceError) as caught:
            put_adapter(model, adapter)
        return caught.value.codes == ("CFT516",)

    assert refused(load_model(located), folder)  # no adapter at all
    config3 = tiny_config()
    config3.num_hidden_layers = 3
    from transformers import AutoModelForCausalLM

    assert refused(AutoModelForCausalLM.from_config(config3), tmp_path / "adapter")  # one layer unadapted
    config3.num_hidden_layers, config3.hidden_size = 2, 128
    assert refused(AutoModelForCausalLM.from_config(config3), tmp_path / "adapter")  # other shapes
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert refused(load_model(located), tmp_path / "adapter")


def tiny_gguf(path: Path) -> Path:
    """The tiny llama as GGUF in float32, as llama.cpp's converter would write it (names and rotary order)."""
    from gguf import GGUFWriter

    model, tokenizer = tiny_model(), tiny_tokenizer()
    c = model.config
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(c.hidden_size // c.num_attention_heads)
    writer.add_vocab_size(c.vocab_size)
    state = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    ordered = sorted(state["vocab"], key=state["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(ordered)
    writer.add_token_types([3 if t.startswith("<|") else 1 for t in ordered])
    writer.add_token_merges([" ".join(pair) for pair in state["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHAT_TEMPLATE)
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    outer = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    for name, tensor in model.state_dict().items():
        stem = name.removesuffix(".weight")
        if stem in outer:
            target = outer[stem]
        else:
            _, _, layer, rest = stem.split(".", 3)
            target = f"blk.{layer}.{names[rest]}"
            heads = {"q_proj": c.num_attention_heads, "k_proj": c.num_key_value_heads}.get(
                rest.split(".")[-1]
            )
            if heads:  # llama.cpp interleaves the halves that the rotation pairs
                rows, columns = tensor.shape
                tensor = (
                    tensor.view(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
                )
        writer.add_tensor(f"{target}.weight", tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_is_dequantized_once_and_checked_ever_after(tmp_path: Path, own_cache: Path) -> None:
    path = tiny_gguf(tmp_path / "tiny.gguf")
    located = locate(BaseModel(str(path)))
    assert located.digest == file_digest(path) and located.kind == "gguf"
    model = load_model(located, precision="float32")
    saved = tiny_model().state_dict()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())
    tokenizer = load_tokenizer(located)
    text = "Is A00 Cholera<|im_end|>\n yes, 12"
    assert tokenizer.encode(text) == tiny_tokenizer().encode(text)
    assert tokenizer.pad_token != "<|im_end|>" and tokenizer.chat_template == CHAT_TEMPLATE

    copy = own_cache / "gguf" / located.digest / "float32" / "model.safetensors"
    written = copy.stat().st_mtime_ns
    load_model(located, precision="float32")
    assert copy.stat().st_mtime_ns == written  # served from the cache
    content = copy.read_bytes()
    copy.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    load_model(located, precision="float32")
    assert copy.read_bytes() == content  # a changed copy is made again
    assert not [p for p in copy.parents[1].iterdir() if p.name.startswith(".")]


def test_a_gguf_that_is_damaged_or_none_is_refused(tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path / "tiny.gguf")
    content = path.read_bytes()
    for length in (16, 3000, len(content) // 2, len(content) - 40):
        path.write_bytes(content[:length])
        assert codes(path) == ("CFT507",)
    path.write_bytes(b"PK\x03\x04" + content)
    assert codes(path) == ("CFT502",)


def test_a_full_disk_leaves_no_half_copy(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    located = locate(BaseModel(str(tiny_gguf(tmp_path / "tiny.gguf"))))
    load_tokenizer(located)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("transformers.PreTrainedModel.save_pretrained", full)
        with pytest.raises(CoherenceError, match="No space left") as caught:
            load_model(located)
    assert caught.value.codes == ("CFT517",)
    assert sorted(p.name for p in (own_cache / "gguf" / located.digest).iterdir()) == ["metadata"]
    assert load_model(located).dtype == torch.bfloat16


def test_a_copy_by_another_version_of_transformers_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    located = locate(BaseModel(str(tiny_gguf(tmp_path / "tiny.gguf"))))
    with monkeypatch.context() as patch:
        patch.setattr(gguf, "_maker", lambda: "transformers 4.0")
        stale = gguf.metadata(located.path, located.digest) / "copy.json"
        assert json.loads(stale.read_text())["made_by"] == "transformers 4.0"
    load_config(located)
    assert json.loads(stale.read_text())["made_by"] != "transformers 4.0"


def test_a_located_base_is_frozen(folder: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        locate(BaseModel(str(folder))).digest = "x"  # type: ignore[misc]
