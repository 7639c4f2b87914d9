"""`coherence-ft explain [CODE]`."""

from __future__ import annotations

import textwrap

import click

from coherence_ft.documents.codes import catalogue


@click.command(name="explain")
@click.argument("code", required=False)
def command(code: str | None) -> None:
    """Say what CODE means, why it matters, and how to mend it. Without CODE, list them all."""
    codes = catalogue()
    if code is None:
        click.echo("\n".join(f"{each.id}  {each.summary}" for each in codes.values()))
        return
    entry = codes.get(code.upper())
    if entry is None:
        raise click.UsageError(f"No such code '{code}'. `coherence-ft explain` lists them.")
    click.echo(f"{entry.id}: {entry.summary}\n")
    click.echo(textwrap.fill(entry.reason, 90))
    click.echo(f"\nwrong:\n{textwrap.indent(entry.wrong, '    ')}")
    click.echo(f"\nright:\n{textwrap.indent(entry.right, '    ')}")
