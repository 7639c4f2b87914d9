"""The engine: three loops over one model's observations, held to the resolved constraints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from coherence_ft.authority.resolved import ResolvedConstraint, ResolvedConstraints
from coherence_ft.documents.constraint_set import GENERAL, Constraint
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.metrics import METRICS
from coherence_ft.evidence.abstention import Certificate, learn_then_test, threshold_at
from coherence_ft.evidence.assessment import Assessment, ConstraintResult, Verdict
from coherence_ft.evidence.calibrators import Calibrator
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.gates import decide
from coherence_ft.evidence.multiplicity import at_look
from coherence_ft.loops import alignment, calibration, integrity, soundness
from coherence_ft.loops import sequential as loops_sequential
from coherence_ft.loops.calibration import Evidence
from coherence_ft.loops.observation import Observations
from coherence_ft.loops.promise import strictest_promise
from coherence_ft.loops.soundness import Credentials


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
    unstated: int = 0  # of the questions, those for whose answer the model stated no confidence

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
    look: int | None = None  # at the certification split


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
        look: int = 1,
    ) -> tuple[Assessment, Calibrator]:
        """What `examine` finds, without the forecasts."""
        found = self.examine(calibration, evaluated, base=base, today=today, look=look)
        return found.assessment, found.calibrator

    def examine(
        self,
        calibration: Observations,
        evaluated: Observations | None = None,
        *,
        base: tuple[Observations, Observations | None] | None = None,
        today: date | None = None,
        look: int = 1,
        sequential: bool = False,
        credentials: Credentials | None = None,
    ) -> Findings:
        """Fit the calibrator on `calibration` and hold `evaluated` to every constraint.

        Without `evaluated` the calibration split is assessed itself, each answer by a calibrator that
        has not seen its group (monitoring). `base` holds the base model's observations of the same two
        probe sets; it gets a calibrator of its own. In monitoring the second of them is not looked at.
        `look` counts the looks at a certification split: there every limit, every verdict and the
        abstention threshold are taken at the look's confidence (documents/looks.py).

        `sequential`: `evaluated` was measured until `stopping` said so, in the order of `sequential.rank`.
        What has no sequential form is then estimated only where no probe was skipped.

        Only observations of the resolved domain and of `general` count; the others are in
        `Assessment.unused`. Raises `CoherenceError` with every reason why the observations are no
        evidence: CFT451 to CFT455, CFT458, CFT468 and, where `credentials` say what is expected, CFT460
        to CFT463.
        """
        source = self.resolved.measurement.confidence.value
        _refuse_unsound(calibration, evaluated, base, credentials, source)
        judged = calibration if evaluated is None else evaluated
        ours, calibrator = self._evidence(calibration, evaluated)
        seen, unused = self._relevant(judged)
        theirs: Evidence | None = None
        base_seen: Observations | None = None
        if base is not None:
            base_evaluated = base[1] if evaluated is not None else None
            theirs, _ = self._evidence(base[0], base_evaluated)
            base_seen, _ = self._relevant(base_evaluated or base[0])
        asked = self._asked(judged.split, look)
        results = []
        for resolved in asked:
            constraint = resolved.constraint
            more = None
            if sequential:
                estimate, more = _so_far(resolved, seen, ours, theirs, judged.count)
            else:
                estimate = _estimate(constraint, seen, ours, theirs)
            of_base = _estimate(constraint, base_seen, theirs) if base_seen and theirs else None
            result = _result(resolved, estimate, of_base, today or date.today())
            if more and result.verdict is Verdict.INSUFFICIENT:
                result = replace(result, why=f"{result.why}; about {more} more would decide at this pace")
            results.append(result)
        certificate = _certificate(asked, results, ours, sequential)
        delivered = coverage = None
        if certificate is not None:
            delivered = certificate.threshold
            coverage = float(np.mean(ours.evaluated.forecast >= delivered))
        assessment = Assessment(
            judged.split,
            judged.probe_set,
            tuple(results),
            delivered,
            coverage,
            judged.skipped,
            unused,
            seen.count,
        )
        passes = [calibration, evaluated]
        if base is not None:
            passes += [base[0], base[1] if evaluated is not None else None]
        tallies = tuple(self._tally(each) for each in passes if each is not None)
        at = look if judged.split == "certification" else None
        return Findings(assessment, calibrator, certificate, ours, theirs, tallies, at)

    def stopping(
        self, calibration_seen: Observations, *, split: str, look: int = 1
    ) -> Callable[[Observations], bool]:
        """Whether a sequential pass over `split` may end, asked with all that it has seen.

        The calibrator and every threshold come from `calibration_seen` and stay as they are.
        """
        fitted_on, _ = self._relevant(calibration_seen)
        calibrator = calibration.fit(fitted_on, self._kind)
        thresholds = calibration.judged(fitted_on, calibrator)
        asked = self._asked(split, look)

        def settled(seen: Observations) -> bool:
            kept, _ = self._relevant(seen)
            evidence = Evidence(thresholds, calibration.judged(kept, calibrator))
            return loops_sequential.settled(asked, kept, evidence)

        return settled

    @property
    def _kind(self) -> str:
        return self.resolved.measurement.calibrator.value

    def _asked(self, split: str, look: int) -> tuple[ResolvedConstraint, ...]:
        return tuple(
            replace(r, constraint=at_look(r.constraint, split, look)) for r in self.resolved.constraints
        )

    def _evidence(
        self, fitted_on: Observations, evaluated: Observations | None
    ) -> tuple[Evidence, Calibrator]:
        fitted_on, _ = self._relevant(fitted_on)
        calibrator = calibration.fit(fitted_on, self._kind)
        if evaluated is None:
            forecasts = calibration.cross_fitted(fitted_on, self._kind)
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
        return kept, seen.count - kept.count

    def _tally(self, seen: Observations) -> Tally:
        kept, unused = self._relevant(seen)
        counts = len(kept.answers), len(kept.groups), len(kept.replies)
        unstated = sum(not answer.is_stated for answer in kept.answers)
        return Tally(seen.model, seen.probe_set, seen.split, *counts, unused, seen.skipped, unstated)


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


def _so_far(
    resolved: ResolvedConstraint,
    seen: Observations,
    evidence: Evidence,
    base: Evidence | None,
    used: int,
) -> tuple[Estimate | Missing, int | None]:
    """The estimate, and about how many more units would decide."""
    if loops_sequential.has_form(resolved.constraint):
        tested = loops_sequential.tested(resolved, seen, evidence)
        if isinstance(tested, Missing):
            return tested, None
        return tested.estimate(used, used + seen.skipped), tested.more
    if seen.skipped:
        return Missing("measuring stopped before the whole split was seen, which it takes"), None
    return _estimate(resolved.constraint, seen, evidence, base), None


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


def _certificate(
    asked: Sequence[ResolvedConstraint],
    results: Sequence[ConstraintResult],
    evidence: Evidence,
    sequential: bool,
) -> Certificate | None:
    """The threshold to serve with: that of the strictest risk promised, which keeps the laxer ones."""
    promise = strictest_promise(asked, results)
    if promise is None:
        return None
    constraint, result = promise.constraint, promise.result
    fitted_on, judged = evidence.calibration.stated, evidence.evaluated.stated
    share = calibration.stated_coverage(constraint, evidence.calibration)
    if share is None:
        return None
    if sequential and result.estimate is not None:  # one threshold was tested, the declared coverage's
        threshold = threshold_at(fitted_on.forecast, share)
        delivered = float(np.mean(evidence.calibration.forecast >= threshold))
        return Certificate(threshold, delivered, result.estimate)
    return learn_then_test(
        fitted_on.forecast,
        judged.forecast,
        judged.right,
        judged.groups,
        coverage=share,
        bound=promise.bound,
        confidence=constraint.confidence,
    )


def _refuse_unsound(
    calibration: Observations,
    evaluated: Observations | None,
    base: tuple[Observations, Observations | None] | None,
    credentials: Credentials | None,
    source: str,
) -> None:
    found = soundness.defects(calibration)
    for each in (each for each in (calibration, evaluated, *(base or ())) if each is not None):
        found += soundness.other_source(each, source)
    if credentials is not None:
        for seen in (each for each in (calibration, evaluated, *(base or ())) if each is not None):
            ours = seen is calibration or seen is evaluated
            found += soundness.uncredentialed(
                seen, credentials, credentials.model if ours else credentials.base
            )
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
