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
        from difflib import get_close_matches

        near = get_close_matches(code.upper(), codes, 1, 0.8)
        hint = f"Did you mean {near[0]}?" if near else "`coherence-ft explain` lists them."
        raise click.UsageError(f"No such code '{code}'. {hint}")
    click.echo(f"{entry.id}: {entry.summary}\n")
    click.echo(textwrap.fill(entry.reason, 90))
    click.echo(f"\nwrong:\n{textwrap.indent(entry.wrong, '    ')}")
    click.echo(f"\nright:\n{textwrap.indent(entry.right, '    ')}")
    click.echo(f"\n{entry.link}")


def _page(codes: Iterable[Code]) -> str:
    parts = [
        "# Diagnostics\n\nGenerated: `coherence-ft explain --markdown > docs/diagnostics.md`.\n"
        "Families: CFT1xx syntax, 2xx schema, 3xx authority, 4xx constraints, recipes and evidence,\n"
        "5xx compatibility, 6xx manifest, 7xx training.\n"
    ]
    for code in codes:
        parts.append(f'\n<a id="{code.id.lower()}"></a>\n\n## {code.id}: {code.summary}\n\n{code.markdown}')
    return "".join(parts)
