"""Sequential certification: probes in an order that no outcome decides, until hard constraints are clear.

Anytime valid: each outcome is fed to betting e-processes (`evidence/sequential.py`), so that measuring may
stop whenever it likes. Constraints that are no mean of single outcomes need the whole split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from coherence_ft.authority.resolved import ResolvedConstraint
from coherence_ft.documents.constraint_set import Constraint, Enforcement
from coherence_ft.evidence.abstention import threshold_at
from coherence_ft.evidence.arrays import Array
from coherence_ft.evidence.assessment import Verdict
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.gates import ANYTIME
from coherence_ft.evidence.sequential import SequentialGate, grouped_outcomes
from coherence_ft.loops import alignment, calibration, integrity
from coherence_ft.loops.calibration import Evidence
from coherence_ft.loops.observation import Observations

_METRICS = frozenset({"accuracy", "brier_score", "selective_risk", "contradiction_rate", "violation_rate"})
# Not `brier_gain`: the base model is measured afterwards, on the probes that were used.


def rank(probe_set: str, unit: str) -> str:
    """Where a unit (a group of questions, a probe group, a conversation) stands in the order of measuring.

    A shuffle seeded by the probe set's digest, which is signed: nobody chose the order, and everybody can
    repeat it.
    """
    return hashlib.sha256(f"{probe_set}:{unit}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Tested:
    """A constraint's gates so far. `strict` tests its bound, `waived` that of a waiver.

    Both run at full alpha, since `strict` counts only once `waived` has passed (fixed sequence).
    """

    strict: SequentialGate
    waived: SequentialGate | None
    value: float
    n: int

    @property
    def failed(self) -> bool:
        return (self.waived or self.strict).verdict is Verdict.FAIL

    @property
    def decided(self) -> bool:
        gates = [self.strict] if self.waived is None else [self.waived, self.strict]
        return self.failed or all(gate.verdict is not Verdict.INSUFFICIENT for gate in gates)

    def estimate(self, used: int, planned: int) -> Estimate:
        """The rate so far, limited by the bound that was shown; by nothing where none was."""
        shown = None
        if self.waived is None or self.waived.verdict is Verdict.PASS:
            shown = self.waived.bound if self.waived is not None else None
            shown = self.strict.bound if self.strict.verdict is Verdict.PASS else shown
        at_most = self.strict.direction.value == "at_most"
        lower, upper = self.strict.low, self.strict.high
        if shown is not None:
            lower, upper = (lower, shown) if at_most else (shown, upper)
        method = f"{ANYTIME}; stopped after {used} of {planned} probes"
        return Estimate.of(
            self.value, min(lower, self.value), max(upper, self.value), self.n, self.strict.confidence, method
        )

    @property
    def more(self) -> int | None:
        """About how many more units would decide at this pace: see `SequentialGate.more`."""
        return (self.waived or self.strict).more


def has_form(constraint: Constraint) -> bool:
    """Whether the constraint can be decided while its outcomes come in."""
    return constraint.metric in _METRICS and 0 < constraint.bound < 1


def tested(resolved: ResolvedConstraint, seen: Observations, evidence: Evidence) -> Tested | Missing:
    """The gates of a constraint that `has_form`, fed with everything seen so far in its order.

    From the start each time, and the same as if each outcome had been fed once. Raises CFT452 where a group
    is larger than `Observations.largest_group`.
    """
    constraint, waiver = resolved.constraint, resolved.waiver
    found = _outcomes(constraint, seen, evidence)
    if isinstance(found, Missing):
        return found
    hits, groups = found
    bounds = [constraint.bound]
    if (
        waiver is not None
        and constraint.direction.is_looser(waiver.bound, constraint.bound)
        and 0 < waiver.bound < 1
    ):
        bounds = [waiver.bound, constraint.bound]
    gates = []
    for bound in bounds:
        outcomes = grouped_outcomes(hits, groups, bound, seen.largest_group)
        gate = SequentialGate.of_constraint(replace(constraint, bound=bound))
        gates.append(gate.feed(outcomes)[0])
    n = max(gate.n for gate in gates)
    strict, waived = gates[-1], gates[0] if len(gates) > 1 else None
    return Tested(strict, waived, float(np.mean(hits[groups < n])), n)


def settled(asked: Sequence[ResolvedConstraint], seen: Observations, evidence: Evidence) -> bool:
    """Whether more probes would change no verdict that matters.

    Every hard constraint with a sequential form is decided, and no other hard one is still open: that takes
    the whole split, unless something has failed already, so that nothing is promoted whatever it says.
    """
    hard = [r for r in asked if r.constraint.enforcement is Enforcement.HARD]
    found = [tested(r, seen, evidence) for r in hard if has_form(r.constraint)]
    if not all(isinstance(each, Tested) and each.decided for each in found):
        return False
    failed = any(isinstance(each, Tested) and each.failed for each in found)
    return failed or (len(found) == len(hard) and bool(hard))


def _outcomes(
    constraint: Constraint, seen: Observations, evidence: Evidence
) -> tuple[Array, Array] | Missing:
    """Outcomes in [0, 1], and the place of each one's group in the order of measuring."""
    if constraint.metric == "contradiction_rate":
        groups = integrity.counted(constraint, seen.groups)
        hits = [float(integrity.contradicts(g)) for g in groups]
        units = [f"group:{g.probe}" for g in groups]
    elif constraint.metric == "violation_rate":
        replies = alignment.counted(constraint, seen.replies)
        hits = [float(r.violated) for r in replies]
        units = [f"conversation:{r.probe}" for r in replies]
    else:
        evidence = evidence.within(constraint.scope)
        answered = evidence.evaluated
        right = answered.right.astype(float)
        values = right
        kept = np.ones(len(answered), dtype=bool)
        if constraint.metric == "brier_score":
            values, kept = (answered.forecast - right) ** 2, ~np.isnan(answered.forecast)
        elif constraint.metric == "selective_risk":
            if len(evidence.calibration) == 0:
                return Missing("no answer of the calibration split sets the threshold")
            share = calibration.stated_coverage(constraint, evidence.calibration)
            if share is None:
                return Missing("too few answers come with a confidence for the declared coverage")
            threshold = threshold_at(evidence.calibration.stated.forecast, share)
            values, kept = 1 - right, answered.forecast >= threshold
        hits = list(values[kept])
        units = [f"question:{a.group}" for a, keep in zip(answered.answers, kept, strict=True) if keep]
    if not hits:
        return Missing("there is no observation of it", "CFT470")
    ranked = {unit: i for i, unit in enumerate(sorted(set(units), key=lambda u: rank(seen.probe_set, u)))}
    return np.array(hits), np.array([ranked[unit] for unit in units])
