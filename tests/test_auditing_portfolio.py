"""Portfolios: what is in use is judged as of today, and an older manifest that is put back is found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from derivatives import RISK, TODAY, TOO_RISKY, WAIVER, signed_derivative
from test_cli_evidence import CLINICAL, rows
from test_cli_manifest import TENANT, run
from test_loops_drift import write

from coherence_ft.auditing.portfolio import Standing, Status, standings
from coherence_ft.documents.constraint_set import NOWHERE
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.portfolio import Listed, read_portfolio
from coherence_ft.documents.tenant import read_tenant
from coherence_ft.manifest.approval import require_approved
from coherence_ft.manifest.files import MANIFEST
from coherence_ft.manifest.verify import verify
from coherence_ft.manifest.write import write_manifest


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    signed = signed_derivative(tmp_path, constraints=(RISK,))
    shutil.copytree(signed.folder, tmp_path / "older")
    write_manifest(signed.folder, signed.facts, signed.key)  # made again, later
    (tmp_path / "tenant.yaml").write_text(TENANT)
    (tmp_path / "clinical.yaml").write_text(CLINICAL)
    monkeypatch.setenv("COHERENCE_FT_TENANT", str(tmp_path / "tenant.yaml"))
    return tmp_path


def listing(house: Path, *entries: tuple[str, str], tenant: str = "hospital") -> Path:
    path = house / "portfolio.yaml"
    rows = "".join(f'  - folder: {folder}\n    manifest: "{manifest}"\n' for folder, manifest in entries)
    path.write_text(f"apiVersion: coherence-ft/v1\nkind: portfolio\ntenant: {tenant}\nderivatives:\n{rows}")
    return path


def digest(folder: Path) -> str:
    return verify(folder).digest


def test_every_derivative_is_listed_and_the_governed_ones_are_counted(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = listing(house, ("derivative", digest(house / "derivative")), ("gone", "0" * 64))
    assert run("portfolio", str(path), "--format", "json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["governed"], found["listed"]) == (1, 2)
    there, gone = found["derivatives"]
    assert (
        there["status"] == "governed" and there["name"] == "clinical-icd" and there["signer"] == "model-risk"
    )
    assert gone == {
        "folder": str(house / "gone"), "status": "refused", "manifest": "0" * 64, "codes": ["CFT601"]
    }  # fmt: skip
    assert run("portfolio", str(path)) == 1
    printed = capsys.readouterr()
    assert "1 of 2 derivatives of hospital are governed" in printed.out and "refused" in printed.out
    path = listing(house, ("derivative", digest(house / "derivative")))
    assert run("portfolio", str(path)) == 0


def test_an_older_manifest_that_is_put_back_verifies_and_is_not_governed(house: Path) -> None:
    newer, older = house / "derivative", house / "older"
    path = listing(house, ("derivative", digest(newer)))
    approved = digest(newer)
    shutil.rmtree(newer)
    older.rename(newer)
    assert digest(newer) != approved
    portfolio = read_portfolio(path)
    (standing,) = standings(portfolio, read_tenant(house / "tenant.yaml"))
    assert standing.status is Status.REFUSED and [d.code for d in standing.problems] == ["CFT476"]
    assert (standing.problems[0].path, standing.problems[0].line) == (str(path), 5)
    assert "name" not in standing.to_json()
    assert run("verify", newer) == 0
    assert run("verify", newer, "--admission", "--portfolio", path) == 1
    with pytest.raises(CoherenceError) as caught:
        require_approved(portfolio, verify(newer))
    assert caught.value.codes == ("CFT476",)


def test_the_approved_one_is_admitted_wherever_it_lies(house: Path) -> None:
    path = listing(house, ("derivative", digest(house / "derivative")))
    (house / "derivative").rename(house / "moved")
    require_approved(read_portfolio(path), verify(house / "moved"))


def test_one_flipped_bit_is_a_refusal(house: Path) -> None:
    path = listing(house, ("derivative", digest(house / "derivative")))
    weights = house / "derivative" / "adapter_model.safetensors"
    weights.write_bytes(b"\x01" + weights.read_bytes()[1:])
    (standing,) = standings(read_portfolio(path), read_tenant(house / "tenant.yaml"))
    assert standing.status is Status.REFUSED and [d.code for d in standing.problems] == ["CFT614"]


def test_drift_that_is_certified_is_no_good_standing(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = verify(house / "derivative")
    path = write(house / "outcomes.jsonl", rows(manifest, 400, -1.5))
    assert run("evidence", "add", path, "--derivative", house / "derivative") == 1
    path = listing(house, ("derivative", manifest.digest))
    capsys.readouterr()
    assert run("portfolio", str(path), "--format", "json") == 1
    (row,) = json.loads(capsys.readouterr().out)["derivatives"]
    assert row["status"] == "drifted" and row["outcomes"] > 0 and row["drift"]


def test_the_waiver_that_ends_first_is_shown(tmp_path: Path) -> None:
    estimates = {"selective-risk": TOO_RISKY}
    signed = signed_derivative(tmp_path, constraints=(RISK,), waivers=(WAIVER,), estimates=estimates)
    found = verify(signed.folder, signed.tenant, today=TODAY)
    standing = Standing(Listed(signed.folder, found.digest, NOWHERE), found, ())
    assert standing.expires == WAIVER.expires and standing.to_json()["expires"] == "2026-06-30"


def test_a_portfolio_of_another_tenant_is_refused(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = listing(house, ("derivative", "0" * 64), tenant="clinic")
    assert run("portfolio", str(path)) == 1
    assert "CFT477" in capsys.readouterr().err


def test_what_a_listed_folder_says_of_itself_is_not_printed_unless_it_verifies(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = house / "derivative" / MANIFEST
    path = listing(house, ("derivative", digest(house / "derivative")))
    manifest.write_bytes(manifest.read_bytes().replace(b"clinical-icd", b"approved-by-all"))
    assert run("portfolio", str(path)) == 1
    assert "approved-by-all" not in capsys.readouterr().out
