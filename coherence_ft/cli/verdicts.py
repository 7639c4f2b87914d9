"""The verdict table: each constraint with its bound, base beside derivative, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.documents.constraint_set import Enforcement
from coherence_ft.evidence.assessment import Assessment, ConstraintResult, Verdict
from coherence_ft.evidence.estimate import Estimate
from coherence_ft.evidence.gates import ANYTIME
from coherence_ft.reporting.words import bound_text, in_order, look_line

if TYPE_CHECKING:
    from coherence_ft.training.measure import Watch

_STYLES = {
    Verdict.PASS: "green",
    Verdict.WAIVED: "yellow",
    Verdict.INSUFFICIENT: "yellow",
    Verdict.FAIL: "red",
}


def verdict_table(constraints: ResolvedConstraints, assessment: Assessment, look: int | None = None) -> Table:
    """One row a constraint: the hard ones, then in brackets those that are only reported.

    The limits hold one-sided at the constraint's confidence, or the stricter one of a certification look,
    which is then said; `n` counts independent units.
    """
    notes = look_line(constraints, assessment, look), _left_out(assessment)
    table = Table(
        title=f"{constraints.tenant} · {constraints.domain} · {assessment.split} split",
        caption="\n".join(filter(None, notes)) or None,
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("constraint", overflow="fold", min_width=16)
    for name in ("bound", "base", "measured", "limits", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    by_id = {resolved.constraint.id: resolved.constraint for resolved in constraints.constraints}
    for result in in_order(assessment):
        constraint, estimate = by_id[result.constraint], result.estimate
        table.add_row(
            Text(constraint.id),
            bound_text(constraint),
            _value(result.base),
            _value(estimate),
            f"{estimate.lower:.3f} – {estimate.upper:.3f}" if estimate else "–",
            str(estimate.n) if estimate else "0",
            _verdict(result),
        )
    return table


def console() -> Console:
    """Standard output; wide enough for the table where no terminal says how wide it is."""
    return Console(width=None if Console().is_terminal else 110)


def _value(estimate: Estimate | None) -> str:
    return f"{estimate.value:.3f}" if estimate else "–"


def _verdict(result: ConstraintResult) -> Text:
    if result.enforcement is Enforcement.REPORT:
        return Text(f"({result.verdict})", style="dim")
    return Text(str(result.verdict), style=_STYLES[result.verdict])


def _left_out(assessment: Assessment) -> str | None:
    """What was not measured, or not counted, is said."""
    stopped = {
        result.estimate.method.removeprefix(ANYTIME).strip("; ")
        for result in assessment.results
        if result.estimate is not None and result.estimate.method.startswith(ANYTIME)
    }
    parts = sorted(stopped)
    parts += (
        [f"{assessment.skipped} probes skipped by the budget"] if assessment.skipped and not stopped else []
    )
    parts += [f"{assessment.unused} observations of other domains"] if assessment.unused else []
    return ", ".join(parts) or None


@contextmanager
def watching() -> Iterator[Watch]:
    """Progress bars for passes of probes, on standard error."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("probes"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def watch(name: str) -> object:
            task = progress.add_task(name, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        yield watch  # type: ignore[misc]
