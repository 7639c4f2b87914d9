"""`coherence-ft evidence` as a user meets it, and what a derivative makes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from derivatives import RISK, Signed, signed_derivative
from test_cli_manifest import TENANT, run
from test_loops_drift import outcomes, write

from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.ledger.events import appending, read_events
from coherence_ft.manifest.verify import VerifiedManifest, verify
from coherence_ft.serving.evidence import adjustment, state_path, subject_of

CLINICAL = f"""\
apiVersion: coherence-ft/v1
kind: constraint-set
id: hospital-clinical
title: Clinical
domain: clinical
constraints:
  - id: selective-risk
    metric: selective_risk
    coverage: 0.6
    at_most: {decimal(RISK.bound)}
    confidence: 0.95
    minimum_evidence: 100
    enforcement: hard
    owner: model-risk
    waiver_floor: 0.4
    reason: wrong answers cost a review
"""


@pytest.fixture
def signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signed:
    signed = signed_derivative(tmp_path, constraints=(RISK,))
    (tmp_path / "tenant.yaml").write_text(TENANT)
    (tmp_path / "clinical.yaml").write_text(CLINICAL)
    monkeypatch.setenv("COHERENCE_FT_TENANT", str(tmp_path / "tenant.yaml"))
    return signed


@pytest.fixture
def manifest(signed: Signed) -> VerifiedManifest:
    return verify(signed.folder)


@pytest.fixture
def state(signed: Signed, manifest: VerifiedManifest) -> Path:
    return state_path(manifest, None, signed.folder)


def rows(manifest: VerifiedManifest, n: int, shift: float = 0.0, **changes: Any) -> list[dict[str, Any]]:
    subject = subject_of(manifest.folder, manifest)
    made = []
    for each in outcomes(n, shift):
        data = {**each.to_json(), "confidence": each.confidence, "adjustment": each.adjustment}
        made.append(data | {"model": subject.model, "calibrator": subject.calibrator} | changes)
    return made


def add(path: Path, folder: Path, *options: str) -> int:
    return run("evidence", "add", path, "--derivative", folder, *options)


def test_outcomes_come_in_once_and_everything_adds_up(
    signed: Signed, manifest: VerifiedManifest, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = rows(manifest, 40)
    for n, changes in enumerate(
        ({"grounding": "model"}, {"model": "x"}, {"split": "training"}, {"id": "a-0"}, {"confidence": 7})
    ):
        mixed[30 + n] |= changes
    path = write(signed.folder.parent / "outcomes.jsonl", [*mixed, "{not json"])
    assert add(path, signed.folder) == 0
    out, err = capsys.readouterr()
    assert "41 outcomes: 35 used, 1 of a model's own conclusions ignored, 5 refused" in out
    assert "1 CFT120, 1 CFT206, 1 CFT481, 1 CFT483, 1 CFT484" in out
    assert "no drift certified" in out and err.count("error[") == 5
    before = state.read_bytes()
    assert add(path, signed.folder) == 0
    out, _ = capsys.readouterr()
    assert "0 used" in out and "37 CFT483" in out and "nothing was added" in out
    assert state.read_bytes() == before


def test_drift_is_said_adjusted_and_in_force(
    signed: Signed, manifest: VerifiedManifest, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert adjustment(signed.folder, manifest, None).cells == {}
    path = write(signed.folder.parent / "outcomes.jsonl", rows(manifest, 400, -1.5))
    assert add(path, signed.folder, "--format", "json") == 1
    said = json.loads(capsys.readouterr().out)
    assert said["driftCertified"] == [["clinical", "dense"]]
    assert said["rows"] == said["used"] == 400
    assert said["adjusted"] and said["adjusted"][0]["before"]["offset"] == "0.0"
    adjusted = adjustment(signed.folder, manifest, None)
    assert adjusted.stated(0.8, "clinical", "dense") < 0.65
    events = read_events(state).events
    assert [events[0].kind, events[-1].kind] == ["outcomes", "state"]
    change = next(event for event in events if event.kind == "confidence adjusted").data
    assert change["groundings"] == {"human": 400} and change["derivative"] == manifest.digest
    assert "coherence-ft" in change["by"] and change["evidence"]["n"] > 0
    assert run("evidence", "show", "--derivative", signed.folder) == 1
    out, _ = capsys.readouterr()
    assert "400 outcomes used" in out and "drift certified" in out and "→" in out
    assert subject_of(signed.folder, manifest).calibrator in out


def test_what_a_model_concluded_changes_nothing(
    signed: Signed, manifest: VerifiedManifest, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(signed.folder.parent / "o.jsonl", rows(manifest, 400, -3.0, grounding="model"))
    assert add(path, signed.folder) == 0
    assert "400 of a model's own conclusions ignored" in capsys.readouterr().out
    assert adjustment(signed.folder, manifest, None).stated(0.8, "clinical", "dense") == 0.8


def test_show_before_any_outcome(
    signed: Signed, manifest: VerifiedManifest, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evidence", "show", "--derivative", signed.folder, "--format", "json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["used"], said["model"]) == (0, subject_of(signed.folder, manifest).model)
    assert not state.exists()


def test_evidence_that_was_edited_stops_everything(
    signed: Signed, manifest: VerifiedManifest, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(signed.folder.parent / "outcomes.jsonl", rows(manifest, 400, -1.5))
    add(path, signed.folder)
    content = state.read_bytes()
    for wrong in (content.replace(b'"correct":false', b'"correct":true', 1), content.split(b"\n", 1)[1]):
        state.write_bytes(wrong)
        with pytest.raises(CoherenceError) as caught:
            adjustment(signed.folder, manifest, None)
        assert caught.value.codes == ("CFT485",)
        assert add(path, signed.folder) == 1
        assert "CFT485" in capsys.readouterr().err
        assert state.read_bytes() == wrong
    state.unlink()
    state.mkdir()
    with pytest.raises(CoherenceError):
        adjustment(signed.folder, manifest, None)


def test_what_was_torn_is_reported_and_can_be_added_again(
    signed: Signed, manifest: VerifiedManifest, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(signed.folder.parent / "outcomes.jsonl", rows(manifest, 50))
    add(path, signed.folder)
    whole = state.read_bytes()
    state.write_bytes(whole[:-20])
    capsys.readouterr()
    assert run("evidence", "show", "--derivative", signed.folder) == 0
    out, err = capsys.readouterr()
    assert "0 outcomes used" in out and "warning[CFT489]" in err
    assert add(path, signed.folder) == 0
    out, err = capsys.readouterr()
    assert "50 used" in out and "CFT489" in err
    assert len(read_events(state).events) == 2 and read_events(state).torn == 0


def test_a_kill_while_adding_loses_nothing(signed: Signed, manifest: VerifiedManifest, state: Path) -> None:
    path = write(signed.folder.parent / "outcomes.jsonl", rows(manifest, 3000))
    command = [sys.executable, "-m", "coherence_ft", "evidence", "add", path, "--derivative", signed.folder]
    for delay in (0.5, 0.8):
        child = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert len(read_events(state).events) in (0, 2)
    assert add(path, signed.folder) == 0
    assert [event.kind for event in read_events(state).events] == ["outcomes", "state"]
    assert len(read_events(state).events[0].data["used"]) == 3000


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_write_access(
    signed: Signed, manifest: VerifiedManifest, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state.parent.mkdir(parents=True)
    state.parent.chmod(0o500)
    path = write(signed.folder.parent / "outcomes.jsonl", rows(manifest, 5))
    assert add(path, signed.folder) == 1
    assert "CFT486" in capsys.readouterr().err


def test_a_derivative_that_states_no_confidence_takes_no_outcomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = signed_derivative(tmp_path, constraints=(RISK,), calibrator=None)
    signed.resign(lambda statement: statement["predicate"].update(abstentionThreshold=None, coverage=None))
    (tmp_path / "tenant.yaml").write_text(TENANT)
    (tmp_path / "clinical.yaml").write_text(CLINICAL)
    monkeypatch.setenv("COHERENCE_FT_TENANT", str(tmp_path / "tenant.yaml"))
    assert add(write(tmp_path / "o.jsonl", [{}]), signed.folder) == 1
    assert "CFT488" in capsys.readouterr().err
    assert adjustment(signed.folder, verify(signed.folder), None).cells == {}


def test_nothing_is_added_for_a_derivative_that_does_not_verify(
    signed: Signed, manifest: VerifiedManifest, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(signed.folder.parent / "outcomes.jsonl", rows(manifest, 5))
    (signed.folder / "adapter_config.json").write_text("{}")
    assert add(path, signed.folder) == 1
    assert "CFT614" in capsys.readouterr().err
    assert not state.exists()


def test_adding_needs_no_torch(signed: Signed, manifest: VerifiedManifest) -> None:
    path = write(signed.folder.parent / "outcomes.jsonl", rows(manifest, 5))
    script = (
        "import sys\nfrom coherence_ft.cli.main import cli\n"
        f"cli(['evidence', 'add', {str(path)!r}, '--derivative', {str(signed.folder)!r}], "
        "standalone_mode=False)\nassert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_a_state_that_does_not_fit_its_outcomes_is_refused(
    signed: Signed, manifest: VerifiedManifest, state: Path
) -> None:
    path = write(signed.folder.parent / "outcomes.jsonl", rows(manifest, 5))
    add(path, signed.folder)
    had = [(event.kind, event.data) for event in read_events(state).events]
    empty = {"used": [], "ignored": [], "refused": {}}
    for events in (had[:1], [("outcomes", empty), had[1]], [("outcomes", empty)], [("else", {}), had[1]]):
        state.unlink()
        with appending(state) as (_, appender):
            appender.append(events, datetime.now(UTC))
        with pytest.raises(CoherenceError) as caught:
            adjustment(signed.folder, manifest, None)
        assert caught.value.codes == ("CFT485",)
