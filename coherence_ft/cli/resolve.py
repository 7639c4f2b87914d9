"""`coherence-ft resolve RECIPE` or `coherence-ft resolve --domain DOMAIN [--tenant PATH]`."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from coherence_ft.authority.resolve import resolve
from coherence_ft.authority.resolved import ResolvedConstraint, ResolvedConstraints
from coherence_ft.authority.trust import find_tenant
from coherence_ft.authority.wording import ResolvedWording
from coherence_ft.cli.printing import print_diagnostics
from coherence_ft.documents.canonical import canonical_json, decimal
from coherence_ft.documents.constraint_reader import read_constraint_set
from coherence_ft.documents.constraint_set import Level, Origin
from coherence_ft.documents.recipe import read_recipe_and_tenant
from coherence_ft.documents.strictness import MERGED, shown
from coherence_ft.documents.tenant import Layer, Tenant, Waiver, read_tenant


@click.command(name="resolve")
@click.argument("recipe", required=False, type=click.Path(path_type=Path))
@click.option("--tenant", type=click.Path(path_type=Path), help="Tenant document, instead of a recipe's.")
@click.option("--domain", help="Domain, instead of a recipe's.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of the recipe."
)
@click.option(
    "--conversation",
    "conversations",
    multiple=True,
    nargs=2,
    metavar="SET AUTHORITY",
    help="A constraint set that an authority states for one conversation, below the tenant's layers.",
)
@click.option(
    "--query",
    "queries",
    multiple=True,
    nargs=2,
    metavar="SET AUTHORITY",
    help="The same for one query, below the conversation.",
)
@click.option("--explain", "path", metavar="PATH", help="Say why a value holds: accuracy, accuracy.bound.")
@click.option(
    "--format", "output", type=click.Choice(["text", "json", "canonical"]), default="text", show_default=True
)
def command(
    recipe: Path | None,
    tenant: Path | None,
    domain: str | None,
    overrides: tuple[str, ...],
    conversations: tuple[tuple[str, str], ...],
    queries: tuple[tuple[str, str], ...],
    path: str | None,
    output: str,
) -> None:
    """Print what holds for RECIPE, or for a tenant and a domain.

    Every value is shown with the place where it was written, and with the bounds that lost against it.
    `--format canonical` prints the bytes that are signed: their sha256 is the digest.
    """
    if recipe is not None:
        if domain is not None or tenant is not None:
            raise click.UsageError("A recipe names its tenant and domain; give it alone.")
        document, authorities = read_recipe_and_tenant(recipe, overrides)
        own, name, domain = document.constraints, document.name, document.domain
    elif domain is not None:
        if overrides:
            raise click.UsageError("--set goes with a recipe.")
        authorities, own, name = read_tenant(find_tenant(tenant)), (), None
    else:
        raise click.UsageError("Give a recipe, or --domain.")
    for level, stated in zip((Level.CONVERSATION, Level.QUERY), (conversations, queries), strict=True):
        authorities = _with_layers(authorities, level, stated)
    resolved = resolve(authorities, domain, own, recipe=name)
    print_diagnostics(resolved.warnings)
    if path is not None:
        click.echo(_why(resolved, path))
    elif output == "canonical":
        click.echo(canonical_json(resolved.to_json()), nl=False)
    elif output == "json":
        click.echo(json.dumps(_as_json(resolved), indent=2, ensure_ascii=False))
    else:
        click.echo(f"constraints of {resolved.tenant} for the domain {resolved.domain}")
        click.echo(f"sha256 {resolved.digest}")
        for text in [_as_text(each) for each in resolved.constraints] + _rules(resolved):
            click.echo(f"\n{text}")


def _with_layers(tenant: Tenant, level: Level, stated: tuple[tuple[str, str], ...]) -> Tenant:
    layers = []
    for path, authority in stated:
        constraint_set = read_constraint_set(path)
        layers.append(Layer(level, authority, constraint_set, Origin(path, 1, 1)))
    return replace(tenant, layers=(*tenant.layers, *layers))


def _as_json(resolved: ResolvedConstraints) -> dict[str, Any]:
    """What is signed, with the digest and the places, which are not."""
    data = resolved.to_json()
    for row, each in zip(data["constraints"], resolved.constraints, strict=True):
        row["sources"] = {s.field: {"layer": s.layer, "place": _place(s.origin)} for s in each.sources}
        for lost, bound in zip(row["replaced"], each.replaced, strict=True):
            lost["place"] = _place(bound.origin)
    for row, boundary in zip(data["role_boundaries"], resolved.role_boundaries, strict=True):
        row["place"] = _place(boundary.boundary.origin)
    for row, restriction in zip(data["named_constraints"], resolved.named_constraints, strict=True):
        row["place"] = _place(restriction.restriction.origin)
    for row, wording in zip(data["wording"], resolved.wording, strict=True):
        for written, band in zip(row["bands"], wording.bands, strict=True):
            written["place"] = _place(band.origin)
    for name in data["measurement"]:
        chosen = getattr(resolved.measurement, name)
        data["measurement"][name]["place"] = _place(chosen.origin) if chosen.layer else None
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
    for name in ("languages", "audiences", "routing_patterns"):
        if values := getattr(c.scope, name):
            lines.insert(1, f"  only {_words(name)} {', '.join(values)}")
    by_place = sorted(each.sources, key=lambda s: (_place(s.origin), s.layer))
    for (layer, place), sources in groupby(by_place, key=lambda s: (s.layer, _place(s.origin))):
        fields = [_words(s.field) for s in sources]
        what = "all values" if len(fields) == len(each.sources) else ", ".join(fields)
        lines.append(f"  from {layer} ({place}): {what}")
    lines += [f"  replaces {decimal(r.bound)} from {r.layer} ({_place(r.origin)})" for r in each.replaced]
    if each.waiver:
        lines.append(f"  {_waived(each.waiver)}")
    return "\n".join(lines)


def _rules(resolved: ResolvedConstraints) -> list[str]:
    found = []
    for boundary in resolved.role_boundaries:
        b = boundary.boundary
        found.append(
            f"role boundary {b.id}: on {_quoted(b.topics)} refer, as by {_quoted(b.referral)}"
            + (f"; never say {_quoted(b.forbidden)}" if b.forbidden else "")
            + f"\n  owner {b.owner}\n  reason: {b.reason}\n  from {boundary.layer} ({_place(b.origin)})"
        )
    for restriction in resolved.named_constraints:
        c = restriction.restriction
        what = [f"never say {_quoted(c.forbidden)}"] if c.forbidden else []
        what += [f"always say {_quoted(c.required)}"] if c.required else []
        found.append(
            f"named constraint {c.id}: {', '.join(what)}\n  owner {c.owner}\n  reason: {c.reason}\n"
            f"  from {restriction.layer} ({_place(c.origin)})"
        )
    found += [_bands(wording) for wording in resolved.wording]
    found.append(_measured(resolved))
    found.append("sources, the most trusted first: " + ", ".join(resolved.sources))
    return found


def _measured(resolved: ResolvedConstraints) -> str:
    lines = ["measurement"]
    for name in ("confidence", "calibrator"):
        chosen = getattr(resolved.measurement, name)
        whence = f"from {chosen.layer} ({_place(chosen.origin)})" if chosen.layer else "the default"
        lines.append(f"  {name}: {chosen.value}, {whence}")
    return "\n".join(lines)


def _bands(wording: ResolvedWording) -> str:
    lines = [f"wording for {wording.audience or 'everybody'}"]
    for band in wording.bands:
        lines.append(
            f"  from {decimal(band.confidence)}: {band.act}, {band.phrase!r}, from {band.layer} "
            f"({_place(band.origin)})"
        )
    return "\n".join(lines)


def _why(resolved: ResolvedConstraints, path: str) -> str:
    """Why a constraint, or one of its values, is as it is."""
    name = path.removeprefix("constraints.")
    by_id = {r.constraint.id: r for r in resolved.constraints}
    id, field = (name, None) if name in by_id else (name.rpartition(".")[0], name.rpartition(".")[2])
    if id not in by_id or field not in (None, *MERGED):
        known = ", ".join(by_id)
        raise click.UsageError(
            f"Nothing to explain at '{path}'. Give ID or ID.FIELD; ids: {known}; fields: {', '.join(MERGED)}."
        )
    each = by_id[id]
    lines = []
    for one in (field,) if field else MERGED:
        source = next((s for s in each.sources if s.field == one), None)
        value = shown(each.constraint, one)
        lines.append(f"{id}.{one} is {value}" + (f", from {source.layer}" if source else ""))
        for layer, c in each.stated:
            wins = source is not None and (layer, c.origin) == (source.layer, source.origin)
            lines.append(f"  {'→' if wins else ' '} {shown(c, one)}  {layer} ({_place(c.origin)})")
        if len(each.stated) > 1:
            lines.append("    the strictest of all layers holds, in whatever order they are listed")
        if one == "bound" and each.waiver:
            lines.append(f"    {_waived(each.waiver)}")
    return "\n".join([*lines, f"owner {each.constraint.owner}; reason: {each.constraint.reason}"])


def _waived(w: Waiver) -> str:
    return (
        f"waived to {decimal(w.bound)} until {w.expires}, approved by {', '.join(w.approved_by)} "
        f"for {w.requested_by} ({_place(w.origin)}): {w.reason}"
    )


def _waivable(each: ResolvedConstraint) -> str:
    c = each.constraint
    if c.waiver_floor is None:
        return "not waivable"
    approvals = f" by {c.waiver_approvals} approvals" if c.waiver_approvals > 1 else ""
    return f"waivable to {decimal(c.waiver_floor)}{approvals}"


def _quoted(phrases: tuple[str, ...]) -> str:
    return " or ".join(repr(phrase) for phrase in phrases)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _place(origin: Origin) -> str:
    """`path:line:column`, relative to the working directory where it lies below."""
    try:
        path = Path(origin.path).absolute().relative_to(Path.cwd())
    except ValueError:
        return str(origin)
    return f"{path}:{origin.line}:{origin.column}"
