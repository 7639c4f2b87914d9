"""`coherence-ft evaluate MODEL`: the same probes on anything, a base too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from coherence_ft.cli.printing import quiet_libraries

if TYPE_CHECKING:
    from coherence_ft.authority.resolved import ResolvedConstraints
    from coherence_ft.documents.recipe import Recipe


@click.command("evaluate")
@click.argument("model")
@click.option(
    "--constraints",
    type=click.Path(path_type=Path),
    help="A constraint set to hold it to; default: what the recipe's tenant demands.",
)
@click.option("--recipe", type=click.Path(path_type=Path), help="Names the probes; known for a run of ours.")
@click.option(
    "--split",
    type=click.Choice(["test", "calibration"]),
    default="test",
    show_default=True,
    help="The certification split is for `promote` alone.",
)
@click.option("--report", type=click.Path(path_type=Path), help="A folder for report.html and its figures.")
@click.option(
    "--sequential", is_flag=True, help="Stop as soon as every hard constraint clearly passes or fails."
)
@click.option(
    "--compare-confidence",
    "compare",
    is_flag=True,
    help="Measure every source of confidence too, and show them beside each other.",
)
def command(
    model: str,
    constraints: Path | None,
    recipe: Path | None,
    split: str,
    report: Path | None,
    sequential: bool,
    compare: bool,
) -> None:
    """Measure MODEL and hold it to constraints. Exits with 1 unless every hard one passes.

    MODEL is a derivative or checkpoint of ours (it must verify), `base` for the base model of --recipe, or
    any other base: a folder, a GGUF file, a hub id as ID@REVISION.
    """
    quiet_libraries()
    from coherence_ft.cli.sources import sources_table
    from coherence_ft.cli.verdicts import console, verdict_table, watching
    from coherence_ft.documents.recipe import read_recipe
    from coherence_ft.reporting.report import prepare, write_report
    from coherence_ft.training.evaluate import evaluate
    from coherence_ft.training.promote import recipe_of

    if recipe is None and not Path(model).is_dir():
        raise click.UsageError("a base model needs --recipe, which names the probes")
    read = read_recipe(recipe) if recipe else recipe_of(Path(model))
    held_to = _constraints(constraints, read)
    if report is not None:
        prepare(report)
    with watching() as watch:
        measured = evaluate(model, read, held_to, split, watch, sequential=sequential, compare=compare)
    assessment = measured.assessment
    console().print(verdict_table(held_to, assessment))
    if measured.sources:
        console().print(sources_table(held_to, split, measured.sources))
    if report is not None:
        page = write_report(report, model, held_to, measured.findings, measured.sources)
        click.echo(f"report: {page}")
    for result in assessment.blocking:
        click.echo(f"{result.constraint}: {result.why}")
    if not assessment.passed:
        raise click.exceptions.Exit(1)


def _constraints(path: Path | None, recipe: Recipe) -> ResolvedConstraints:
    from coherence_ft.authority.resolve import resolve, resolve_set
    from coherence_ft.documents.constraint_reader import read_constraint_set
    from coherence_ft.documents.tenant import read_tenant

    if path is None:
        return resolve(read_tenant(recipe.tenant), recipe.domain, recipe.constraints, recipe=recipe.name)
    alone = read_constraint_set(path)
    return resolve_set(alone, alone.domain or recipe.domain)
