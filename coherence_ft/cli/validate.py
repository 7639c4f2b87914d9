"""`coherence-ft validate PATH...`"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import click

from coherence_ft.cli.printing import FORMATS, as_github, as_json, print_diagnostics, shown
from coherence_ft.documents.constraint_set import Constraint
from coherence_ft.documents.diagnostics import Diagnostic, Severity
from coherence_ft.documents.tenant import Tenant


@click.command(name="validate")
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="text", help="How to print what is found."
)
def command(paths: tuple[str, ...], form: str) -> int:
    """Check recipes, constraint sets, tenants, schemas and probe sets.

    PATHS are files or folders; of a folder, every YAML file below it. Exit code 1 if there is an error.
    """
    from coherence_ft.documents.validate import validate

    found = [shown(d) for d in validate(paths, _composed)]
    errors = sum(d.severity is Severity.ERROR for d in found)
    if form == "json":
        click.echo(as_json(found))
    elif form == "github":
        if found:
            click.echo(as_github(found))
    else:
        print_diagnostics(found, sys.stdout)
        warnings = len(found) - errors
        click.echo(
            f"{_count(errors, 'error')}, {_count(warnings, 'warning')}" if found else "no problems found"
        )
    return 1 if errors else 0


def _composed(tenant: Tenant, domain: str, constraints: Sequence[Constraint]) -> Iterable[Diagnostic]:
    from coherence_ft.authority.resolve import resolve

    return resolve(tenant, domain, constraints).warnings


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
