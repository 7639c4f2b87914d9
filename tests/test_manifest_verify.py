"""What verifies, all that is reported where it does not, and what the tenant of today says of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from derivatives import (
    ACCURACY,
    ADAPTER,
    CONTRADICTIONS,
    ESTIMATES,
    NOW,
    RISK,
    TODAY,
    TOO_RISKY,
    WAIVER,
    Signed,
    codes,
    copied,
    edit,
    facts_of,
    flip,
    signed_derivative,
    tenant_of,
)

import coherence_ft
from coherence_ft.documents.canonical import canonical_digest, file_digest
from coherence_ft.documents.constraint_set import Constraint, Enforcement
from coherence_ft.manifest.statement import Stage
from coherence_ft.manifest.verify import verify
from coherence_ft.manifest.write import write_manifest


def test_an_untouched_derivative_verifies(signed: Signed) -> None:
    manifest = verify(signed.folder, signed.tenant, today=TODAY, require_stage="certified")
    assert manifest.digest == file_digest(signed.manifest)
    assert (manifest.signer, manifest.stage, manifest.domain) == ("model-risk", Stage.CERTIFIED, "clinical")
    assert manifest.constraints == signed.facts.constraints
    assert manifest.assessment == signed.facts.evaluation.assessment
    assert manifest.calibrator == signed.facts.calibrator
    assert manifest.recipe == signed.facts.recipe
    assert manifest.files[ADAPTER] == file_digest(signed.folder / ADAPTER)
    assert manifest.files.keys() == {
        str(path.relative_to(signed.folder))
        for path in signed.folder.rglob("*")
        if path.is_file() and path not in (signed.manifest, signed.bundle)
    }
    assert coherence_ft.verify is verify


def test_a_link_to_the_folder_itself_may_be_given(signed: Signed, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(signed.folder)
    assert verify(tmp_path / "latest", signed.tenant, today=TODAY)


def test_all_findings_are_reported_at_once(signed: Signed) -> None:
    flip(signed.folder / ADAPTER, 3)
    (signed.folder / "extra").write_text("x")
    edit(signed.manifest, lambda m: m["predicate"]["recipe"].update(seed=6))
    assert codes(signed, replace(signed.tenant, id="clinic")) == {"CFT608", "CFT614", "CFT616", "CFT634"}


def test_an_unknown_field_is_ignored(signed: Signed) -> None:
    signed.resign(lambda m: m["predicate"].update(laterMinorVersion={"note": 1}, schemaVersion="1.7"))
    assert verify(signed.folder, signed.tenant, today=TODAY)


def test_a_downgraded_stage_does_not_load(signed: Signed) -> None:
    signed.resign(lambda m: m["predicate"].update(stage="monitoring", evidence=[]))
    assert verify(signed.folder, signed.tenant, today=TODAY).stage is Stage.MONITORING
    assert codes(signed, require_stage="certified") == {"CFT647"}


@pytest.mark.parametrize(
    "change", [{"kind": "temperature"}, {"confidence": "verbalized"}, {"confidence": None}]
)
def test_a_calibrator_that_the_constraints_do_not_choose_is_refused(
    signed: Signed, change: dict[str, Any]
) -> None:
    calibrator = {**(signed.facts.calibrator or {}), **change}
    facts = replace(signed.facts, calibrator=calibrator)
    write_manifest(signed.folder, facts, signed.key, created_at=NOW)
    assert codes(signed) == {"CFT649"}


def test_the_constraints_digest_is_the_one_that_resolve_prints(signed: Signed) -> None:
    constraints = signed.facts.constraints
    assert verify(signed.folder, signed.tenant, today=TODAY).predicate["constraints"]["digest"] == (
        canonical_digest(constraints.to_json())
    )
    assert facts_of(signed.tenant).constraints.digest == constraints.digest


# --- today ---


@dataclass(frozen=True)
class _Now:
    constraints: tuple[Constraint, ...]
    refused: bool


TODAYS = {
    "unchanged": _Now((RISK, CONTRADICTIONS, ACCURACY), False),
    "bound tightened": _Now((replace(RISK, bound=0.25), CONTRADICTIONS, ACCURACY), True),
    "bound relaxed": _Now((replace(RISK, bound=0.35), CONTRADICTIONS, ACCURACY), False),
    "confidence raised": _Now((replace(RISK, confidence=0.99), CONTRADICTIONS, ACCURACY), True),
    "more evidence": _Now((replace(RISK, minimum_evidence=101), CONTRADICTIONS, ACCURACY), True),
    "a report made hard": _Now((RISK, CONTRADICTIONS, replace(ACCURACY, enforcement=Enforcement.HARD)), True),
    "another coverage": _Now((replace(RISK, coverage=0.8), CONTRADICTIONS, ACCURACY), True),
    "a hard one added": _Now((RISK, CONTRADICTIONS, ACCURACY, replace(RISK, id="second")), True),
    "a report added": _Now((RISK, CONTRADICTIONS, ACCURACY, replace(ACCURACY, id="second")), False),
    "a report tightened": _Now((RISK, CONTRADICTIONS, replace(ACCURACY, bound=0.99)), False),
    "one taken away": _Now((RISK,), False),
}


@pytest.mark.parametrize("name", TODAYS)
def test_a_certificate_is_held_to_the_constraints_of_today(signed: Signed, name: str) -> None:
    now = tenant_of(signed.keys, *TODAYS[name].constraints)
    if TODAYS[name].refused:
        assert codes(signed, now) == {"CFT650"}
    else:
        assert verify(signed.folder, now, today=TODAY)


def test_a_tenant_whose_constraints_do_not_resolve_certifies_nothing(signed: Signed) -> None:
    assert codes(signed, tenant_of(signed.keys)) == {"CFT308"}


def test_a_monitoring_manifest_needs_no_current_constraints(tmp_path: Path) -> None:
    signed = signed_derivative(tmp_path, Stage.MONITORING)
    tightened = tenant_of(signed.keys, replace(RISK, bound=0.1), CONTRADICTIONS, ACCURACY)
    assert verify(signed.folder, tightened, today=TODAY).stage is Stage.MONITORING


@pytest.fixture(scope="module")
def waived(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    estimates = ESTIMATES | {"selective-risk": TOO_RISKY}
    return signed_derivative(tmp_path_factory.mktemp("waived"), waivers=(WAIVER,), estimates=estimates)


def test_a_waiver_holds_until_its_last_day(waived: Signed) -> None:
    manifest = verify(waived.folder, waived.tenant, today=WAIVER.expires)
    assert [w["constraint"] for w in manifest.predicate["waivers"]] == ["selective-risk"]
    assert codes(waived, today=WAIVER.expires + timedelta(days=1)) == {"CFT645"}


def test_a_waiver_that_the_tenant_took_back(waived: Signed) -> None:
    assert codes(waived, replace(waived.tenant, waivers=())) == {"CFT645"}


def test_a_waiver_that_was_narrowed_below_the_estimate(waived: Signed) -> None:
    narrowed = replace(waived.tenant, waivers=(replace(WAIVER, bound=0.32),))
    assert codes(waived, narrowed) == {"CFT645"}


def test_a_waiver_that_was_renewed(waived: Signed) -> None:
    renewed = replace(waived.tenant, waivers=(replace(WAIVER, expires=date(2027, 1, 31)),))
    assert verify(waived.folder, renewed, today=date(2026, 12, 1))


def test_a_used_waiver_cannot_be_hidden(waived: Signed, tmp_path: Path) -> None:
    signed = copied(waived, tmp_path)
    signed.resign(lambda m: m["predicate"]["waivers"].clear())
    assert codes(signed) == {"CFT644"}


def test_a_failed_derivative_cannot_be_certified(tmp_path: Path) -> None:
    signed = signed_derivative(tmp_path, estimates=ESTIMATES | {"selective-risk": TOO_RISKY})
    assert codes(signed) == {"CFT646"}


def test_nothing_measured_is_not_certified(tmp_path: Path) -> None:
    assert codes(signed_derivative(tmp_path, estimates={})) == {"CFT646"}
