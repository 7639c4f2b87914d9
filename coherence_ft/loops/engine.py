"""The engine: three loops over one model's observations, held to the resolved constraints."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from coherence_ft.authority.resolved import ResolvedConstraint, ResolvedConstraints
from coherence_ft.documents.constraint_set import EVERYWHERE, GENERAL, Constraint, Enforcement
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.metrics import METRICS
from coherence_ft.evidence.abstention import Certificate, learn_then_test
from coherence_ft.evidence.assessment import Assessment, ConstraintResult, Verdict
from coherence_ft.evidence.calibrators import Calibrator
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.gates import decide
from coherence_ft.loops import alignment, calibration, integrity, soundness
from coherence_ft.loops.calibration import Evidence
from coherence_ft.loops.observation import Observations


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the probes of one pass over one model: the five counts add up to the probe set."""

    model: str
    probe_set: str
    split: str
    questions: int
    groups: int
    conversations: int
    unused: int  # of domains for which the constraints do not speak
    skipped: int  # by a budget

    @property
    def probes(self) -> int:
        return self.questions + self.groups + self.conversations + self.unused + self.skipped


@dataclass(frozen=True, slots=True)
class Findings:
    """An assessment with what it was made from. `tallies`: of each pass, ours before the base model's."""

    assessment: Assessment
    calibrator: Calibrator
    certificate: Certificate | None
    evidence: Evidence
    base: Evidence | None
    tallies: tuple[Tally, ...]


class CoherenceEngine:
    """Composes calibration, integrity and alignment for the constraints of one domain."""

    def __init__(self, resolved: ResolvedConstraints) -> None:
        self.resolved = resolved

    def assess(
        self,
        calibration: Observations,
        evaluated: Observations | None = None,
        *,
        base: tuple[Observations, Observations | None] | None = None,
        today: date | None = None,
    ) -> tuple[Assessment, Calibrator]:
        """What `examine` finds, without the forecasts."""
        found = self.examine(calibration, evaluated, base=base, today=today)
        return found.assessment, found.calibrator

    def examine(
        self,
        calibration: Observations,
        evaluated: Observations | None = None,
        *,
        base: tuple[Observations, Observations | None] | None = None,
        today: date | None = None,
    ) -> Findings:
        """Fit the calibrator on `calibration` and hold `evaluated` to every constraint.

        Without `evaluated` the calibration split is assessed itself, each answer by a calibrator that
        has not seen its group (monitoring). `base` holds the base model's observations of the same two
        probe sets; it gets a calibrator of its own. In monitoring the second of them is not looked at.

        Only observations of the resolved domain and of `general` count; the others are in
        `Assessment.unused`. Raises `CoherenceError` with every reason why the observations are no
        evidence: CFT451 to CFT455 and CFT458.
        """
        _refuse_unsound(calibration, evaluated, base)
        judged = calibration if evaluated is None else evaluated
        ours, calibrator = self._evidence(calibration, evaluated)
        seen, unused = self._relevant(judged)
        theirs: Evidence | None = None
        base_seen: Observations | None = None
        if base is not None:
            base_evaluated = base[1] if evaluated is not None else None
            theirs, _ = self._evidence(base[0], base_evaluated)
            base_seen, _ = self._relevant(base_evaluated or base[0])
        results = []
        for resolved in self.resolved.constraints:
            constraint = resolved.constraint
            estimate = _estimate(constraint, seen, ours, theirs)
            of_base = _estimate(constraint, base_seen, theirs) if base_seen and theirs else None
            results.append(_result(resolved, estimate, of_base, today or date.today()))
        certificate = self._certificate(results, ours)
        delivered = coverage = None
        if certificate is not None:
            delivered = certificate.threshold
            coverage = float(np.mean(ours.evaluated.forecast >= delivered))
        assessment = Assessment(
            judged.split, judged.probe_set, tuple(results), delivered, coverage, judged.skipped, unused
        )
        passes = [calibration, evaluated]
        if base is not None:
            passes += [base[0], base[1] if evaluated is not None else None]
        tallies = tuple(self._tally(each) for each in passes if each is not None)
        return Findings(assessment, calibrator, certificate, ours, theirs, tallies)

    def _evidence(
        self, fitted_on: Observations, evaluated: Observations | None
    ) -> tuple[Evidence, Calibrator]:
        fitted_on, _ = self._relevant(fitted_on)
        calibrator = calibration.fit(fitted_on)
        if evaluated is None:
            forecasts = calibration.cross_fitted(fitted_on)
            return Evidence(forecasts, forecasts), calibrator
        evaluated, _ = self._relevant(evaluated)
        calibrator = calibrator.certified(evaluated.probe_set, evaluated.split)
        return Evidence(
            calibration.judged(fitted_on, calibrator), calibration.judged(evaluated, calibrator)
        ), calibrator

    def _relevant(self, seen: Observations) -> tuple[Observations, int]:
        """What these constraints speak for, and how many observations are left out."""
        domains = {self.resolved.domain, GENERAL}
        kept = replace(
            seen,
            answers=tuple(a for a in seen.answers if a.domain in domains),
            groups=tuple(g for g in seen.groups if g.domain in domains),
            replies=tuple(r for r in seen.replies if r.domain in domains),
        )
        return kept, _size(seen) - _size(kept)

    def _tally(self, seen: Observations) -> Tally:
        kept, unused = self._relevant(seen)
        counts = len(kept.answers), len(kept.groups), len(kept.replies)
        return Tally(seen.model, seen.probe_set, seen.split, *counts, unused, seen.skipped)

    def _certificate(self, results: list[ConstraintResult], evidence: Evidence) -> Certificate | None:
        """The threshold to serve with: that of the strictest risk promised, which keeps the laxer ones."""
        promises = []
        for resolved, result in zip(self.resolved.constraints, results, strict=True):
            constraint, waiver = resolved.constraint, resolved.waiver
            # A promise to some audience or language only is no promise to everybody that is served.
            if constraint.metric == "selective_risk" and constraint.scope.observed == EVERYWHERE:
                waived = result.verdict is Verdict.WAIVED and waiver is not None
                bound = waiver.bound if waived and waiver is not None else constraint.bound
                report_only = constraint.enforcement is Enforcement.REPORT
                promises.append((report_only, bound, -constraint.confidence, constraint, result))
        if not promises:
            return None
        _, bound, _, constraint, result = min(promises, key=lambda promise: (*promise[:3], promise[3].id))
        if not result.verdict.lets_through:
            return None
        return learn_then_test(
            evidence.calibration.forecast,
            evidence.evaluated.forecast,
            evidence.evaluated.right,
            evidence.evaluated.groups,
            coverage=calibration.coverage(constraint),
            bound=bound,
            confidence=constraint.confidence,
        )


def _estimate(
    constraint: Constraint, seen: Observations, evidence: Evidence, base: Evidence | None = None
) -> Estimate | Missing:
    loop = METRICS[constraint.metric].loop if constraint.metric in METRICS else ""
    if loop == "calibration":
        return calibration.estimate(constraint, evidence, base)
    if loop == "integrity":
        return integrity.estimate(constraint, seen.groups)
    if loop == "alignment":
        return alignment.estimate(constraint, seen.replies)
    return Missing(f"no loop measures {constraint.metric}")


def _result(
    resolved: ResolvedConstraint, estimate: Estimate | Missing, base: Estimate | Missing | None, today: date
) -> ConstraintResult:
    measured = estimate if isinstance(estimate, Estimate) else None
    verdict, why = decide(resolved.constraint, measured, resolved.waiver, today)
    if isinstance(estimate, Missing):
        why = f"{why}: {estimate.reason}"
    return ConstraintResult(
        resolved.constraint.id,
        resolved.constraint.enforcement,
        measured,
        verdict,
        why,
        base if isinstance(base, Estimate) else None,
    )


def _refuse_unsound(
    calibration: Observations,
    evaluated: Observations | None,
    base: tuple[Observations, Observations | None] | None,
) -> None:
    found = soundness.defects(calibration)
    if evaluated is not None:
        found += soundness.defects(evaluated)
        found += soundness.conflicts(calibration, evaluated)
    if base is not None:
        fitted_on, base_evaluated = base
        found += soundness.defects(fitted_on)
        found += soundness.unpaired(calibration, fitted_on)
        if evaluated is not None:
            if base_evaluated is None:
                raise ValueError("the base model's observations of the evaluated split are missing")
            found += soundness.defects(base_evaluated)
            found += soundness.conflicts(fitted_on, base_evaluated)
            found += soundness.unpaired(evaluated, base_evaluated)
    if found:
        raise CoherenceError(found)


def _size(seen: Observations) -> int:
    return len(seen.answers) + len(seen.groups) + len(seen.replies)
