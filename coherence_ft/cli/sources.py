"""The table of `evaluate --compare-confidence`: one row a source of confidence."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.loops.sources import SourceFigures


def sources_table(constraints: ResolvedConstraints, split: str, sources: Sequence[SourceFigures]) -> Table:
    """Estimates without their limits, which the report has. The source that holds is marked."""
    chosen = constraints.measurement
    table = Table(
        title=f"sources of confidence · {split} split · {chosen.calibrator.value} calibrator",
        caption="Accuracy is of all answers, the rest of those with a confidence, calibrated. * is in force.",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("source", no_wrap=True)
    for name in ("accuracy", "AUROC", "Brier skill", "error", "smooth p", "without", "tokens", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in sources:
        table.add_row(
            Text(f"{each.source}{' *' if each.source == chosen.confidence.value else ''}"),
            *map(_value, (each.accuracy, each.auroc, each.brier_skill, each.calibration_error)),
            "–" if isinstance(each.smooth, Missing) else f"{each.smooth.p_value:.3f}",
            f"{100 * each.unstated / each.answers:.0f} %" if each.answers else "–",
            f"{each.tokens:,}",
            f"{each.seconds:.1f}",
        )
    return table


def _value(estimate: Estimate | Missing) -> str:
    return f"{estimate.value:.3f}" if isinstance(estimate, Estimate) else "–"
