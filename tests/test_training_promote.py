"""Promotion: what passes becomes a derivative, whole; what does not leaves nothing behind but its look."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import model_signing
import pytest
from workshop import (
    QUESTIONS,
    Workshop,
    changed_recipe,
    coherence_ft,
    make_waiver,
    statement,
    weights,
    write_constraints,
)

import coherence_ft.training.promote as promote_module
from coherence_ft.authority.keys import generate
from coherence_ft.documents.canonical import file_digest
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.recipe import read_recipe
from coherence_ft.manifest.verify import verify
from coherence_ft.serving.derivative import load_derivative
from coherence_ft.training.promote import certify, promote

LAST = "checkpoint-6"


@pytest.fixture
def own_run(workshop: Workshop, sft_run: Path, tmp_path: Path) -> Workshop:
    """A world of its own in which `sft.yaml` has been run."""
    own = workshop.copy(tmp_path / "own")
    own.recipe("sft")
    shutil.copytree(sft_run, own.run(), ignore=shutil.ignore_patterns("derivative", "certification-*"))
    record = json.loads((own.run() / "run.json").read_text())
    record["recipe"] = str(own.root / "sft.yaml")
    (own.run() / "run.json").write_text(json.dumps(record))
    return own


def left(run: Path) -> set[str]:
    return {path.name for path in run.iterdir()}


def refused(capsys: pytest.CaptureFixture[str], code: str, *arguments: object) -> str:
    capsys.readouterr()
    assert coherence_ft(*arguments) == 1
    said = capsys.readouterr().err
    assert f"error[{code}]" in said
    assert "Traceback" not in said
    return said


def unwatched(name: str) -> Callable[[int, int], None]:
    return lambda done, total: None


def test_refused_when_a_hard_constraint_fails_and_nothing_is_written(
    own_run: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    write_constraints(own_run.root, brier=0.1)
    before = left(own_run.run())
    said = refused(capsys, "CFT717", "promote", own_run.run() / LAST)
    assert "brier does not let the checkpoint through (fail)" in said
    assert "at most 0.10 demanded" in said
    assert left(own_run.run()) - before == {"certification-looks.jsonl"}


def test_too_little_evidence_is_no_pass(own_run: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    path = own_run.root / "constraints.yaml"
    document = json.loads(path.read_text())
    document["constraints"][0]["minimum_evidence"] = QUESTIONS["certification"] + 1
    path.write_text(json.dumps(document))
    assert "(insufficient)" in refused(capsys, "CFT717", "promote", own_run.run() / LAST)


def test_constraints_that_are_only_reported_certify_nothing(
    own_run: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own_run.root / "constraints.yaml"
    document = json.loads(path.read_text())
    for constraint in document["constraints"]:
        constraint["enforcement"] = "report"
    path.write_text(json.dumps(document))
    refused(capsys, "CFT308", "promote", own_run.run() / LAST)


def test_a_waiver_lets_through_and_is_signed(own_run: Workshop) -> None:
    write_constraints(own_run.root, brier=0.2)
    make_waiver(own_run.root, "brier", 0.5)
    assert coherence_ft("promote", own_run.run() / LAST) == 0
    manifest = verify(own_run.run() / "derivative", own_run.tenant)
    assert [w["constraint"] for w in manifest.predicate["waivers"]] == ["brier"]
    assert {r.constraint: r.verdict for r in manifest.assessment.results}["brier"] == "waived"


@pytest.mark.parametrize("split", ["calibration", "certification"])
def test_refused_when_probes_are_others(
    own_run: Workshop, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    path = own_run.probes(split)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    before = left(own_run.run())
    assert split in refused(capsys, "CFT726", "promote", own_run.run() / LAST)
    assert left(own_run.run()) == before  # not even a look was taken


def test_other_test_probes_are_no_matter_of_promotion(own_run: Workshop) -> None:
    own_run.probes("test").unlink()
    assert coherence_ft("promote", own_run.run() / LAST) == 0


def test_refused_where_a_derivative_is_before_a_look_is_taken(
    own_run: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = own_run.run() / "derivative"
    taken.mkdir()
    before = left(own_run.run())
    refused(capsys, "CFT725", "promote", own_run.run() / LAST)
    assert left(own_run.run()) == before
    assert list(taken.iterdir()) == []


def test_every_look_is_counted_and_signed(own_run: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    run = own_run.run()
    assert coherence_ft("promote", run / LAST) == 0
    assert statement(run / "derivative")["evaluation"]["look"] == 1
    assert coherence_ft("promote", run / "checkpoint-4", "--output", run / "second") == 0
    assert statement(run / "second")["evaluation"]["look"] == 2
    # A look that ends in a refusal has been taken too.
    write_constraints(own_run.root, brier=0.1)
    refused(capsys, "CFT717", "promote", run / LAST, "--output", run / "third")
    write_constraints(own_run.root)
    assert coherence_ft("promote", run / LAST, "--output", run / "third") == 0
    assert statement(run / "third")["evaluation"]["look"] == 4
    lines = (run / "certification-looks.jsonl").read_text().splitlines()
    assert [json.loads(line)["checkpoint"] for line in lines] == [LAST, "checkpoint-4", LAST, LAST]
    assert {json.loads(line)["probeSet"] for line in lines} == {file_digest(own_run.probes("certification"))}


def test_a_later_look_demands_more(own_run: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    run = own_run.run()
    for look, taken in ((1, "93.921"), (2, "98.481")):
        assert coherence_ft("promote", run / LAST, "--output", run / f"look-{look}") == 0
        said = capsys.readouterr().out
        assert f"look {look}: limits at {taken} % where 90 % is declared" in said
        estimates = [r.estimate for r in verify(run / f"look-{look}", own_run.tenant).assessment.results]
        assert {f"{100 * e.confidence:g}" for e in estimates if e} == {taken}


def test_sequential_promotion_stops_when_it_is_clear(
    own_run: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    write_constraints(own_run.root, contradictions=0.99, violations=0.99)
    run = own_run.run()
    assert coherence_ft("promote", run / LAST, "--sequential") == 0
    assessment = verify(run / "derivative", own_run.tenant).assessment
    whole = QUESTIONS["certification"] + 12
    assert assessment.used + assessment.skipped == whole and assessment.skipped > 0
    assert f"stopped after {assessment.used} of {whole} probes" in " ".join(capsys.readouterr().out.split())
    hard = [r.estimate for r in assessment.results if r.enforcement == "hard"]
    assert all(e is not None and e.method.startswith("betting e-process") for e in hard)


def test_sequential_evaluation(own_run: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    write_constraints(own_run.root, contradictions=0.99, violations=0.99)
    assert coherence_ft("evaluate", own_run.run() / LAST, "--sequential") == 0
    assert "stopped after" in capsys.readouterr().out


def test_a_look_that_cannot_be_written_down_is_not_taken(
    own_run: Workshop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_run.run() / "certification-looks.jsonl").mkdir()

    def measured(*arguments: Any) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(promote_module, "measure_derivative", measured)
    refused(capsys, "CFT731", "promote", own_run.run() / LAST)


@pytest.mark.parametrize("where", ["copy_for_serving", "seal", "verify"])
def test_a_crash_in_the_middle_leaves_no_derivative(
    own_run: Workshop, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    real = getattr(promote_module, where)
    calls = []

    def crash(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        calls.append(result)
        raise OSError(28, "No space left on device")

    recipe = read_recipe(own_run.root / "sft.yaml")
    certification = certify(own_run.run() / LAST, recipe, unwatched)
    before = left(own_run.run())
    monkeypatch.setattr(promote_module, where, crash)
    with pytest.raises(OSError, match="No space"):
        promote(certification, recipe, own_run.run() / "derivative")
    assert calls
    assert left(own_run.run()) == before


def test_what_changed_since_it_was_measured_is_not_certified(own_run: Workshop) -> None:
    recipe = read_recipe(own_run.root / "sft.yaml")
    certification = certify(own_run.run() / LAST, recipe, unwatched)
    adapter = own_run.run() / LAST / "adapter_model.safetensors"
    content = bytearray(adapter.read_bytes())
    content[-1] ^= 1
    adapter.write_bytes(content)
    with pytest.raises(CoherenceError) as caught:
        promote(certification, recipe, own_run.run() / "derivative")
    assert caught.value.codes == ("CFT614",)
    assert not (own_run.run() / "derivative").exists()


def test_a_derivative_serves_and_holds_nothing_else(derivative: Path, sft_run: Path) -> None:
    files = {str(path.relative_to(derivative)) for path in derivative.rglob("*") if path.is_file()}
    assert files == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
        "coherence/calibrator.json",
        "coherence/constraints.json",
        "coherence/evidence/base-calibration.jsonl.gz",
        "coherence/evidence/base-certification.jsonl.gz",
        "coherence/evidence/derivative-calibration.jsonl.gz",
        "coherence/evidence/derivative-certification.jsonl.gz",
        "coherence/recipe.json",
        "coherence/serving.json",
        "coherence_manifest.json",
        "coherence_manifest.sigstore.json",
        "model.sig",
    }
    for name in ("adapter_model.safetensors", "tokenizer.json", "coherence/recipe.json"):
        assert (derivative / name).read_bytes() == (sft_run / LAST / name).read_bytes()


def test_model_signing_verifies_what_promote_wrote_last(derivative: Path, workshop: Workshop) -> None:
    public = workshop.root / "keys" / "risk.pub.pem"
    config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public)
    config.verify(derivative, derivative / "model.sig")
    assert verify(derivative, workshop.tenant).model_signed


def test_a_derivative_that_awaits_countersignatures_is_made_and_not_loaded(
    own_run: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    generate(own_run.root / "keys", "regulator")
    tenant = json.loads(own_run.tenant.read_text())
    tenant["authorities"].append(
        {
            "id": "regulator",
            "title": "Regulator",
            "level": "tenant",
            "powers": ["countersign"],
            "public_keys": ["keys/regulator.pub.pem"],
        }
    )
    tenant["countersignatures"] = [{"authorities": ["regulator"], "reason": "four eyes"}]
    own_run.tenant.write_text(json.dumps(tenant))
    derivative = own_run.run() / "derivative"
    assert coherence_ft("promote", own_run.run() / LAST) == 0
    assert "not to be loaded before it is countersigned by: regulator\n" in capsys.readouterr().out
    with pytest.raises(CoherenceError) as caught:
        load_derivative(derivative, tenant=own_run.tenant)
    assert caught.value.codes == ("CFT622",)
    assert (
        coherence_ft("countersign", derivative, "--authority", "regulator", "--tenant", own_run.tenant) == 0
    )
    assert load_derivative(derivative, tenant=own_run.tenant).manifest.countersigners == ("regulator",)


def test_the_manifest_retells_the_run_and_measures_anew(derivative: Path, sft_run: Path) -> None:
    promoted, watched = statement(derivative), statement(sft_run / LAST)
    for same in ("base", "method", "recipe", "data", "probes", "training", "lineage", "chatTemplateDigest"):
        assert promoted[same] == watched[same], same
    assert promoted["stage"] == "certified"
    assert promoted["evaluation"]["split"] == "certification"
    assert promoted["evaluation"]["probeSet"] == promoted["probes"]["certification"]
    assert promoted["evaluation"]["skipped"] == 0
    calibrator = json.loads((derivative / "coherence" / "calibrator.json").read_text())
    assert calibrator["fitted_on"]["probe_set"] == promoted["probes"]["calibration"]
    assert calibrator["fitted_on"]["split"] == "calibration"
    assert calibrator["certified_on"] == {
        "probe_set": promoted["probes"]["certification"],
        "split": "certification",
    }
    # The base beside it, in every constraint that both were measured on.
    assert all(r["base"] for r in promoted["evaluation"]["results"] if r["constraint"] != "gain")


def test_refused_when_it_does_not_verify(own_run: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    with (own_run.run() / LAST / "tokenizer.json").open("a") as file:
        file.write(" ")
    refused(capsys, "CFT614", "promote", own_run.run() / LAST)
    assert not (own_run.run() / "derivative").exists()


def test_refused_under_another_recipe(own_run: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    before = left(own_run.run())
    other = own_run.recipe("other", output="runs/sft", training={"learning_rate": 0.02})
    refused(capsys, "CFT729", "promote", own_run.run() / LAST, "--recipe", other)
    assert left(own_run.run()) == before
    assert coherence_ft("promote", own_run.run() / LAST, "--recipe", own_run.root / "sft.yaml") == 0


def test_the_recipe_is_named_where_its_record_is_missing(
    own_run: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "elsewhere" / LAST
    shutil.copytree(own_run.run() / LAST, moved)
    assert "--recipe" in refused(capsys, "CFT724", "promote", moved)
    assert coherence_ft("promote", moved, "--recipe", own_run.root / "sft.yaml") == 0
    assert weights(moved.parent / "derivative") == weights(moved)


def test_a_recipe_changed_since_is_not_the_one_that_trained(
    own_run: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    changed_recipe(own_run.root / "sft.yaml", training={"weight_decay": 0.1})
    refused(capsys, "CFT729", "promote", own_run.run() / LAST)


def test_refused_without_the_signers_key(own_run: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    before = left(own_run.run())
    (own_run.root / "keys" / "risk.pem").unlink()
    refused(capsys, "CFT662", "promote", own_run.run() / LAST)
    assert left(own_run.run()) == before


def test_tightened_later_a_derivative_is_certified_no_longer(
    own_run: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert coherence_ft("promote", own_run.run() / LAST) == 0
    write_constraints(own_run.root, brier=0.5)
    assert "brier went from bound 0.9 to 0.5" in refused(
        capsys, "CFT650", "verify", own_run.run() / "derivative", "--tenant", own_run.tenant
    )
    assert coherence_ft("promote", own_run.run() / LAST, "--output", own_run.run() / "again") == 0
    assert coherence_ft("verify", own_run.run() / "again", "--tenant", own_run.tenant) == 0


# evaluate: the same probes on anything, and nothing is written


@pytest.mark.parametrize("split", ["test", "calibration"])
def test_evaluate_takes_derivative_checkpoint_and_base(
    workshop: Workshop, sft_run: Path, derivative: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = workshop.root / "sft.yaml"
    before = {path: file_digest(path) for path in workshop.root.rglob("*") if path.is_file()}
    for arguments in (
        (derivative,),
        (sft_run / LAST,),
        ("base", "--recipe", recipe),
        (workshop.base, "--recipe", recipe),
    ):
        assert coherence_ft("evaluate", *arguments, "--split", split) == 0, arguments
        assert f"{split} split" in capsys.readouterr().out
    after = {path: file_digest(path) for path in workshop.root.rglob("*") if path.is_file()}
    assert after == before


def test_evaluate_says_no_with_its_exit_code(
    own_run: Workshop, derivative: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_constraints(own_run.root, brier=0.1)
    strict = own_run.root / "constraints.yaml"
    assert coherence_ft("evaluate", derivative, "--constraints", strict) == 1
    assert "brier: at most 0.10 demanded" in capsys.readouterr().out


def test_evaluate_never_sees_the_certification_split(derivative: Path) -> None:
    assert coherence_ft("evaluate", derivative, "--split", "certification") == 2


def test_evaluate_needs_to_know_what_with(
    workshop: Workshop, derivative: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert coherence_ft("evaluate", "base") == 2
    refused(capsys, "CFT724", "evaluate", tmp_path)
    changed = json.loads((workshop.root / "sft.yaml").read_text())
    del changed["probes"]["test"]
    recipe = workshop.root / "no-test.yaml"
    recipe.write_text(json.dumps(changed))
    refused(capsys, "CFT727", "evaluate", derivative, "--recipe", recipe)
    refused(
        capsys, "CFT501", "evaluate", tmp_path / "missing.gguf", "--recipe", recipe, "--split", "calibration"
    )


def test_evaluate_refuses_what_does_not_verify(own_run: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    (own_run.run() / LAST / "adapter_config.json").write_text("{}")
    refused(capsys, "CFT614", "evaluate", own_run.run() / LAST)


def test_nothing_measured_is_nothing_passed(own_run: Workshop) -> None:
    recipe = read_recipe(own_run.root / "sft.yaml")
    certification = certify(own_run.run() / LAST, recipe, unwatched)
    measured = certification.measured
    none = replace(measured.findings, assessment=replace(measured.assessment, results=()))
    unmeasured = replace(certification, measured=replace(measured, findings=none))
    with pytest.raises(CoherenceError) as caught:
        promote(unmeasured, recipe, own_run.run() / "derivative")
    assert caught.value.codes == ("CFT717",)
