"""Merges and exports: what PEFT computes, measured again, signed with its parents; no evidence is kept."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from workshop import STEPS, Workshop, coherence_ft, statement, weights

from coherence_ft.authority.keys import load_private
from coherence_ft.documents.canonical import canonical_json, file_digest
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.recipe import BaseModel
from coherence_ft.manifest.files import BUNDLE, MANIFEST
from coherence_ft.manifest.signing import sign
from coherence_ft.manifest.verify import verify
from coherence_ft.models.base import load_model, locate, put_adapter
from coherence_ft.serving.derivative import load_derivative
from coherence_ft.training import merge as merging

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

ADAPTER = "adapter_model.safetensors"
LAST = f"checkpoint-{STEPS}"


@pytest.fixture(scope="module")
def second(workshop: Workshop) -> Path:
    """Another adapter on the same base."""
    return trained(workshop, "second", data={"train": "messages.jsonl"}, training={"seed": 5})


@pytest.fixture(scope="module")
def full(workshop: Workshop, derivative: Path) -> Path:
    return merged(workshop, "into-base", derivative, "--into-base")


def trained(workshop: Workshop, name: str, **changes: Any) -> Path:
    assert coherence_ft("train", workshop.recipe(name, **changes)) == 0
    return workshop.run(name) / LAST


def merged(workshop: Workshop, name: str, *arguments: object, **changes: Any) -> Path:
    recipe = workshop.recipe(name, **changes)
    run = workshop.root / "runs" / name
    assert coherence_ft("merge", *arguments, "--recipe", recipe, "--output", run) == 0
    return run / "checkpoint-0"


def refused(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], code: str, *arguments: object, **changes: Any
) -> str:
    recipe = workshop.recipe("refused", **changes)
    output = workshop.root / "runs" / "refused"
    before = {path.name for path in output.parent.iterdir()}
    capsys.readouterr()
    assert coherence_ft("merge", *arguments, "--recipe", recipe, "--output", output) == 1
    said = capsys.readouterr().err
    assert f"error[{code}]" in said and "Traceback" not in said
    assert {path.name for path in output.parent.iterdir()} == before  # nothing, not even a part
    return said


def by_peft(workshop: Workshop, one: Path, other: Path, seed: int, **how: Any) -> dict[str, torch.Tensor]:
    """The same merge with nothing but PEFT."""
    from peft import PeftModel, get_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(workshop.base, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, one, adapter_name="a")
    model.load_adapter(other, "b")
    torch.manual_seed(seed)
    model.add_weighted_adapter(["a", "b"], adapter_name="c", **how)
    return get_peft_model_state_dict(model, adapter_name="c")


@pytest.mark.parametrize("method", merging.METHODS)
def test_a_merge_is_what_peft_computes(
    workshop: Workshop, derivative: Path, second: Path, method: str
) -> None:
    options: list[object] = ["--method", method, "--weights", "0.7,-0.4", "--seed", 11]
    how: dict[str, Any] = {"weights": [0.7, -0.4], "combination_type": method}
    if method in merging.SPARSE:
        options += ["--density", 0.6]
        how["density"] = 0.6
    folder = merged(workshop, f"by-{method}", derivative, second, *options)
    theirs = by_peft(workshop, derivative, second, 11, **how)
    ours = load_file(folder / ADAPTER)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert any(not torch.equal(ours[name], load_file(derivative / ADAPTER)[name]) for name in ours)
    predicate = statement(folder)
    assert predicate["method"] == {
        "regime": "merge",
        "adapter": {
            "rank": 4,
            "alpha": 4,
            "dropout": "0.1",
            "targetModules": ["q_proj", "v_proj"],
            "adaptRouter": False,
        },
        "quantization": None,
        "derivation": {"method": method, "weights": ["0.7", "-0.4"], "seed": 11}
        | ({"density": "0.6"} if method in merging.SPARSE else {}),
    }


def test_the_facts_of_a_merge_are_those_of_its_parents(
    workshop: Workshop, derivative: Path, second: Path
) -> None:
    folder = merged(workshop, "facts", derivative, second, "--method", "linear")
    predicate, parents = statement(folder), [statement(derivative), statement(second)]
    assert predicate["stage"] == "monitoring" and predicate["evaluation"]["split"] == "calibration"
    assert predicate["name"] == "facts"
    assert predicate["lineage"] == {
        "relation": "merged",
        "parents": [
            {"name": p["name"], "manifestDigest": file_digest(f / MANIFEST)}
            for p, f in zip(parents, (derivative, second), strict=True)
        ],
        "ancestors": sorted(file_digest(f / MANIFEST) for f in (derivative, second)),
    }
    assert predicate["data"] == [p["data"][0] for p in parents]
    compute = [int(p["downstreamModifier"]["trainingCompute"]) for p in parents]
    assert predicate["downstreamModifier"]["trainingCompute"] == str(sum(compute))
    assert predicate["training"]["steps"] == 2 * STEPS
    assert all(r["base"] for r in predicate["evaluation"]["results"] if r["constraint"] != "gain")
    assert predicate["method"]["derivation"]["weights"] == ["0.5", "0.5"]


def test_a_merge_is_certified_and_loaded_like_any_other(
    workshop: Workshop, derivative: Path, second: Path
) -> None:
    folder = merged(workshop, "certified", derivative, second, "--method", "ties")
    with pytest.raises(CoherenceError) as caught:
        load_derivative(folder, tenant=workshop.tenant)
    assert caught.value.codes == ("CFT647",)
    assert coherence_ft("promote", folder) == 0
    certified = folder.parent / "derivative"
    assert statement(certified)["lineage"] == statement(folder)["lineage"]
    assert statement(certified)["method"] == statement(folder)["method"]
    assert weights(certified) == weights(folder)
    loaded = load_derivative(certified, tenant=workshop.tenant)
    assert loaded.answer("Is amber under basalt?").confidence is not None
    again = trained(workshop, "further", base={"model": f"derivative:{certified}"}, adapter={"alpha": 4})
    assert len(statement(again)["lineage"]["ancestors"]) == 3
    assert coherence_ft("lineage", again, "--tenant", workshop.tenant) == 0


def test_no_evidence_of_a_parent_stands_for_its_child(
    workshop: Workshop, derivative: Path, second: Path, tmp_path: Path
) -> None:
    """A merged folder with its certified parent's manifest, and one that claims its parent's evidence."""
    source = merged(workshop, "claims", derivative, second, "--method", "linear")
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    for name in (MANIFEST, BUNDLE):
        shutil.copy(derivative / name, copy / name)
    with pytest.raises(CoherenceError) as caught:
        verify(copy, workshop.tenant)
    assert "CFT614" in caught.value.codes

    theirs = json.loads((derivative / MANIFEST).read_bytes())["predicate"]
    shutil.rmtree(copy)
    shutil.copytree(source, copy)
    claimed = json.loads((copy / MANIFEST).read_bytes())
    for name in ("stage", "evaluation", "evidence", "abstentionThreshold", "coverage", "calibrator"):
        claimed["predicate"][name] = theirs[name]
    content = canonical_json(claimed)
    (copy / MANIFEST).write_bytes(content)
    bundle = sign(content, load_private(workshop.root / "keys" / "lab.pem"))  # who may attest, but did not
    (copy / BUNDLE).write_bytes(canonical_json(bundle.to_json()))
    with pytest.raises(CoherenceError) as caught:
        verify(copy, workshop.tenant)
    assert {"CFT633", "CFT654"} <= set(caught.value.codes)


# into the base, and quantized


def test_an_adapter_in_its_base_computes_the_same(workshop: Workshop, derivative: Path, full: Path) -> None:
    base = load_model(locate(BaseModel(str(workshop.base))), precision="float32")
    ids = torch.tensor([[5, 9, 200, 31, 8]])
    with torch.no_grad():
        plain = base(ids).logits
        adapted = put_adapter(base, derivative)(ids).logits
        ours = load_model(locate(BaseModel(str(full))), precision="float32")(ids).logits
    assert float((ours - adapted).abs().max()) < 1e-4 < 1e-2 < float((ours - plain).abs().max())
    method = statement(full)["method"]
    assert method["adapter"] is None and method["derivation"]["comparedPrompts"] == 8
    assert 0 < float(method["derivation"]["largestLogitDifference"]) < 1e-3
    assert statement(full)["lineage"]["relation"] == "merged-into-base"
    assert not (full / "adapter_config.json").exists()


@pytest.mark.parametrize("bits", ["nf4", "int8"])
def test_a_quantized_base_is_dequantized_before_it_takes_its_adapter(workshop: Workshop, bits: str) -> None:
    source = trained(
        workshop,
        f"on-{bits}",
        quantization={"bits": bits},
        training={"precision": "bfloat16", "max_steps": 6},
    )
    folder = merged(
        workshop,
        f"off-{bits}",
        source,
        "--into-base",
        quantization={"bits": bits},
        training={"precision": "bfloat16"},
    )
    assert {t.dtype for t in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    assert statement(folder)["method"]["derivation"]["dequantizedFrom"] == bits
    assert statement(folder)["method"]["quantization"] is None


def test_a_merge_that_computes_something_else_is_refused(
    workshop: Workshop,
    derivative: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers import PreTrainedModel

    save = PreTrainedModel.save_pretrained

    def damaged(model: Any, folder: Path, **options: Any) -> None:
        save(model, folder, **options)
        tensors = load_file(folder / "model.safetensors")
        tensors["model.layers.0.self_attn.v_proj.weight"] *= 1.5
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", damaged)
    assert "logits differ by" in refused(workshop, capsys, "CFT747", derivative, "--into-base")


@pytest.mark.parametrize("bits", ["nf4", "int8"])
def test_a_quantized_export_is_smaller_and_loads_as_it_is(
    workshop: Workshop, full: Path, bits: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = merged(workshop, f"small-{bits}", full, "--quantize", bits)
    derivation = statement(folder)["method"]["derivation"]
    assert derivation["bytesAfter"] == (folder / "model.safetensors").stat().st_size
    assert derivation["bytesAfter"] < derivation["bytesBefore"] == merging.weight_bytes(full)
    assert statement(folder)["method"]["quantization"]["bits"] == bits
    assert len(statement(folder)["lineage"]["ancestors"]) == 2
    assert coherence_ft("promote", folder) == 0
    loaded = load_derivative(folder.parent / "derivative", tenant=workshop.tenant)
    kinds = {type(module).__name__ for module in loaded.model.modules()}
    assert {"nf4": "Linear4bit", "int8": "Linear8bitLt"}[bits] in kinds
    assert loaded.answer("Is amber under basalt?").confidence is not None
    refused(workshop, capsys, "CFT748", folder, "--quantize", "int8")
    # as the base of something else, quantized weights are refused as ever
    assert coherence_ft("train", workshop.recipe("onto", base={"model": str(folder)})) == 1
    assert "CFT514" in capsys.readouterr().err


# refusals


def changed_parent(
    workshop: Workshop, source: Path, name: str, change: Callable[[Path], Any], base: Path | None = None
) -> Path:
    """A copy that was changed and signed again: a script can make what no recipe does."""
    folder = workshop.root / "runs" / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    change(folder)
    claimed = json.loads((folder / MANIFEST).read_bytes())
    for subject in claimed["subject"]:
        subject["digest"]["sha256"] = file_digest(folder / subject["name"])
    if base is not None:
        claimed["predicate"]["base"]["digest"] = locate(BaseModel(str(base))).digest
    content = canonical_json(claimed)
    (folder / MANIFEST).write_bytes(content)
    bundle = sign(content, load_private(workshop.root / "keys" / "risk.pem"))
    (folder / BUNDLE).write_bytes(canonical_json(bundle.to_json()))
    return folder


def setting(file: str, **values: Any) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        document = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(document | values))

    return change


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("CFT743", setting("adapter_config.json", r=8)),
        ("CFT744", setting("adapter_config.json", target_modules=["q_proj", "k_proj"])),
        ("CFT745", setting("coherence/serving.json", precision="bfloat16")),
        ("CFT746", setting("adapter_config.json", use_rslora=True)),
    ],
)
def test_adapters_that_do_not_go_together(
    workshop: Workshop,
    derivative: Path,
    second: Path,
    code: str,
    change: Callable[[Path], Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = changed_parent(workshop, second, "unlike", change)
    refused(workshop, capsys, code, derivative, other, "--method", "linear")


def test_parents_and_recipe_on_other_bases(
    workshop: Workshop, derivative: Path, second: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = workshop.root / "other-base"
    shutil.copytree(workshop.base, base, dirs_exist_ok=True)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"use_cache": False}))

    def elsewhere(folder: Path) -> None:
        serving = json.loads((folder / "coherence/serving.json").read_text())
        serving["base"]["model"] = str(base)
        (folder / "coherence/serving.json").write_text(json.dumps(serving))

    other = changed_parent(workshop, second, "elsewhere", elsewhere, base)
    refused(workshop, capsys, "CFT741", derivative, other, "--method", "linear")
    refused(workshop, capsys, "CFT742", derivative, "--into-base", base={"model": "./other-base"})


def test_what_cannot_be_merged_or_quantized(
    workshop: Workshop, derivative: Path, full: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(workshop, capsys, "CFT740", derivative, full, "--method", "linear")
    refused(workshop, capsys, "CFT740", full, "--into-base")
    refused(workshop, capsys, "CFT740", derivative, "--quantize", "nf4")
    refused(workshop, capsys, "CFT749", derivative, derivative, "--method", "linear")
    (workshop.root / "runs" / "kept").mkdir()
    recipe = workshop.recipe("refused")
    taken = workshop.root / "runs" / "kept"
    assert coherence_ft("merge", derivative, "--into-base", "--recipe", recipe, "--output", taken) == 1
    assert "CFT725" in capsys.readouterr().err
    touched = changed_parent(workshop, derivative, "touched", lambda folder: None)
    (touched / ADAPTER).write_bytes(b"other")
    refused(workshop, capsys, "CFT614", touched, "--into-base")


def test_probes_that_a_parent_was_trained_on(
    workshop: Workshop, derivative: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under the probes that `train` knew, nothing is open; under others, the data have to be shown."""
    folder = merged(workshop, "known", derivative, "--into-base")
    merged(workshop, "known-too", folder, "--quantize", "int8")  # which lists data that it was not trained on
    assert "CFT705" not in capsys.readouterr().err
    (question, *others) = workshop.probes("test").read_text().splitlines(keepends=True)
    other = workshop.root / "other.jsonl"
    other.write_text("".join(others))
    folder = merged(workshop, "open", derivative, "--into-base", probes={"test": "other.jsonl"})
    assert "warning[CFT705]" in capsys.readouterr().err
    shown = ("--trained-on", workshop.root / "pairs.jsonl")
    merged(workshop, "shown", derivative, "--into-base", *shown, probes={"test": "other.jsonl"})
    assert "CFT705" not in capsys.readouterr().err
    prompt = json.loads((workshop.root / "pairs.jsonl").read_text().splitlines()[0])["prompt"]
    other.write_text("".join(others) + json.dumps(json.loads(question) | {"messages": prompt}) + "\n")
    refused(workshop, capsys, "CFT705", derivative, "--into-base", *shown, probes={"test": "other.jsonl"})
    # of a child too, whose parent it was that was trained
    full = merged(workshop, "open-again", folder, "--quantize", "int8", probes={"test": "other.jsonl"})
    assert "warning[CFT705]" in capsys.readouterr().err and full.exists()


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--into-base", "--quantize", "nf4"),
        ("--method", "linear"),
        ("--into-base", "--seed", "3"),
        ("--quantize", "int8", "--double"),
        ("--method", "magic"),
        ("--method", "linear", "--weights", "a,b"),
        ("--method", "linear", "--weights", "nan"),
    ],
)
def test_options_that_do_not_go_together_are_usage_errors(tmp_path: Path, options: tuple[str, ...]) -> None:
    given = ("merge", tmp_path, "--recipe", "r.yaml", "--output", tmp_path / "new")
    assert coherence_ft(*given, *options) == 2


@pytest.mark.parametrize("options", [("--density", "0.5"), ("--weights", "1,2,3"), ("--density", "0")])
def test_options_of_two_adapters(tmp_path: Path, options: tuple[str, ...]) -> None:
    given = ("merge", tmp_path, tmp_path, "--recipe", "r.yaml", "--output", tmp_path / "new")
    assert coherence_ft(*given, "--method", "linear", *options) == 2


def test_a_crash_in_the_middle_leaves_nothing(
    workshop: Workshop,
    derivative: Path,
    second: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from coherence_ft.training import export

    def full_disk(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    for step in ("measure_derivative", "seal", "record_run", "verify"):
        with monkeypatch.context() as patch:
            patch.setattr(export, step, full_disk)
            refused(workshop, capsys, "CFT708", derivative, second, "--method", "linear")


# a base made of derivatives, and a derivative as a base


def test_what_is_trained_on_a_derivative_or_a_mixture_of_some_names_them(
    workshop: Workshop, derivative: Path, full: Path
) -> None:
    import upcycle_moe

    base = locate(BaseModel(str(workshop.base)))
    with pytest.raises(CoherenceError) as caught:
        upcycle_moe.verified({"codes": derivative}, "0" * 64, workshop.tenant)
    assert caught.value.codes == ("CFT741",)
    parents = upcycle_moe.verified({"codes": derivative, "law": full}, base.digest, workshop.tenant)
    dense = load_model(base, precision="float32")
    dice = torch.Generator().manual_seed(0)
    rows = [
        (kind, torch.randint(90 * kind + 10, 90 * kind + 90, (24,), generator=dice).tolist())
        for _ in range(4)
        for kind in range(4)
    ]
    sources = {kind: upcycle_moe.source_weights(parent) for kind, parent in parents.items()}
    model = upcycle_moe.mixed(dense, upcycle_moe.routers(dense, rows), sources)
    name = "model.layers.0.self_attn.v_proj.weight"
    mean = (sources["codes"][name] + sources["law"][name] + 2 * dense.state_dict()[name]) / 4
    assert torch.allclose(model.state_dict()[name], mean)
    tokenizer = merging._tokenizer(parents["codes"])
    upcycle_moe.save(model, tokenizer, workshop.root / "moe", [p.manifest for p in parents.values()])

    on_moe = trained(workshop, "on-moe", base={"model": "./moe"}, training={"max_steps": 6, "save_every": 6})
    lineage = statement(on_moe)["lineage"]
    assert lineage["relation"] == "mixture"
    expected = sorted(file_digest(folder / MANIFEST) for folder in (derivative, full))
    assert sorted(p["manifestDigest"] for p in lineage["parents"]) == lineage["ancestors"] == expected

    on_full = trained(workshop, "on-full", base={"model": str(full)})
    lineage = statement(on_full)["lineage"]
    assert (lineage["relation"], lineage["ancestors"]) == ("continued", expected)
    verify(on_full, workshop.tenant)
