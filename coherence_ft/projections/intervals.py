"""A constraint's limits beside its bound, as a small inline drawing that is told apart without colour."""

from __future__ import annotations

import math

from markupsafe import Markup

from coherence_ft.documents.constraint_set import Constraint
from coherence_ft.documents.metrics import METRICS, Direction
from coherence_ft.evidence.estimate import Estimate

_WIDTH, _HEIGHT, _MIDDLE, _PAD = 130.0, 18.0, 9.0, 4.0
_INK, _OURS, _HOLDS = "#1a1a1a", "#0072B2", "#d9d9d9"


def interval_plot(constraint: Constraint, estimate: Estimate | None) -> Markup:
    """SVG: the side of the bound on which the constraint holds, the bound, and the limits with the value.

    The scale is the metric's own range, or what is needed to show all where that is open.
    """
    low, high = _scale(constraint, estimate)

    def x(value: float) -> str:
        return f"{_PAD + (_WIDTH - 2 * _PAD) * (min(max(value, low), high) - low) / (high - low):.1f}"

    at = x(constraint.bound)
    left, right = (x(low), at) if constraint.direction is Direction.AT_MOST else (at, x(high))
    drawn = [
        f'<rect x="{left}" y="2" width="{float(right) - float(left):.1f}" height="14" fill="{_HOLDS}"/>',
        f'<path d="M{x(low)} {_MIDDLE:g}H{x(high)}" stroke="#999" stroke-width="1"/>',
        f'<path d="M{at} 0V{_HEIGHT:g}" stroke="{_INK}" stroke-width="2"/>',
    ]
    described = f"bound {constraint.bound:g}"
    if estimate is not None:
        first, last = x(estimate.lower), x(estimate.upper)
        drawn += [
            f'<path d="M{first} {_MIDDLE:g}H{last}M{first} 5V13M{last} 5V13" stroke="{_OURS}" '
            'stroke-width="2" fill="none"/>',
            f'<circle cx="{x(estimate.value)}" cy="{_MIDDLE:g}" r="3.5" fill="{_OURS}"/>',
        ]
        described += (
            f", measured {estimate.value:.3f} with limits {estimate.lower:.3f} and {estimate.upper:.3f}"
        )
    return Markup(  # noqa: S704 - numbers alone
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{described}, '
        f'on a scale from {low:g} to {high:g}">{"".join(drawn)}</svg>'
    )


KEY = Markup(
    '<svg viewBox="0 0 34 12" aria-hidden="true"><path d="M3 6H31M3 2V10M31 2V10" stroke="#0072B2" '
    'stroke-width="2"/><circle cx="17" cy="6" r="3.5" fill="#0072B2"/></svg> the measured value and its '
    'limits, <svg viewBox="0 0 34 12" aria-hidden="true"><path d="M17 0V12" stroke="#1a1a1a" '
    'stroke-width="2"/></svg> the bound'
)


def _scale(constraint: Constraint, estimate: Estimate | None) -> tuple[float, float]:
    metric = METRICS[constraint.metric]
    shown = [constraint.bound, *((estimate.lower, estimate.upper) if estimate else ())]
    low = metric.low if math.isfinite(metric.low) else min(*shown, -0.2)
    high = metric.high if math.isfinite(metric.high) else max(*shown, 1.0)
    return (low, high) if low < high else (low, low + 1)
