"""`coherence-ft resolve RECIPE` or `coherence-ft resolve --domain DOMAIN [--tenant PATH]`."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from coherence_ft.authority.resolve import ResolvedConstraint, ResolvedConstraints, resolve
from coherence_ft.authority.trust import find_tenant
from coherence_ft.cli.printing import print_diagnostics
from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.constraint_set import Origin
from coherence_ft.documents.recipe import read_recipe_and_tenant
from coherence_ft.documents.tenant import read_tenant


@click.command(name="resolve")
@click.argument("recipe", required=False, type=click.Path(path_type=Path))
@click.option("--tenant", type=click.Path(path_type=Path), help="Tenant document, instead of a recipe's.")
@click.option("--domain", help="Domain, instead of a recipe's.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of the recipe."
)
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    recipe: Path | None, tenant: Path | None, domain: str | None, overrides: tuple[str, ...], output: str
) -> None:
    """Print the constraints that hold for RECIPE, or for a tenant and a domain.

    Every value is shown with the place where it was written, and with the bounds that lost against it.
    """
    if recipe is not None:
        if domain is not None or tenant is not None:
            raise click.UsageError("A recipe names its tenant and domain; give it alone.")
        document, authorities = read_recipe_and_tenant(recipe, overrides)
        resolved = resolve(authorities, document.domain, document.constraints)
    elif domain is not None:
        if overrides:
            raise click.UsageError("--set goes with a recipe.")
        resolved = resolve(read_tenant(find_tenant(tenant)), domain)
    else:
        raise click.UsageError("Give a recipe, or --domain.")
    print_diagnostics(resolved.warnings)
    if output == "json":
        click.echo(json.dumps(_as_json(resolved), indent=2, ensure_ascii=False))
    else:
        click.echo(f"constraints of {resolved.tenant} for the domain {resolved.domain}")
        click.echo(f"sha256 {resolved.digest}")
        for each in resolved.constraints:
            click.echo(f"\n{_as_text(each)}")


def _as_json(resolved: ResolvedConstraints) -> dict[str, Any]:
    """What is signed, with the digest and the places, which are not."""
    data = resolved.to_json()
    for row, each in zip(data["constraints"], resolved.constraints, strict=True):
        row["sources"] = {s.field: {"layer": s.layer, "place": _place(s.origin)} for s in each.sources}
        for lost, bound in zip(row["replaced"], each.replaced, strict=True):
            lost["place"] = _place(bound.origin)
    return {"digest": resolved.digest, **data}


def _as_text(each: ResolvedConstraint) -> str:
    c = each.constraint
    measured = " ".join([c.metric, *(f"{name} {value}" for name, value in c.parameters.items())])
    lines = [
        f"{c.id}: {measured} {_words(c.direction.value)} {decimal(c.bound)}",
        f"  {c.enforcement.value}, {100 * c.confidence:g} % confidence, at least {c.minimum_evidence} units, "
        f"owner {c.owner}, {_waivable(each)}{', locked' if c.locked else ''}",
        f"  reason: {c.reason}",
    ]
    by_place = sorted(each.sources, key=lambda s: (_place(s.origin), s.layer))
    for (layer, place), sources in groupby(by_place, key=lambda s: (s.layer, _place(s.origin))):
        fields = [_words(s.field) for s in sources]
        what = "all values" if len(fields) == len(each.sources) else ", ".join(fields)
        lines.append(f"  from {layer} ({place}): {what}")
    lines += [f"  replaces {decimal(r.bound)} from {r.layer} ({_place(r.origin)})" for r in each.replaced]
    if w := each.waiver:
        lines.append(
            f"  waived to {decimal(w.bound)} until {w.expires}, approved by {w.approved_by} "
            f"for {w.requested_by} ({_place(w.origin)}): {w.reason}"
        )
    return "\n".join(lines)


def _waivable(each: ResolvedConstraint) -> str:
    floor = each.constraint.waiver_floor
    return "not waivable" if floor is None else f"waivable to {decimal(floor)}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _place(origin: Origin) -> str:
    """`path:line:column`, relative to the working directory where it lies below."""
    try:
        path = Path(origin.path).absolute().relative_to(Path.cwd())
    except ValueError:
        return str(origin)
    return f"{path}:{origin.line}:{origin.column}"
