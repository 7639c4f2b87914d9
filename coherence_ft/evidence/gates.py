"""Gates: from an estimate and a bound to a verdict. Pure Python, so that `verify` starts at once."""

from __future__ import annotations

import math
from datetime import date

from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.constraint_set import Constraint
from coherence_ft.documents.metrics import Direction
from coherence_ft.documents.tenant import Waiver
from coherence_ft.evidence.assessment import Verdict
from coherence_ft.evidence.estimate import Estimate

_UNITS = {
    "accuracy": "questions",
    "selective_risk": "delivered answers",
    "contradiction_rate": "probe groups",
    "violation_rate": "conversations",
}
"""Metrics that are a share of independent units, and what the units are."""

ANYTIME = "betting e-process (Waudby-Smith and Ramdas 2023), anytime valid"
"""Method of an estimate that is limited by the bound that was shown, or by nothing."""

_MOST_UNITS = 100_000  # past this, "more evidence" is no useful advice


def decide(
    constraint: Constraint, estimate: Estimate | None, waiver: Waiver | None, today: date
) -> tuple[Verdict, str]:
    """The verdict and one plain sentence for it.

    A constraint passes only when the whole one-sided interval keeps the bound; it fails when the
    measured value itself breaks it. In between, and wherever evidence is missing, too little or not at
    the demanded confidence, it is insufficient. A waiver that is in force replaces the bound, nothing else.
    """
    verdict, why = _against(constraint, constraint.bound, estimate)
    if verdict is Verdict.PASS or waiver is None:
        return verdict, why
    refused = _waiver_refused(constraint, waiver, today)
    if refused:
        return verdict, f"{why}; {refused}"
    if _against(constraint, waiver.bound, estimate)[0] is not Verdict.PASS:
        return verdict, f"{why}; the waiver to {_bound(waiver.bound)} is not met either"
    granted = f"waived to {_demand(constraint, waiver.bound)} until {waiver.expires.isoformat()}"
    return Verdict.WAIVED, f"{why}; {granted} by {', '.join(waiver.approved_by)}"


def _waiver_refused(constraint: Constraint, waiver: Waiver, today: date) -> str:
    if waiver.constraint != constraint.id:
        return f"the waiver is for {waiver.constraint}"
    if today > waiver.expires:
        return f"the waiver expired on {waiver.expires.isoformat()}"
    floor = constraint.waiver_floor
    if floor is None:
        return "its owner does not let it be waived"
    if constraint.direction.is_looser(waiver.bound, floor):
        return f"the waiver to {_bound(waiver.bound)} goes past the owner's limit of {_bound(floor)}"
    return ""


def _against(constraint: Constraint, bound: float, estimate: Estimate | None) -> tuple[Verdict, str]:
    demanded = f"{_demand(constraint, bound)} demanded"
    units = _UNITS.get(constraint.metric, "questions")
    if estimate is None:
        least = f"at least {constraint.minimum_evidence} {units} needed"
        return Verdict.INSUFFICIENT, f"{demanded}; {least}, nothing was measured"
    if not _is_sound(estimate):
        return Verdict.INSUFFICIENT, f"{demanded}; the estimate is not a number inside its own interval"
    at_most = constraint.direction is Direction.AT_MOST
    limit = estimate.upper if at_most else estimate.lower
    why = (
        f"{demanded}; {_number(estimate.value, bound)} measured, {'at most' if at_most else 'at least'} "
        f"{_number(limit, bound)} with {100 * estimate.confidence:g} % confidence (n = {estimate.n})"
    )
    if estimate.n < constraint.minimum_evidence:
        more = constraint.minimum_evidence - estimate.n
        minimum = constraint.minimum_evidence
        return Verdict.INSUFFICIENT, f"{why}; {more} more {units} needed for the minimum of {minimum}"
    if constraint.direction.is_looser(estimate.value, bound):
        return Verdict.FAIL, why
    if estimate.confidence < constraint.confidence:
        return Verdict.INSUFFICIENT, f"{why}; {100 * constraint.confidence:g} % confidence demanded"
    if not constraint.direction.is_looser(limit, bound):
        return Verdict.PASS, why
    return Verdict.INSUFFICIENT, f"{why}; {_how_many_more(constraint, bound, estimate, units)}"


def _is_sound(estimate: Estimate) -> bool:
    return (
        all(map(math.isfinite, (estimate.lower, estimate.value, estimate.upper)))
        and estimate.lower <= estimate.value <= estimate.upper
    )


def _how_many_more(constraint: Constraint, bound: float, estimate: Estimate, units: str) -> str:
    if estimate.method.startswith(ANYTIME):
        return f"neither pass nor fail was clear from these {units}"
    if constraint.metric in _UNITS:
        rate, limit = estimate.value, bound
        if constraint.direction is Direction.AT_LEAST:
            rate, limit = 1 - rate, 1 - limit
        needed = units_to_show(rate, limit, constraint.confidence)
    else:
        needed = units_to_narrow(estimate, bound, constraint.direction)
    if needed is None:
        return f"the measured value is too close to the bound for more {units} to decide soon"
    # clustered evidence may look enough by this count: some more are always wanted
    more = max(10, needed - estimate.n)
    step = 10 ** max(0, len(str(more)) - 2)
    return f"about {math.ceil(more / step) * step} more {units} would decide if the measured value stays"


def units_to_narrow(estimate: Estimate, bound: float, direction: Direction) -> int | None:
    """Independent units after which the limit would keep `bound`, at the same value and spread.

    A limit comes nearer with the root of the units. None when more than 100,000 are needed. Rough.
    """
    limit = estimate.upper if direction is Direction.AT_MOST else estimate.lower
    room, reach = abs(bound - estimate.value), abs(limit - estimate.value)
    if room == 0:
        return None
    needed = math.ceil(estimate.n * (reach / room) ** 2)
    return needed if needed <= _MOST_UNITS else None


def units_to_show(rate: float, bound: float, confidence: float) -> int | None:
    """Independent units after which an exact binomial upper limit would keep `bound`, at an observed `rate`.

    None when more than 100,000 are needed. Rough: the observed count is rounded up at each size.
    """

    def shows(n: int) -> bool:
        return _binomial_cdf(math.ceil(rate * n - 1e-9), n, bound) <= 1 - confidence

    if not 0 <= rate < bound < 1:
        return None
    high = 1
    while not shows(high):
        high *= 2
        if high > _MOST_UNITS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def _binomial_cdf(k: int, n: int, p: float) -> float:
    """P(X <= k) for 0 <= k < n·p: terms fall from k downwards."""
    if k >= n:
        return 1.0
    log_term = (
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + k * math.log(p)
        + (n - k) * math.log1p(-p)
    )
    total = term = math.exp(log_term)
    for i in range(k, 0, -1):
        term *= i / (n - i + 1) * (1 - p) / p
        total += term
        if term < total * 1e-12:
            break
    return total


def _demand(constraint: Constraint, bound: float) -> str:
    return f"{'at most' if constraint.direction is Direction.AT_MOST else 'at least'} {_bound(bound)}"


def _bound(bound: float) -> str:
    text = f"{bound:.2f}"
    return text if float(text) == bound else decimal(bound)


def _number(number: float, bound: float) -> str:
    """As few decimals as show on which side of the bound the number lies."""
    for digits in range(2, 6):
        text = f"{number:.{digits}f}"
        shown = float(text)
        if (shown > bound) == (number > bound) and (shown < bound) == (number < bound):
            return text
    return f"{number:.6f}"
