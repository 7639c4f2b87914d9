"""`verify --recompute`: a derivative gives its figures again; whoever edits either side is found out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from test_training_promote import own_run  # noqa: F401 a fixture
from workshop import QUESTIONS, STEPS, Workshop, coherence_ft, statement, write_constraints

from coherence_ft.auditing import recompute as recompute_module
from coherence_ft.auditing.observations import read_observations
from coherence_ft.auditing.probes import departures
from coherence_ft.auditing.recompute import recompute
from coherence_ft.authority.keys import load_private
from coherence_ft.documents.canonical import canonical_json
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.probe_set import read_probe_set
from coherence_ft.loops import stored
from coherence_ft.loops.observation import CheckResult, Observations
from coherence_ft.loops.stored import dump, load
from coherence_ft.manifest.evidence import PASSES, file_of
from coherence_ft.manifest.files import BUNDLE, MANIFEST, MODEL_SIGNATURE
from coherence_ft.manifest.signing import sign
from coherence_ft.manifest.verify import VerifiedManifest, verify

FROZEN = Path(__file__).parent / "golden" / "manifests" / "1.0"
CERTIFIED = file_of("derivative", "certification")
CALIBRATED = file_of("derivative", "calibration")
OF_BASE = file_of("base", "certification")


@dataclass(frozen=True)
class Held:
    """A copy of a derivative in the hands of somebody who holds a good key."""

    folder: Path
    workshop: Workshop

    def verified(self) -> VerifiedManifest:
        return verify(self.folder, self.workshop.tenant)

    def sign(self, change: Callable[[dict[str, Any]], Any] = lambda predicate: None) -> None:
        """Sign the folder as it is, its evidence too, and the predicate as `change` leaves it."""
        said = json.loads((self.folder / MANIFEST).read_bytes())
        for subject in said["subject"]:
            subject["digest"]["sha256"] = digest(self.folder / subject["name"])
        for entry in said["predicate"]["evidence"]:
            entry["digest"] = digest(self.folder / entry["file"])
            entry["bytes"] = (self.folder / entry["file"]).stat().st_size
        change(said["predicate"])
        content = canonical_json(said)
        (self.folder / MANIFEST).write_bytes(content)
        key = load_private(self.workshop.root / "keys" / "risk.pem")
        (self.folder / BUNDLE).write_bytes(canonical_json(sign(content, key).to_json()))

    def rewrite(self, name: str, change: Callable[[Observations], Observations]) -> None:
        path = self.folder / name
        path.write_bytes(dump(change(load(path.read_bytes(), name))))

    def refused(self, *codes: str, probes: bool = False) -> str:
        """`verify` alone accepts it, and recomputing refuses it with these codes."""
        manifest = self.verified()
        with pytest.raises(CoherenceError) as caught:
            recompute(manifest, probe_sets=self.probe_sets() if probes else None)
        assert set(caught.value.codes) == set(codes), str(caught.value)
        return str(caught.value)

    def probe_sets(self) -> dict[str, Any]:
        return {split: read_probe_set(self.workshop.probes(split)) for _, split in PASSES}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def held(workshop: Workshop, derivative: Path, tmp_path: Path) -> Held:
    folder = shutil.copytree(derivative, tmp_path / "derivative")
    (folder / MODEL_SIGNATURE).unlink(missing_ok=True)  # it need not be there, and would be of other files
    return Held(folder, workshop)


def test_every_figure_of_a_derivative_follows_from_its_observations(held: Held) -> None:
    found = recompute(held.verified(), probe_sets=held.probe_sets())
    assert {model: [s.count for s in passes] for model, passes in found.observed.items()} == {
        model: [QUESTIONS[split] + 12 for split in ("calibration", "certification")]
        for model in ("derivative", "base")
    }
    assert found.figures > 100
    assert set(found.probe_sets) == {"calibration", "certification"}


def test_the_command_says_what_it_did(
    derivative: Path, workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("verify", derivative, "--tenant", workshop.tenant, "--recompute", "--probes", workshop.root)
    assert coherence_ft(*asked) == 0
    said = capsys.readouterr().out
    assert "figures from 248 observations, all equal; held against the probe files of" in said
    assert coherence_ft(*asked, "--format", "json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["verified"] and facts["recomputed"]["observations"] == 248
    assert facts["recomputed"]["probeSets"] == ["calibration", "certification"]


def test_options_that_need_another_are_no_silent_nothing(derivative: Path, workshop: Workshop) -> None:
    assert coherence_ft("verify", derivative, "--tenant", workshop.tenant, "--probes", workshop.root) == 2
    assert coherence_ft("verify", derivative, "--tenant", workshop.tenant, "--reprobe", 0) == 2


def test_it_takes_no_torch(derivative: Path, workshop: Workshop) -> None:
    asked = ["verify", str(derivative), "--tenant", str(workshop.tenant), "--recompute"]
    code = (
        f"import sys; from coherence_ft.cli.main import _run; assert _run({asked!r}) == 0;"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_estimate_that_its_signer_has_bettered(held: Held) -> None:
    def better(predicate: dict[str, Any]) -> None:
        estimate = by_id(predicate, "brier")["estimate"]
        estimate["value"] = estimate["lower"]

    held.sign(better)
    said = held.refused("CFT658")
    assert "the result for brier does not follow" in said
    assert "signed: estimate.value 0.2" in said


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("the abstention threshold", lambda p: p.update(abstentionThreshold="0.01")),
        ("the coverage", lambda p: p.update(coverage="1")),
        ("the probes counted", lambda p: p["evaluation"].update(used=1)),
        ("the result for brier", lambda p: by_id(p, "brier").update(base=None)),
        ("the result for violations", lambda p: by_id(p, "violations").update(why="it is fine")),
    ],
)
def test_any_other_figure(held: Held, what: str, change: Callable[[dict[str, Any]], Any]) -> None:
    held.sign(change)
    assert what in held.refused("CFT658")


def by_id(predicate: dict[str, Any], constraint: str) -> dict[str, Any]:
    results: list[dict[str, Any]] = predicate["evaluation"]["results"]
    return next(r for r in results if r["constraint"] == constraint)


def test_a_calibrator_that_was_not_fitted_on_them(held: Held) -> None:
    path = held.folder / "coherence" / "calibrator.json"
    fitted = json.loads(path.read_bytes())
    fitted["fitted_on"]["n"] += 1
    path.write_bytes(canonical_json(fitted))
    held.sign(lambda p: p["calibrator"].update(digest=digest(path)))
    assert "the calibrator does not follow" in held.refused("CFT658")


def test_an_edited_observation(held: Held) -> None:
    held.rewrite(CERTIFIED, lambda seen: replace(seen, answers=(turned(seen.answers[0]), *seen.answers[1:])))
    assert coherence_ft("verify", held.folder, "--tenant", held.workshop.tenant) == 1  # unsigned: CFT614
    held.sign()
    held.refused("CFT658")
    assert "differ from their probe in outcome" in held.refused("CFT658", "CFT659", probes=True)


def turned(answer: Any) -> Any:
    return replace(answer, answer=1 - answer.answer)


def test_who_edits_observations_and_figures_alike_is_found_by_the_probe_file(held: Held) -> None:
    """What computing alone cannot see: an answer key that was bent, and everything computed from it."""

    def right(seen: Observations) -> Observations:
        return replace(seen, answers=tuple(replace(a, answer=a.choice) for a in seen.answers))

    held.rewrite(CERTIFIED, right)
    held.sign()
    manifest = held.verified()
    _, derived = recompute_module._derived(manifest, read_observations(manifest))

    def consistent(predicate: dict[str, Any]) -> None:
        for result in predicate["evaluation"]["results"]:
            result.update(derived[f"the result for {result['constraint']}"])
        predicate["abstentionThreshold"] = derived["the abstention threshold"]
        predicate["coverage"] = derived["the coverage"]

    held.sign(consistent)
    recompute(held.verified())
    held.refused("CFT659", probes=True)


def test_passes_that_were_exchanged(held: Held) -> None:
    ours, theirs = held.folder / CERTIFIED, held.folder / OF_BASE
    content = ours.read_bytes()
    ours.write_bytes(theirs.read_bytes())
    theirs.write_bytes(content)
    held.sign()
    assert "these are not the observations of derivative on certification" in held.refused("CFT657")


def test_splits_that_were_exchanged(held: Held) -> None:
    (held.folder / CERTIFIED).write_bytes((held.folder / CALIBRATED).read_bytes())
    held.sign()
    held.refused("CFT657")


def test_another_number_than_stated(held: Held) -> None:
    held.sign(lambda p: p["evidence"][0].update(observations=1))
    held.refused("CFT657")


def test_observations_of_another_measurer_or_base_are_no_evidence(held: Held) -> None:
    held.rewrite(CERTIFIED, lambda seen: replace(seen, authority="nobody", base="f" * 64, probe_set="e" * 64))
    held.sign()
    held.refused("CFT458", "CFT460", "CFT461", "CFT463")


def test_a_file_that_was_cut_off(held: Held) -> None:
    path = held.folder / CERTIFIED
    path.write_bytes(path.read_bytes()[:-20])
    held.sign()
    held.refused("CFT656")


def test_a_bomb(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    held.sign()
    monkeypatch.setattr(stored, "MAX_UNPACKED", 1000)
    held.refused("CFT655")
    held.sign(lambda p: p["evidence"][0].update(bytes=stored.MAX_STORED + 1))
    held.refused("CFT655")


def test_a_size_that_is_not_the_files(held: Held) -> None:
    held.sign(lambda p: p["evidence"][0].update(bytes=p["evidence"][0]["bytes"] - 1))
    held.refused("CFT654")


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("CFT651", lambda p: p["evidence"].pop()),
        ("CFT651", lambda p: p["evidence"].append(p["evidence"][0])),
        ("CFT651", lambda p: p.update(evidence=[])),
        ("CFT620", lambda p: p.pop("evidence")),
        ("CFT654", lambda p: p["evidence"][0].update(digest="0" * 64)),
        ("CFT654", lambda p: p["evidence"][0].update(file="adapter_config.json")),
        ("CFT654", lambda p: p["evidence"][0].update(file="../elsewhere")),
    ],
)
def test_verify_alone_holds_the_entries_to_the_files(
    held: Held, code: str, change: Callable[[dict[str, Any]], Any]
) -> None:
    held.sign(change)
    with pytest.raises(CoherenceError) as caught:
        held.verified()
    assert set(caught.value.codes) == {code}


@pytest.mark.parametrize("instead", [lambda path: None, os.mkfifo, os.mkdir])
def test_a_file_that_goes_away_after_verifying(held: Held, instead: Callable[[Path], None]) -> None:
    manifest = held.verified()
    (held.folder / CERTIFIED).unlink()
    instead(held.folder / CERTIFIED)
    with pytest.raises(CoherenceError) as caught:
        recompute(manifest)
    assert caught.value.codes == ("CFT653",)


def test_where_none_are_stored_there_is_nothing_to_compute(
    workshop: Workshop, sft_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = sft_run / f"checkpoint-{STEPS}"
    assert statement(checkpoint)["evidence"] == []
    for folder, tenant in ((checkpoint, workshop.tenant), (FROZEN / "certified", FROZEN / "tenant.yaml")):
        assert coherence_ft("verify", folder, "--tenant", tenant) == 0
        assert coherence_ft("verify", folder, "--tenant", tenant, "--recompute") == 1
        assert "error[CFT652]" in capsys.readouterr().err


def test_observations_that_stay_at_home(
    own_run: Workshop,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store, checkpoint = tmp_path / "store", own_run.run() / f"checkpoint-{STEPS}"
    assert coherence_ft("promote", checkpoint, "--evidence-store", store) == 0
    folder = own_run.run() / "derivative"
    assert not (folder / "coherence" / "evidence").exists()
    entries = statement(folder)["evidence"]
    assert {path.name for path in store.iterdir()} == {f"{e['digest']}.jsonl.gz" for e in entries}
    assert [e["file"] for e in entries] == [None] * 4

    asked = ("verify", folder, "--tenant", own_run.tenant, "--recompute")
    assert coherence_ft(*asked, "--evidence-store", store) == 0
    capsys.readouterr()
    assert coherence_ft(*asked) == 1
    assert capsys.readouterr().err.count("error[CFT653]") == 4
    first, second, *_ = sorted(store.iterdir())
    first.write_bytes(second.read_bytes())
    second.unlink()
    assert coherence_ft(*asked, "--evidence-store", store) == 1
    said = capsys.readouterr().err
    assert said.count("error[CFT654]") == said.count("error[CFT653]") == 1


def test_a_store_that_cannot_be_written_costs_no_look(
    own_run: Workshop,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    checkpoint = own_run.run() / f"checkpoint-{STEPS}"
    assert coherence_ft("promote", checkpoint, "--evidence-store", tmp_path / "file") == 1
    assert "error[CFT731]" in capsys.readouterr().err
    assert not (own_run.run() / "certification-looks.jsonl").exists()


def test_a_sequential_promotion_is_computed_again_too(own_run: Workshop) -> None:  # noqa: F811
    write_constraints(own_run.root, contradictions=0.99, violations=0.99)
    assert coherence_ft("promote", own_run.run() / f"checkpoint-{STEPS}", "--sequential") == 0
    folder = own_run.run() / "derivative"
    manifest = verify(folder, own_run.tenant)
    probes = {split: read_probe_set(own_run.probes(split)) for split in ("calibration", "certification")}
    seen = recompute(manifest, probe_sets=probes).observed["derivative"][1]
    assert seen.skipped > 0
    # Leaving out an outcome that does not suit: another probe then stands before one that was not measured.
    unsuited = replace(seen, answers=seen.answers[1:], skipped=seen.skipped + 1)
    [finding] = departures(unsuited, probes["certification"])
    assert "was chosen" in finding.message


def test_what_departs_from_the_probe_file(held: Held) -> None:
    probes = held.probe_sets()["certification"]
    seen = load((held.folder / CERTIFIED).read_bytes(), CERTIFIED)
    assert list(departures(seen, probes)) == []
    group, reply = seen.groups[0], seen.replies[0]
    passed = tuple(CheckResult(c.verifier, not c.passed, c.detail) for c in reply.checks)
    answer, *others = seen.answers
    for wrong, said in (
        (replace(seen, answers=(replace(answer, probe="x"), *others)), "no probe in the file"),
        (replace(seen, answers=(replace(answer, language="de"), *others)), "differ"),
        (replace(seen, groups=(replace(group, choices=(0, 7)), *seen.groups[1:])), "differ"),
        (replace(seen, groups=(replace(group, relation="negation"), *seen.groups[1:])), "differ"),
        (replace(seen, replies=(replace(reply, checks=passed), *seen.replies[1:])), "differ"),
        (replace(seen, replies=(replace(reply, category="tone"), *seen.replies[1:])), "differ"),
        (replace(seen, replies=seen.replies[1:]), "missing or too many"),
        (replace(seen, largest_group=2), "largest group"),
    ):
        [finding] = departures(wrong, probes)
        assert finding.code == "CFT659"
        assert said in finding.message


def test_a_probe_file_that_is_nowhere(held: Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("verify", held.folder, "--tenant", held.workshop.tenant, "--recompute", "--probes")
    for place in (tmp_path / "none", held.workshop.probes("test")):
        assert coherence_ft(*asked, place) == 1
        assert "error[CFT653]" in capsys.readouterr().err


def test_who_is_to_countersign_can_audit_first(
    held: Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(held.workshop.tenant.read_text())
    for authority in document["authorities"]:
        if authority["id"] == "lab":
            authority["powers"] = ["countersign"]
    document["countersignatures"] = [{"authorities": ["lab"], "reason": "A test needs it."}]
    for name in ("constraints.yaml", "keys"):
        (tmp_path / name).symlink_to(held.workshop.root / name)
    tenant = tmp_path / "tenant.yaml"
    tenant.write_text(json.dumps(document))

    asked = ("verify", held.folder, "--tenant", tenant, "--recompute", "--before-countersigning")
    assert coherence_ft(*asked[:-1]) == 1
    capsys.readouterr()
    again = ("--reprobe", 3, "--probes", held.workshop.probes("certification"))
    assert coherence_ft(*asked[:4], *again, "--before-countersigning") == 0
    assert coherence_ft(*asked) == 0
    assert capsys.readouterr().out.count("it awaits countersignatures by lab") == 2
    assert coherence_ft(*asked, "--admission") == 2
