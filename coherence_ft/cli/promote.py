"""`coherence-ft promote CHECKPOINT`: certify, and make a derivative."""

from __future__ import annotations

from pathlib import Path

import click

from coherence_ft.cli.printing import quiet_libraries


@click.command("promote")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--recipe", type=click.Path(path_type=Path), help="The recipe, if the run's record is missing.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Default: `derivative` beside the checkpoint."
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="A folder for report.html and its figures, written whatever the verdict.",
)
@click.option(
    "--sequential", is_flag=True, help="Stop as soon as every hard constraint clearly passes or fails."
)
@click.option(
    "--evidence-store",
    type=click.Path(path_type=Path),
    help="Keep the observations in this folder, named by digest, instead of in the derivative.",
)
def command(
    checkpoint: Path,
    recipe: Path | None,
    output: Path | None,
    report: Path | None,
    sequential: bool,
    evidence_store: Path | None,
) -> None:
    """Measure CHECKPOINT on the certification split; make it a derivative if every hard constraint holds.

    Exits with 1, and makes no derivative, when one neither passes nor is waived.
    """
    quiet_libraries()
    from coherence_ft.cli.hashing import hashing_shown
    from coherence_ft.cli.verdicts import console, verdict_table, watching
    from coherence_ft.documents.recipe import read_recipe
    from coherence_ft.reporting.report import prepare, write_report
    from coherence_ft.training.evidence import prepare_store
    from coherence_ft.training.promote import certify, promote, recipe_of, refuse_taken

    target = output or checkpoint.parent / "derivative"
    refuse_taken(target)
    if report is not None:
        prepare(report)
    if evidence_store is not None:
        prepare_store(evidence_store)
    read = read_recipe(recipe) if recipe else recipe_of(checkpoint)
    with watching() as watch:
        certification = certify(checkpoint, read, watch, sequential=sequential)
    measured = certification.measured
    console().print(verdict_table(measured.constraints, measured.assessment, certification.look))
    try:
        with hashing_shown():
            made = promote(certification, read, target, evidence_store=evidence_store)
        click.echo(f"{target} is certified and signed, manifest sha256:{made.digest}")
        if made.without_model_signature:
            click.echo(f"no model.sig: {made.without_model_signature}")
        if made.awaited:
            click.echo(f"not to be loaded before it is countersigned by: {'; '.join(made.awaited)}")
    finally:  # a refusal is what one wants to read about
        if report is not None:
            page = write_report(report, str(checkpoint), measured.constraints, measured.findings)
            click.echo(f"report: {page}")
