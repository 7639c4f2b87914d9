"""The tamper matrix: everything that is not exactly what was signed is refused, by its own code."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from derivatives import (
    ACCURACY,
    CONTRADICTIONS,
    ESTIMATES,
    NOW,
    RISK,
    TODAY,
    TOO_RISKY,
    WAIVER,
    Signed,
    facts_of,
    signed_derivative,
    tenant_of,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import coherence_ft
from coherence_ft.authority.keys import generate, load_private
from coherence_ft.documents.canonical import canonical_digest, canonical_json, file_digest
from coherence_ft.documents.constraint_set import Constraint, Enforcement
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.tenant import Tenant
from coherence_ft.manifest.statement import CONSTRAINTS_FILE, Stage
from coherence_ft.manifest.verify import verify
from coherence_ft.manifest.write import write_manifest

ADAPTER = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return signed_derivative(tmp_path_factory.mktemp("signed"))


@pytest.fixture
def signed(original: Signed, tmp_path: Path) -> Signed:
    return copied(original, tmp_path)


def copied(original: Signed, root: Path) -> Signed:
    shutil.copytree(original.folder, root / "derivative")
    return replace(original, folder=root / "derivative")


def codes(signed: Signed, tenant: Tenant | None = None, **options: Any) -> set[str]:
    with pytest.raises(CoherenceError) as caught:
        verify(signed.folder, tenant or signed.tenant, **{"today": TODAY} | options)
    return set(caught.value.codes)


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    data = json.loads(path.read_bytes())
    changed = change(data)
    path.write_bytes(canonical_json(data if changed is None else changed))


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_an_untouched_derivative_verifies(signed: Signed) -> None:
    manifest = verify(signed.folder, signed.tenant, today=TODAY, require_stage="certified")
    assert manifest.digest == file_digest(signed.manifest)
    assert (manifest.signer, manifest.stage, manifest.domain) == ("model-risk", Stage.CERTIFIED, "clinical")
    assert manifest.constraints == signed.facts.constraints
    assert manifest.assessment == signed.facts.evaluation.assessment
    assert manifest.calibrator == signed.facts.calibrator
    assert manifest.recipe == signed.facts.recipe
    assert manifest.files[ADAPTER] == file_digest(signed.folder / ADAPTER)
    assert len(manifest.files) == 6
    assert coherence_ft.verify is verify


def test_a_link_to_the_folder_itself_may_be_given(signed: Signed, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(signed.folder)
    assert verify(tmp_path / "latest", signed.tenant, today=TODAY)


# --- files ---


def _flip_manifest(s: Signed) -> None:
    s.manifest.write_bytes(s.manifest.read_bytes().replace(b'"seed":7', b'"seed":6'))


def _flip_payload(s: Signed) -> None:
    def change(bundle: Any) -> None:
        import base64

        payload = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b'"seed":7', b'"seed":6')
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()

    edit(s.bundle, change)


def _swap_adapter(s: Signed) -> None:
    (s.folder / ADAPTER).write_bytes(b"another adapter of the same name")


def _link_adapter(s: Signed) -> None:
    (s.folder / ADAPTER).rename(s.folder.parent / "kept")
    (s.folder / ADAPTER).symlink_to(s.folder.parent / "kept")  # even to the very same bytes


def _link_folder(s: Signed) -> None:
    (s.folder / "tokenizer").rename(s.folder.parent / "kept")
    (s.folder / "tokenizer").symlink_to(s.folder.parent / "kept")


def _pipe(s: Signed) -> None:
    (s.folder / ADAPTER).unlink()
    os.mkfifo(s.folder / ADAPTER)


def _rename(s: Signed) -> None:
    (s.folder / ADAPTER).rename(s.folder / "model.safetensors")


def _change_case(s: Signed) -> None:
    (s.folder / "adapter_config.json").rename(s.folder / "Adapter_config.json")


def _drop_signature(s: Signed) -> None:
    edit(s.bundle, lambda bundle: bundle["dsseEnvelope"]["signatures"].clear())


def _deep(path: Path) -> None:
    path.write_bytes(b'{"a":' * 200_000 + b"1" + b"}" * 200_000)


FILES: dict[str, tuple[Callable[[Signed], Any], set[str]]] = {
    "a bit of the adapter": (lambda s: flip(s.folder / ADAPTER, 77), {"CFT614"}),
    "a bit of the configuration": (lambda s: flip(s.folder / "adapter_config.json", 20), {"CFT614"}),
    "a bit of the tokenizer": (lambda s: flip(s.folder / "tokenizer/tokenizer.json", 9), {"CFT614"}),
    "a bit of the recipe": (lambda s: flip(s.folder / "coherence/recipe.json", 32), {"CFT614", "CFT640"}),
    "the adapter swapped": (_swap_adapter, {"CFT614"}),
    "a file emptied": (lambda s: (s.folder / ADAPTER).write_bytes(b""), {"CFT614"}),
    "a file added": (lambda s: (s.folder / "modeling.py").write_text("import os"), {"CFT616"}),
    "a hidden file added": (lambda s: (s.folder / ".hidden").write_text(""), {"CFT616"}),
    "a file removed": (lambda s: (s.folder / ADAPTER).unlink(), {"CFT615"}),
    "a file renamed": (_rename, {"CFT615", "CFT616"}),
    "a name in another case": (_change_case, {"CFT615", "CFT616"}),
    "a file replaced by a link": (_link_adapter, {"CFT611"}),
    "a folder replaced by a link": (_link_folder, {"CFT611", "CFT615"}),
    "a file replaced by a pipe": (_pipe, {"CFT611"}),
    "a dangling link added": (lambda s: (s.folder / "x").symlink_to("nowhere"), {"CFT611"}),
    "the manifest a link": (
        lambda s: (s.manifest.rename(s.folder.parent / "m"), s.manifest.symlink_to(s.folder.parent / "m")),
        {"CFT611"},
    ),
    "the calibrator removed": (
        lambda s: (s.folder / "coherence/calibrator.json").unlink(),
        {"CFT615", "CFT641"},
    ),
    "the constraints removed": (lambda s: (s.folder / CONSTRAINTS_FILE).unlink(), {"CFT615", "CFT641"}),
    "the constraints edited": (
        lambda s: edit(s.folder / CONSTRAINTS_FILE, lambda c: c["constraints"][2].update(bound="0.9")),
        {"CFT614", "CFT640"},
    ),
    "the manifest removed": (lambda s: s.manifest.unlink(), {"CFT602"}),
    "the bundle removed": (lambda s: s.bundle.unlink(), {"CFT602"}),
    "both removed": (lambda s: (s.manifest.unlink(), s.bundle.unlink()), {"CFT602"}),
    "the folder removed": (lambda s: shutil.rmtree(s.folder), {"CFT601"}),
    "the manifest edited": (_flip_manifest, {"CFT608"}),
    "the payload edited": (_flip_payload, {"CFT608", "CFT630"}),
    "both edited alike": (lambda s: (_flip_manifest(s), _flip_payload(s)), {"CFT630"}),
    "the stage downgraded": (
        lambda s: edit(s.manifest, lambda m: m["predicate"].update(stage="monitoring")),
        {"CFT608"},
    ),
    "white space in the manifest": (
        lambda s: s.manifest.write_bytes(s.manifest.read_bytes() + b"\n"),
        {"CFT608"},
    ),
    "the bundle truncated": (lambda s: s.bundle.write_bytes(s.bundle.read_bytes()[:200]), {"CFT604"}),
    "the manifest truncated": (lambda s: s.manifest.write_bytes(s.manifest.read_bytes()[:200]), {"CFT604"}),
    "the manifest empty": (lambda s: s.manifest.write_bytes(b""), {"CFT604"}),
    "the bundle of another kind": (lambda s: s.bundle.write_bytes(b"[]"), {"CFT607"}),
    "no signature in the bundle": (_drop_signature, {"CFT607"}),
    "a second key in the manifest": (
        lambda s: s.manifest.write_bytes(b'{"_type":"x",' + s.manifest.read_bytes()[1:]),
        {"CFT605"},
    ),
    "a second key in the bundle": (
        lambda s: s.bundle.write_bytes(b'{"mediaType":"x",' + s.bundle.read_bytes()[1:]),
        {"CFT605"},
    ),
    "a deep manifest": (lambda s: _deep(s.manifest), {"CFT606"}),
    "a deep bundle": (lambda s: _deep(s.bundle), {"CFT606"}),
    "a huge manifest": (lambda s: os.truncate(s.manifest, 2**36), {"CFT603"}),
    "a huge bundle": (lambda s: os.truncate(s.bundle, 2**36), {"CFT603"}),
    "not UTF-8": (lambda s: s.manifest.write_bytes(b'{"a": "\xff"}'), {"CFT604"}),
    "half a surrogate pair": (lambda s: s.manifest.write_bytes(b'{"a": "\\ud800"}'), {"CFT604"}),
    "not a number": (lambda s: s.manifest.write_bytes(b'{"a": NaN}'), {"CFT604"}),
    "a number of 5,000 digits": (lambda s: s.manifest.write_bytes(b"1" * 5000), {"CFT604"}),
    "a manifest that is a list": (lambda s: s.manifest.write_bytes(b"[]"), {"CFT609"}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_folder_that_differs_is_refused(signed: Signed, name: str) -> None:
    tamper, expected = FILES[name]
    tamper(signed)
    assert codes(signed) == expected


def test_an_unreadable_file_is_refused(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Denied by a stand-in for the kernel: the tests may run as root, who may read everything."""
    from coherence_ft.manifest import files

    really = os.open

    def deny(path: Any, *arguments: Any, **options: Any) -> int:
        if path == ADAPTER:
            raise PermissionError(13, "Permission denied")
        return really(path, *arguments, **options)

    monkeypatch.setattr(files.os, "open", deny)
    assert codes(signed) == {"CFT610"}


def test_a_file_that_becomes_a_link_while_it_is_read_is_not_followed(signed: Signed) -> None:
    from coherence_ft.manifest.files import open_folder

    with open_folder(signed.folder) as opened:
        _link_adapter(signed)
        assert isinstance(opened.digests([ADAPTER])[ADAPTER], OSError)
        (signed.folder / ADAPTER).unlink()
        os.mkfifo(signed.folder / ADAPTER)
        assert isinstance(opened.digests([ADAPTER])[ADAPTER], OSError)


def test_all_findings_are_reported_at_once(signed: Signed) -> None:
    flip(signed.folder / ADAPTER, 3)
    (signed.folder / "extra").write_text("x")
    _flip_manifest(signed)
    assert codes(signed, replace(signed.tenant, id="clinic")) == {"CFT608", "CFT614", "CFT616", "CFT634"}


# --- a good key over bad claims ---


def _result(statement: Any, id: str) -> Any:
    return next(r for r in statement["predicate"]["evaluation"]["results"] if r["constraint"] == id)


def _subject(name: str) -> Callable[[Any], Any]:
    return lambda m: m["subject"].append({"name": name, "digest": {"sha256": "0" * 64}})


def _stage_up(m: Any) -> None:
    m["predicate"]["evaluation"].update(split="calibration", probeSet="c" * 64)


CLAIMS: dict[str, tuple[Callable[[Any], Any], set[str]]] = {
    "another statement type": (lambda m: m.update(_type="https://in-toto.io/Statement/v2"), {"CFT609"}),
    "another predicate type": (
        lambda m: m.update(predicateType="https://coherence-ft.dev/manifest/v2"),
        {"CFT609"},
    ),
    "another schema version": (lambda m: m["predicate"].update(schemaVersion="2.0"), {"CFT609"}),
    "no schema version": (lambda m: m["predicate"].pop("schemaVersion"), {"CFT609"}),
    "a field missing": (lambda m: m["predicate"].pop("lineage"), {"CFT620"}),
    "an unknown stage": (lambda m: m["predicate"].update(stage="approved"), {"CFT620"}),
    "a number for a decimal string": (
        lambda m: _result(m, "selective-risk")["estimate"].update(upper=0.19),
        {"CFT620"},
    ),
    "an infinite limit": (
        lambda m: _result(m, "selective-risk")["estimate"].update(lower="-inf"),
        {"CFT620"},
    ),
    "no such day": (
        lambda m: m["predicate"]["evaluation"].update(evaluatedAt="2026-02-30T00:00:00Z"),
        {"CFT620"},
    ),
    "a path out of the folder": (_subject("../evil"), {"CFT612"}),
    "an absolute path": (_subject("/etc/passwd"), {"CFT612"}),
    "a drive": (_subject("C:evil"), {"CFT612"}),
    "a backslash": (_subject("tokenizer\\evil"), {"CFT612"}),
    "a dot": (_subject("./adapter_config.json"), {"CFT612"}),
    "an empty part": (_subject("tokenizer//tokenizer.json"), {"CFT612"}),
    "a control character": (_subject("a\x1b[2Jb"), {"CFT612"}),
    "a name twice": (lambda m: m["subject"].append(m["subject"][0]), {"CFT612"}),
    "a name in two cases": (_subject("ADAPTER_CONFIG.JSON"), {"CFT612"}),
    "a name in two Unicode forms": (
        lambda m: (_subject("caf\u00e9")(m), _subject("cafe\u0301")(m)),
        {"CFT612", "CFT615"},
    ),
    "the manifest itself": (_subject("coherence_manifest.json"), {"CFT612"}),
    "a file that is not there": (_subject("model.safetensors"), {"CFT615"}),
    "a subject left out": (lambda m: m["subject"].pop(1), {"CFT616"}),
    "the calibrator denied": (
        lambda m: m["predicate"].update(calibrator=None, abstentionThreshold=None),
        {"CFT641"},
    ),
    "another constraints digest": (
        lambda m: m["predicate"]["constraints"].update(digest="0" * 64),
        {"CFT640"},
    ),
    "another recipe digest": (lambda m: m["predicate"]["recipe"].update(digest="0" * 64), {"CFT640"}),
    "another tenant": (lambda m: m["predicate"].update(tenant="clinic"), {"CFT641"}),
    "another domain": (lambda m: m["predicate"].update(domain="general"), {"CFT641"}),
    "a result missing": (
        lambda m: m["predicate"]["evaluation"]["results"].remove(_result(m, "contradictions")),
        {
            "CFT642",
        },
    ),
    "a result twice": (
        lambda m: m["predicate"]["evaluation"]["results"].append(_result(m, "contradictions")),
        {"CFT642"},
    ),
    "a result of nothing": (
        lambda m: m["predicate"]["evaluation"]["results"].append(
            _result(m, "contradictions") | {"constraint": "invented"}
        ),
        {"CFT642"},
    ),
    "a verdict improved": (lambda m: _result(m, "accuracy").update(verdict="pass"), {"CFT643"}),
    "a verdict worsened": (
        lambda m: _result(m, "selective-risk").update(verdict="fail"),
        {"CFT643", "CFT646"},
    ),
    "an estimate improved past its interval": (
        lambda m: _result(m, "accuracy")["estimate"].update(value="0.990000", lower="0.991000"),
        {"CFT643"},
    ),
    "an estimate worsened": (
        lambda m: _result(m, "selective-risk")["estimate"].update(upper="0.310000"),
        {"CFT643"},
    ),
    "too little evidence": (lambda m: _result(m, "selective-risk")["estimate"].update(n=99), {"CFT643"}),
    "too little confidence": (
        lambda m: _result(m, "selective-risk")["estimate"].update(confidence="0.5"),
        {"CFT643"},
    ),
    "no estimate": (lambda m: _result(m, "selective-risk").update(estimate=None), {"CFT643"}),
    "a hard constraint made a report": (
        lambda m: _result(m, "selective-risk").update(enforcement="report"),
        {"CFT643"},
    ),
    "waived without a waiver": (
        lambda m: _result(m, "accuracy").update(verdict="waived"),
        {"CFT643", "CFT645"},
    ),
    "a waiver invented": (
        lambda m: m["predicate"]["waivers"].append(
            {
                "constraint": "selective-risk",
                "domain": "clinical",
                "bound": "0.9",
                "requestedBy": "training",
                "approvedBy": ["model-risk"],
                "reason": "",
                "expires": "2027-01-01",
                "recipe": None,
            }
        ),
        {"CFT644"},
    ),
    "certified on the calibration split": (_stage_up, {"CFT646"}),
    "certified on a part of the split": (
        lambda m: m["predicate"]["evaluation"].update(skipped=40),
        {"CFT646"},
    ),
    "a later look at the same confidence": (
        lambda m: m["predicate"]["evaluation"].update(look=3),
        {"CFT643"},
    ),
    "a probe set of another split": (
        lambda m: m["predicate"]["evaluation"].update(probeSet="c" * 64),
        {"CFT649"},
    ),
    "no probe set for the split": (lambda m: m["predicate"]["probes"].pop("certification"), {"CFT649"}),
    "a threshold below 0": (lambda m: m["predicate"].update(abstentionThreshold="-0.1"), {"CFT648"}),
    "a threshold above 1": (lambda m: m["predicate"].update(abstentionThreshold="1.01"), {"CFT648"}),
    "a coverage above 1": (lambda m: m["predicate"].update(coverage="2"), {"CFT648"}),
    "a threshold that is no number": (lambda m: m["predicate"].update(abstentionThreshold="nan"), {"CFT620"}),
    "one third denied": (
        lambda m: m["predicate"]["downstreamModifier"].update(trainingCompute="9" * 30),
        {"CFT649"},
    ),
    "one third unknown is not no": (
        lambda m: m["predicate"]["downstreamModifier"].update(baseCompute="unknown"),
        {"CFT649"},
    ),
    "a newer engine": (lambda m: m["predicate"]["runtime"].update(engineVersion=2), {"CFT621"}),
    "an unknown loop": (lambda m: m["predicate"]["runtime"].update(loops=["obedience"]), {"CFT620"}),
    "another evaluator": (lambda m: m["predicate"]["evaluation"].update(evaluator="training"), {"CFT633"}),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_good_key_does_not_make_a_bad_claim_good(signed: Signed, name: str) -> None:
    change, expected = CLAIMS[name]
    signed.resign(change)
    assert codes(signed) == expected


def test_an_unknown_field_is_ignored(signed: Signed) -> None:
    signed.resign(lambda m: m["predicate"].update(laterMinorVersion={"note": 1}, schemaVersion="1.7"))
    assert verify(signed.folder, signed.tenant, today=TODAY)


def test_a_downgraded_stage_does_not_load(signed: Signed) -> None:
    signed.resign(lambda m: m["predicate"].update(stage="monitoring"))
    assert verify(signed.folder, signed.tenant, today=TODAY).stage is Stage.MONITORING
    assert codes(signed, require_stage="certified") == {"CFT647"}


def resign_constraints(signed: Signed, change: Callable[[Any], Any]) -> None:
    """Edit the constraints and follow up with both of their digests, as a holder of the key could."""
    path = signed.folder / CONSTRAINTS_FILE
    edit(path, change)
    digest = file_digest(path)

    def follow(statement: Any) -> None:
        statement["predicate"]["constraints"]["digest"] = digest
        next(s for s in statement["subject"] if s["name"] == CONSTRAINTS_FILE)["digest"]["sha256"] = digest

    signed.resign(follow)


def _constraint(document: Any, id: str) -> Any:
    return next(c for c in document["constraints"] if c["id"] == id)


CONSTRAINTS: dict[str, tuple[Callable[[Any], Any], set[str]]] = {
    "a bound loosened": (lambda c: _constraint(c, "selective-risk").update(bound="0.5"), {"CFT650"}),
    "confidence lowered": (lambda c: _constraint(c, "selective-risk").update(confidence="0.5"), {"CFT650"}),
    "less evidence": (lambda c: _constraint(c, "selective-risk").update(minimum_evidence=1), {"CFT650"}),
    "made a report": (
        lambda c: _constraint(c, "selective-risk").update(enforcement="report"),
        {"CFT643", "CFT650"},
    ),
    "another coverage": (lambda c: _constraint(c, "selective-risk").update(coverage="0.1"), {"CFT650"}),
    "the other direction": (
        lambda c: _constraint(c, "contradictions").update(direction="at_least", bound="0"),
        {"CFT650"},
    ),
    "one left out": (
        lambda c: c["constraints"].remove(_constraint(c, "contradictions")),
        {"CFT642", "CFT650"},
    ),
    "one twice": (lambda c: c["constraints"].append(_constraint(c, "contradictions")), {"CFT642"}),
    "a bound that is not a number": (
        lambda c: _constraint(c, "selective-risk").update(bound="nan"),
        {"CFT620"},
    ),
    "a field too many": (lambda c: c.update(note="x"), {"CFT620"}),
    "an id that is a list": (lambda c: _constraint(c, "selective-risk").update(id=["x"]), {"CFT620"}),
    "not an object": (lambda c: [], {"CFT641"}),
    "another tenant": (lambda c: c.update(tenant="clinic"), {"CFT641"}),
    "a bound written another way": (
        lambda c: _constraint(c, "selective-risk").update(bound="0.30"),
        {"CFT641"},
    ),
}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_edited_constraints_are_refused_even_when_signed(signed: Signed, name: str) -> None:
    change, expected = CONSTRAINTS[name]
    resign_constraints(signed, change)
    assert codes(signed) == expected


# --- keys and authorities ---


def test_a_key_that_the_tenant_does_not_know(signed: Signed) -> None:
    signed.resign(lambda m: None, ec.generate_private_key(ec.SECP256R1()))
    assert codes(signed) == {"CFT631"}


def test_another_key_under_the_name_of_a_known_one(signed: Signed) -> None:
    known = json.loads(signed.bundle.read_bytes())["verificationMaterial"]["publicKey"]["hint"]
    signed.resign(lambda m: None, ec.generate_private_key(ec.SECP256R1()))

    def rename(bundle: Any) -> None:
        bundle["verificationMaterial"]["publicKey"]["hint"] = known
        bundle["dsseEnvelope"]["signatures"][0]["keyid"] = known

    edit(signed.bundle, rename)
    assert codes(signed) == {"CFT630"}


def test_a_signer_without_the_power_to_attest(signed: Signed) -> None:
    key = load_private(signed.keys / "training.pem")
    signed.resign(lambda m: m["predicate"]["evaluation"].update(evaluator="training"), key)
    assert codes(signed) == {"CFT632"}


def test_a_bundle_of_another_derivative_of_the_same_signer(signed: Signed, tmp_path: Path) -> None:
    other = copied(signed, tmp_path / "other")
    other.resign(lambda m: m["predicate"].update(name="another"))
    shutil.copy(other.bundle, signed.bundle)
    assert codes(signed) == {"CFT608"}


def test_a_listed_key_file_that_is_gone_is_an_unknown_key(signed: Signed, tmp_path: Path) -> None:
    assert codes(signed, tenant_of(tmp_path, RISK, CONTRADICTIONS, ACCURACY)) == {"CFT631"}


def test_a_listed_key_file_that_is_broken_is_named(signed: Signed, tmp_path: Path) -> None:
    generate(tmp_path, "training")
    (tmp_path / "model-risk.pub.pem").write_text("not a key")
    assert codes(signed, tenant_of(tmp_path, RISK, CONTRADICTIONS, ACCURACY)) == {"CFT631", "CFT663"}


def test_another_tenant(signed: Signed) -> None:
    assert codes(signed, replace(signed.tenant, id="clinic")) == {"CFT634"}


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


# --- properties ---


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_in_any_file_is_refused(original: Signed, data: st.DataObject) -> None:
    files = sorted(path for path in original.folder.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    bit = data.draw(st.integers(0, path.stat().st_size * 8 - 1))
    flip(path, bit)
    try:
        assert codes(original)
    finally:
        flip(path, bit)


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at] * bool(at) + [place for key, each in inner for place in _places(each, (*at, key))]


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [10**300, -(10**300), 1e308, "", "0", "1", "-1", "nan", "inf", "9" * 41, "\x1b[2J", "../x"]
    )
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_content_whatever_ends_in_anything_but_a_refusal(
    original: Signed, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Signed with a good key and consistent in its digests, so that every later check is reached."""
    signed = copied(original, tmp_path_factory.mktemp("junk"))
    target = data.draw(st.sampled_from(["statement", "constraints"]))
    path = signed.manifest if target == "statement" else signed.folder / CONSTRAINTS_FILE
    place = data.draw(st.sampled_from(_places(json.loads(path.read_bytes()))))
    junk = data.draw(JUNK)

    def change(document: Any) -> None:
        for key in place[:-1]:
            document = document[key]
        document[place[-1]] = junk

    try:
        signed.resign(change) if target == "statement" else resign_constraints(signed, change)
        verify(signed.folder, signed.tenant, today=TODAY)
    except CoherenceError as error:
        assert str(error)
    finally:
        shutil.rmtree(signed.folder)


# --- writing ---


def test_the_same_facts_give_the_same_statement(signed: Signed) -> None:
    before = signed.manifest.read_bytes()
    digest = write_manifest(signed.folder, signed.facts, signed.key, created_at=NOW)
    assert signed.manifest.read_bytes() == before
    assert digest == file_digest(signed.manifest)
    assert verify(signed.folder, signed.tenant, today=TODAY)


@pytest.mark.parametrize(
    "change", [{"kind": "temperature"}, {"confidence": "verbalized"}, {"confidence": None}]
)
def test_a_calibrator_that_the_constraints_do_not_choose_is_refused(
    signed: Signed, change: dict[str, Any]
) -> None:
    calibrator = {**(signed.facts.calibrator or {}), **change}
    write_manifest(signed.folder, replace(signed.facts, calibrator=calibrator), signed.key)
    assert codes(signed) == {"CFT649"}


def test_a_calibrator_of_an_earlier_save_does_not_stay(signed: Signed) -> None:
    facts = replace(signed.facts, calibrator=None)
    assessment = replace(facts.evaluation.assessment, abstention_threshold=None, coverage=None)
    facts = replace(facts, evaluation=replace(facts.evaluation, assessment=assessment))
    write_manifest(signed.folder, facts, signed.key)
    assert verify(signed.folder, signed.tenant, today=TODAY).calibrator is None


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda f: (f / "link").symlink_to("adapter_config.json"), "CFT611"),
        (lambda f: (f / "back\\slash").write_text(""), "CFT612"),
        (lambda f: (f / "ADAPTER_CONFIG.json").write_text(""), "CFT612"),
        (lambda f: Path(os.fsdecode(os.fsencode(f) + b"/\xff")).write_text(""), "CFT612"),
    ],
)
def test_what_could_not_be_verified_is_not_signed(
    signed: Signed, make: Callable[[Path], Any], code: str
) -> None:
    make(signed.folder)
    with pytest.raises(CoherenceError) as caught:
        write_manifest(signed.folder, signed.facts, signed.key)
    assert code in caught.value.codes
    assert not signed.manifest.exists()


def test_facts_that_do_not_fit_the_schema_are_not_signed(signed: Signed) -> None:
    facts = replace(signed.facts, chat_template_digest="unknown")
    with pytest.raises(CoherenceError) as caught:
        write_manifest(signed.folder, facts, signed.key)
    assert caught.value.codes == ("CFT620",)
    assert not signed.manifest.exists()


def test_a_full_disk_leaves_no_manifest_and_no_remains(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coherence_ft.manifest import write

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write.os, "fsync", full)
    with pytest.raises(CoherenceError) as caught:
        write_manifest(signed.folder, signed.facts, signed.key)
    assert caught.value.codes == ("CFT617",)
    assert "No space left" in str(caught.value)
    assert not list(signed.folder.rglob("*.partial"))
    assert codes(signed) == {"CFT602"}


def test_a_kill_at_any_step_leaves_nothing_that_verifies(signed: Signed) -> None:
    """The writer is killed before its first, second, … change on the disk, until it gets through."""
    old = file_digest(signed.manifest)
    new = replace(signed.facts, seed=8)
    for step in range(100):
        child = os.fork()
        if not child:
            _die_before(step)
            write_manifest(signed.folder, new, signed.key)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            break
        try:
            verify(signed.folder, signed.tenant, today=TODAY)
        except CoherenceError:
            continue
        # Nothing was changed yet, or everything was.
        assert step == 0 or json.loads(signed.manifest.read_bytes())["predicate"]["recipe"]["seed"] == 8
    assert step > 10
    assert file_digest(signed.manifest) != old
    assert verify(signed.folder, signed.tenant, today=TODAY).predicate["recipe"]["seed"] == 8


def _die_before(step: int) -> None:
    """In the child: exit without any cleaning up at the `step`-th call that changes the disk."""
    calls = iter(range(10_000))

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if next(calls) == step:
                os._exit(9)
            return call(*arguments, **options)

        return wrapped

    for name in ("fsync", "replace", "unlink"):
        setattr(os, name, deadly(getattr(os, name)))


def test_the_constraints_digest_is_the_one_that_resolve_prints(signed: Signed) -> None:
    constraints = signed.facts.constraints
    assert verify(signed.folder, signed.tenant, today=TODAY).predicate["constraints"]["digest"] == (
        canonical_digest(constraints.to_json())
    )
    assert facts_of(signed.tenant).constraints.digest == constraints.digest
