"""The real 135M model and the real questions: what the shipped recipes do, for two steps each."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from coherence_ft.authority.keys import generate
from coherence_ft.cli.main import _run
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.recipe import BaseModel, read_recipe
from coherence_ft.manifest.verify import verify
from coherence_ft.models.base import load_model, load_tokenizer, locate
from coherence_ft.models.chat import render
from coherence_ft.models.scoring import score_options

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example tenant with keys of its own, and the clinical data, in a folder of their own."""
    root = tmp_path_factory.mktemp("real")
    shutil.copytree(ROOT / "examples/tenant", root / "tenant", ignore=shutil.ignore_patterns("keys"))
    generate(root / "tenant/keys", "model-risk")
    build = [sys.executable, str(ROOT / "examples/build_clinical.py"), "--out", str(root / "clinical")]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    return root


def settings(world: Path, name: str, **more: object) -> list[str]:
    """Command-line options that turn a shipped recipe into two steps in `world`."""
    values: dict[str, object] = {
        "tenant": world / "tenant/tenant.yaml",
        "probes.calibration": world / "clinical/calibration.jsonl",
        "probes.certification": world / "clinical/certification.jsonl",
        "probes.test": world / "clinical/test.jsonl",
        "probes.token_budget": 3000,
        "data.train": world / "clinical/train.jsonl",
        "output": world / "runs" / name,
        "training.epochs": "null",
        "training.max_steps": 2,
        "training.save_every": 2,
        "training.batch_size": 2,
        "training.gradient_accumulation": 1,
    }
    return [f"--set={key}={value}" for key, value in {**values, **more}.items()]


@pytest.mark.parametrize("name", ["clinical", "clinical-qlora-nf4", "clinical-qlora-int8"])
def test_a_shipped_recipe_trains_and_signs(
    world: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(["train", str(ROOT / f"recipes/{name}.yaml"), *settings(world, name)]) == 0, (
        capsys.readouterr()
    )
    checkpoint = world / "runs" / name / "checkpoint-2"
    manifest = verify(checkpoint, world / "tenant/tenant.yaml")
    assert manifest.stage == "monitoring"
    assert manifest.assessment.skipped > 0  # the budget was smaller than the split
    assert {r.constraint for r in manifest.assessment.results if r.estimate} >= {"accuracy", "violation-rate"}
    changed = [v for k, v in load_file(checkpoint / "adapter_model.safetensors").items() if "lora_B" in k]
    assert any(tensor.abs().max() > 0 for tensor in changed)  # B starts at zero


def test_dpo_continues_a_signed_checkpoint_and_names_it(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = world / "runs/clinical/checkpoint-2"
    if not parent.exists():
        assert _run(["train", str(ROOT / "recipes/clinical.yaml"), *settings(world, "clinical")]) == 0
    more = {"base.model": f"derivative:{parent}", "data.train": world / "clinical/preferences.jsonl"}
    options = settings(world, "dpo", **more)
    assert _run(["train", str(ROOT / "recipes/clinical-dpo.yaml"), *options]) == 0, capsys.readouterr()
    tenant = world / "tenant/tenant.yaml"
    child = verify(world / "runs/dpo/checkpoint-2", tenant)
    assert [p["manifestDigest"] for p in child.predicate["lineage"]["parents"]] == [
        verify(parent, tenant).digest
    ]


def test_the_base_is_the_pinned_one_and_knows_what_a_capital_is() -> None:
    base = locate(read_recipe(ROOT / "recipes/quickstart.yaml").base)
    model, tokenizer = load_model(base), load_tokenizer(base)
    prompt = render(tokenizer, [{"role": "user", "content": "What is the capital of France? One word."}])
    paris, rome = score_options(model, tokenizer, [(prompt, ("Paris", "Rome"))]).log_probabilities[0]
    assert paris > rome


def test_a_truncated_base_is_refused(tmp_path: Path) -> None:
    pinned = read_recipe(ROOT / "recipes/quickstart.yaml").base
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(locate(pinned).path.read_bytes()[:-4096])
    with pytest.raises(CoherenceError) as refused:
        locate(BaseModel(str(cut), sha256=pinned.sha256))
    assert refused.value.codes == ("CFT505",)
    with pytest.raises(CoherenceError):
        load_model(locate(BaseModel(str(cut))))
