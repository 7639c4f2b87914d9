"""The evidence that a bound needs, held to the exact limits it is derived from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from coherence_ft.documents.constraint_reader import read_constraint_set
from coherence_ft.documents.constraint_set import Constraint, Enforcement, least_evidence
from coherence_ft.documents.looks import look_confidence
from coherence_ft.documents.metrics import METRICS, Direction

RATE = Constraint("c", "violation_rate", Direction.AT_MOST, 0.05, 0.95, 1, Enforcement.HARD, "o", "r")


@pytest.mark.parametrize(("bound", "needed"), [(0.01, 348), (0.02, 173), (0.05, 69), (0.10, 34)])
def test_published_numbers_for_95_percent_at_the_first_look(bound: float, needed: int) -> None:
    assert least_evidence(replace(RATE, bound=bound)) == needed


@given(st.floats(0.001, 0.9), st.floats(0.5, 0.999))
def test_least_evidence_is_where_clopper_pearson_meets_the_bound(bound: float, confidence: float) -> None:
    n = least_evidence(replace(RATE, bound=bound, confidence=confidence))
    assert n is not None
    first = look_confidence(confidence, 1)
    upper = [float(beta.ppf(first, 1, units)) for units in (n, max(1, n - 1))]
    assert upper[0] <= bound + 1e-9
    assert n == 1 or upper[1] > bound - 1e-9


@given(st.floats(0.1, 0.999), st.floats(0.5, 0.999))
def test_a_share_that_must_be_high_mirrors_one_that_must_be_low(bound: float, confidence: float) -> None:
    high = replace(RATE, metric="accuracy", direction=Direction.AT_LEAST, bound=bound, confidence=confidence)
    low = replace(RATE, bound=1 - bound, confidence=confidence)
    assert least_evidence(high) == least_evidence(low)


def test_bounds_at_the_ends() -> None:
    assert least_evidence(replace(RATE, bound=0.0)) is None
    assert least_evidence(replace(RATE, bound=1.0)) == 1
    assert least_evidence(replace(RATE, metric="accuracy", direction=Direction.AT_LEAST, bound=1.0)) is None
    assert least_evidence(replace(RATE, metric="auroc", direction=Direction.AT_LEAST, bound=1.0)) == 1


def test_values_arrive_as_written(tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    path.write_text(
        "apiVersion: coherence-ft/v1\nkind: constraint-set\nid: a-set\ntitle: A set\n"
        "domain: legal\nconstraints:\n"
        "  - {id: risk, metric: selective_risk, coverage: 1, at_most: 0.3, confidence: 0.9,\n"
        "     minimum_evidence: 100.0, enforcement: report, owner: adopter, reason: Why., locked: true,\n"
        "     waiver_floor: 1}\n"
        "  - {id: gain, metric: brier_gain, at_least: -0.5, confidence: 0.5, minimum_evidence: 1,\n"
        "     enforcement: hard, owner: adopter, reason: Why.}\n"
    )
    read = read_constraint_set(path)
    assert (read.id, read.domain) == ("a-set", "legal")
    risk, gain = read.constraints
    assert (risk.bound, risk.coverage, risk.minimum_evidence, risk.waiver_floor) == (0.3, 1.0, 100, 1.0)
    assert type(risk.minimum_evidence) is int
    assert type(risk.coverage) is type(risk.waiver_floor) is float
    assert risk.locked and risk.enforcement is Enforcement.REPORT
    assert risk.parameters == {"coverage": 1.0}
    assert (risk.origin.line, risk.origin.column) == (7, 5)
    assert gain.direction is METRICS["brier_gain"].direction is Direction.AT_LEAST
    assert gain.bound == -0.5 and not gain.locked and gain.waiver_floor is None
