"""The verdict table: each constraint with its bound, base beside derivative, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from coherence_ft.authority.resolve import ResolvedConstraints
from coherence_ft.documents.constraint_set import METRICS, Constraint, Direction, Enforcement
from coherence_ft.evidence.assessment import Assessment, ConstraintResult, Verdict
from coherence_ft.evidence.estimate import Estimate, decimal

if TYPE_CHECKING:
    from coherence_ft.training.measure import Watch

_STYLES = {
    Verdict.PASS: "green",
    Verdict.WAIVED: "yellow",
    Verdict.INSUFFICIENT: "yellow",
    Verdict.FAIL: "red",
}


def verdict_table(constraints: ResolvedConstraints, assessment: Assessment) -> Table:
    """One row a constraint, hard ones first. The limits hold one-sided at the constraint's confidence."""
    table = Table(title=f"{constraints.tenant} · {constraints.domain} · {assessment.split} split")
    table.add_column("constraint", overflow="fold")
    table.add_column("bound", justify="right", no_wrap=True)
    table.add_column("base", justify="right", no_wrap=True)
    table.add_column("derivative", justify="right", no_wrap=True)
    table.add_column("limits", justify="right", no_wrap=True)
    table.add_column("n", justify="right")
    table.add_column("verdict", no_wrap=True)
    by_id = {resolved.constraint.id: resolved.constraint for resolved in constraints.constraints}
    rows = sorted(assessment.results, key=lambda result: result.enforcement is not Enforcement.HARD)
    for result in rows:
        constraint = by_id[result.constraint]
        estimate = result.estimate
        table.add_row(
            Text(f"{METRICS[constraint.metric].loop}: {constraint.id}"),
            bound_text(constraint),
            _value(result.base),
            _value(estimate),
            f"{estimate.lower:.3f} – {estimate.upper:.3f}" if estimate else "–",
            str(estimate.n) if estimate else "0",
            _verdict(result),
        )
    return table


def bound_text(constraint: Constraint) -> str:
    """`≤ 0.3 @ 60 %`: the bound, and the coverage it is promised at."""
    sign = "≤" if constraint.direction is Direction.AT_MOST else "≥"
    at = f" @ {constraint.coverage:.0%}" if constraint.coverage is not None else ""
    return f"{sign} {decimal(constraint.bound)}{at}"


def _value(estimate: Estimate | None) -> str:
    return f"{estimate.value:.3f}" if estimate else "–"


def _verdict(result: ConstraintResult) -> Text:
    note = " (report)" if result.enforcement is Enforcement.REPORT else ""
    return Text(f"{result.verdict}{note}", style=_STYLES[result.verdict] if not note else "dim")


@contextmanager
def watching() -> Iterator[Watch]:
    """Progress bars for passes of probes, on standard error."""
    from rich.console import Console
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
