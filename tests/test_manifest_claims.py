"""What a manifest claims under a good key is taken again: a bad claim is refused by its own code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from derivatives import (
    TODAY,
    Signed,
    codes,
    copied,
    edit,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coherence_ft.documents.canonical import file_digest
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.manifest.statement import CONSTRAINTS_FILE
from coherence_ft.manifest.verify import verify


def _result(statement: Any, id: str) -> Any:
    return next(r for r in statement["predicate"]["evaluation"]["results"] if r["constraint"] == id)


def _stage_up(m: Any) -> None:
    m["predicate"]["evaluation"].update(split="calibration", probeSet="c" * 64)


CLAIMS: dict[str, tuple[Callable[[Any], Any], set[str]]] = {
    "a field missing": (lambda m: m["predicate"].pop("lineage"), {"CFT620"}),
    "an unknown stage": (lambda m: m["predicate"].update(stage="approved"), {"CFT620"}),
    "an infinite limit": (
        lambda m: _result(m, "selective-risk")["estimate"].update(lower="-inf"),
        {"CFT620"},
    ),
    "the calibrator denied": (
        lambda m: m["predicate"].update(calibrator=None, abstentionThreshold=None),
        {"CFT641"},
    ),
    "another constraints digest": (
        lambda m: m["predicate"]["constraints"].update(digest="0" * 64),
        {"CFT640"},
    ),
    "another recipe digest": (lambda m: m["predicate"]["recipe"].update(digest="0" * 64), {"CFT640"}),
    "another tenant": (lambda m: m["predicate"].update(tenant="clinic"), {"CFT641", "CFT695"}),
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
    "an unknown loop": (lambda m: m["predicate"]["runtime"].update(loops=["obedience"]), {"CFT620"}),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_good_key_does_not_make_a_bad_claim_good(signed: Signed, name: str) -> None:
    change, expected = CLAIMS[name]
    signed.resign(change)
    assert codes(signed) == expected


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


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
