"""`coherence-ft diff OLD NEW [PATH...]`"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from coherence_ft.cli import printing

FORMATS = (*printing.FORMATS, "markdown")


@click.command(name="diff")
@click.argument("old")
@click.argument("new")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="text", help="How to print what is found."
)
@click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write a report too: by its name (.md, .sarif, .xml, .json), else like --format.",
)
def command(old: str, new: str, paths: tuple[str, ...], form: str, outputs: tuple[Path, ...]) -> int:
    """Say what NEW tightens and relaxes against OLD, and who may approve it.

    OLD and NEW are each a file, a folder or a git revision: main, HEAD~1, main:constraints. A name that is
    both is the file. PATH narrows folders and revisions to files and folders below them; beside a file or
    folder, a revision is narrowed to the same one. Exit code 1 if something is relaxed that no valid waiver
    covers.
    """
    from coherence_ft.cli import differences
    from coherence_ft.comparison.compare import Comparison, compare
    from coherence_ft.comparison.revisions import opened
    from coherence_ft.documents.diagnostics import CoherenceError

    for each in outputs:
        if not each.absolute().parent.is_dir():
            raise click.BadParameter(f"the folder of '{each}' does not exist", param_hint="--output")
    try:
        with opened(old, new, paths) as (before, after):
            found = differences.relative(compare(before, after))
    except CoherenceError as error:
        found = Comparison((), error.diagnostics, 0, ())
    for each in outputs:
        wanted = "markdown" if each.suffix == ".md" else printing.format_of(each, form)
        printing.write_report(each, differences.report(wanted, found, (old, new)))
    if form == "text":
        printing.print_diagnostics(found.problems, sys.stdout)
    if text := differences.report(form, found, (old, new)):
        click.echo(text)
    return 1 if found.blocked else 0
