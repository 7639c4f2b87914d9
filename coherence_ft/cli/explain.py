"""`coherence-ft explain [CODE]`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

import click

from coherence_ft.documents.codes import Code, catalogue


@click.command(name="explain")
@click.argument("code", required=False)
@click.option("--markdown", is_flag=True, help="All codes as the page docs/diagnostics.md.")
def command(code: str | None, markdown: bool) -> None:
    """Say what CODE means, why it matters, and how to mend it. Without CODE, list them all."""
    codes = catalogue()
    if markdown:
        click.echo(_page(codes.values()), nl=False)
        return
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


def _page(codes: Iterable[Code]) -> str:
    parts = [
        "# Diagnostics\n\nGenerated: `coherence-ft explain --markdown > docs/diagnostics.md`.\n"
        "Families: CFT1xx syntax, 2xx schema, 3xx authority, 4xx constraints, recipes and evidence,\n"
        "5xx compatibility, 6xx manifest, 7xx training.\n"
    ]
    for code in codes:
        parts.append(
            f"\n## {code.id}: {code.summary}\n\n{textwrap.fill(code.reason, 110)}\n\n"
            f"Wrong:\n\n{textwrap.indent(code.wrong, '    ')}\n\n"
            f"Right:\n\n{textwrap.indent(code.right, '    ')}\n"
        )
    return "".join(parts)
