"""Codes that no other test provokes: defects of ours, limits, and refusals in the middle of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_authority_properties import EXAMPLE as TENANT
from test_documents_extends import constraint, write

from coherence_ft.cli import main
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.evidence.estimate import Estimate
from coherence_ft.manifest import files


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_an_estimate_that_is_no_number(number: float) -> None:
    for values in ((number, 0.1, 0.2), (0.1, number, 0.2), (0.1, 0.0, number)):
        with pytest.raises(CoherenceError) as error:
            Estimate.of(*values, 10, 0.95, "a method")
        assert error.value.codes == ("CFT450",)


@pytest.mark.parametrize(("limit", "what"), [("_MOST_FILES", "files"), ("_MOST_FOLDERS", "folders")])
def test_a_folder_with_too_much_in_it(
    limit: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, limit, 3)
    for n in range(4):
        (tmp_path / f"folder-{n}").mkdir()
        (tmp_path / f"file-{n}").touch()
    with pytest.raises(CoherenceError) as error, files.open_folder(tmp_path):
        pass
    assert error.value.codes == ("CFT613",)
    assert what in str(error.value)


def test_a_signer_without_the_power_to_attest() -> None:
    from coherence_ft.training.provenance import signer

    attesting = next(a for a in TENANT.authorities if "attest" in a.powers)
    assert signer(TENANT, attesting.id) == attesting
    others = tuple(replace(a, powers=a.powers - {"attest"}) for a in TENANT.authorities)
    for tenant, name in ((TENANT, "nobody"), (replace(TENANT, authorities=others), attesting.id)):
        with pytest.raises(CoherenceError) as error:
            signer(tenant, name)
        assert error.value.codes == ("CFT722",)


def test_a_constraint_that_is_taken_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    write(tmp_path / "old" / "set.yaml", constraint(), constraint("format", category="format"))
    write(tmp_path / "new" / "set.yaml", constraint())
    assert main._run(["diff", str(tmp_path / "old"), str(tmp_path / "new"), "--format", "github"]) == 1
    assert "title=CFT342" in capsys.readouterr().out
