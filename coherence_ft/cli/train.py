"""`coherence-ft train RECIPE`: fine-tune with the loops attached."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from coherence_ft.cli.printing import print_diagnostics, quiet_libraries

if TYPE_CHECKING:
    from coherence_ft.documents.recipe import Recipe


@click.command("train")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of the recipe."
)
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[CHECKPOINT]",
    help="Continue from a checkpoint; without a name, from the newest that verifies.",
)
@click.option(
    "--dry-run", is_flag=True, help="Check everything that needs no weights; print the memory plan."
)
def command(recipe: Path, overrides: tuple[str, ...], resume: str | None, dry_run: bool) -> None:
    """Fine-tune as RECIPE says, with the loops attached.

    Every checkpoint is signed. An interrupted run goes on with --resume, exactly where it was.
    """
    from coherence_ft.documents.recipe import read_recipe

    read = read_recipe(recipe, overrides=overrides)
    quiet_libraries()
    if dry_run:
        _plan(read)
        return

    from coherence_ft.training.run import find_checkpoint, prepare, train

    run = prepare(read)
    checkpoint = None
    if resume is not None:
        checkpoint, warned = find_checkpoint(run, Path(resume) if resume else None)
        print_diagnostics(warned)
        click.echo(f"resuming from {checkpoint}", err=True)
    last = train(run, overrides=overrides, resume=checkpoint)

    from coherence_ft.cli.verdicts import console, verdict_table
    from coherence_ft.manifest.verify import verify

    manifest = verify(last, read.tenant)
    console().print(verdict_table(manifest.constraints, manifest.assessment))
    click.echo(f"{_shown(last)} is signed. Seen on the calibration split, which certifies nothing; next:")
    click.echo(f"  coherence-ft promote {_shown(last)}")


def _plan(recipe: Recipe) -> None:
    """Preflight without weights, and the memory plan."""
    from rich.table import Table

    from coherence_ft.cli.verdicts import console
    from coherence_ft.documents.diagnostics import CoherenceError
    from coherence_ft.models.base import load_config
    from coherence_ft.models.memory import memory_plan
    from coherence_ft.training.preflight import preflight_recipe
    from coherence_ft.training.provenance import find_origin

    config = None
    if recipe.base.architecture is None and recipe.base.kind != "hub":
        config = load_config(find_origin(recipe).base)
    findings = preflight_recipe(recipe, config)
    if findings:
        raise CoherenceError(findings)
    plan = memory_plan(recipe, config)
    table = Table(title=f"{plan.parameters / 1e9:.2f} billion parameters, {plan.trained:,} trained", box=None)
    table.add_column(recipe.name)
    table.add_column("GiB", justify="right")
    for name, size in plan.rows.items():
        table.add_row(name, f"{size / 2**30:.2f}")
    table.add_row("total", f"{plan.total / 2**30:.2f}", style="bold")
    console().print(table)
    click.echo("assuming:")
    for assumption in plan.assumptions:
        click.echo(f"- {assumption}")


def _shown(path: Path) -> str:
    """Relative to the working directory where that is shorter to read."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
