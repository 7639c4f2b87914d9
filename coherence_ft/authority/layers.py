"""What the layers state, and what is wrong with who states it or with how statements fit together.

An authority decides at its own level and below. The highest statement of a constraint needs the power
`set`; a lower one needs `tighten`, unless it narrows its owner's own constraint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.constraint_set import Constraint, Direction, Enforcement, Level, Origin
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.schemas import either, suggestion
from coherence_ft.documents.tenant import Authority, Power, Tenant

ADOPTER = "adopter"
"""The owner written in a set that others adopt: stands for the authority of the adopting layer."""

RECIPE = "recipe"

MERGED = ("bound", "confidence", "minimum_evidence", "enforcement", "waiver_floor")
"""The fields of a constraint that layers tighten independently of each other."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One layer's statement of a constraint. `rank`: 0 is the highest; the recipe is below every level."""

    constraint: Constraint
    rank: int
    layer: str
    owner: Authority | None

    @property
    def order(self) -> tuple[Any, ...]:
        """Independent of the order in which layers are listed, and of paths as far as anything is signed."""
        c = self.constraint
        return (self.rank, self.layer, c.owner, c.reason, c.bound, str(c.origin))


def statements(
    tenant: Tenant, domain: str, recipe_constraints: Sequence[Constraint]
) -> tuple[list[Statement], list[Diagnostic]]:
    """Every statement that applies, owners filled in, and what is wrong with who states it."""
    stated: list[Statement] = []
    found: list[Diagnostic] = []
    for layer in tenant.layers:
        if layer.constraint_set.domain not in (None, domain):
            continue
        label = f"{layer.level.value}: {layer.constraint_set.id}"
        adopter = tenant.authority(layer.authority)
        found += _may_act(tenant, layer.authority, layer.level, f"the layer `{label}`", layer.origin)
        if adopter and not adopter.powers & {Power.SET, Power.TIGHTEN}:
            found.append(
                _lacks(adopter, Power.SET, f"adopt the set `{layer.constraint_set.id}`", layer.origin)
            )
        for constraint in layer.constraint_set.constraints:
            if constraint.owner == ADOPTER:
                constraint = replace(constraint, owner=layer.authority)
            owner = tenant.authority(constraint.owner)
            if constraint.owner != layer.authority:  # else already said of the layer
                what = f"the constraint `{constraint.id}`"
                found += _may_act(tenant, constraint.owner, layer.level, what, constraint.origin)
            stated.append(Statement(constraint, layer.level.rank, label, owner))
    for constraint in recipe_constraints:
        owner = tenant.authority(constraint.owner)
        found += _may_act(
            tenant, constraint.owner, None, f"the recipe's constraint `{constraint.id}`", constraint.origin
        )
        stated.append(Statement(constraint, len(Level), RECIPE, owner))
    return stated, found


def _may_act(tenant: Tenant, id: str, level: Level | None, what: str, at: Origin) -> list[Diagnostic]:
    authority = tenant.authority(id)
    if authority is None:
        return [
            Diagnostic(
                "CFT301",
                f"{what} names an authority that the tenant does not know",
                at.path,
                at.line,
                at.column,
                found=id,
                expected=either(a.id for a in tenant.authorities),
                help=suggestion(id, [a.id for a in tenant.authorities]) or "add it to the tenant document",
            )
        ]
    if level is not None and authority.level.rank > level.rank:
        return [
            Diagnostic(
                "CFT303",
                f"{what} is at level {level.value}, above the level of `{id}`",
                at.path,
                at.line,
                at.column,
                found=authority.level.value,
                expected=f"{level.value} or higher",
                help="an authority decides at its own level and below: lower the layer or name another one",
            )
        ]
    return []


def _lacks(authority: Authority, power: Power, what: str, at: Origin) -> Diagnostic:
    return Diagnostic(
        "CFT302",
        f"`{authority.id}` lacks the power to {what}",
        at.path,
        at.line,
        at.column,
        found=", ".join(sorted(authority.powers)) or "no powers",
        expected=power.value,
        help=f"give the authority the power `{power.value}` in the tenant document, or name another one",
    )


def powers(same: Sequence[Statement]) -> list[Diagnostic]:
    """Owners without the power that their statement needs. `same` is sorted, highest level first."""
    found = []
    top = [d for d in same if d.rank == same[0].rank]
    for d in same:
        if d.owner is None:
            continue
        id, at = d.constraint.id, d.constraint.origin
        own = any(t.constraint.owner == d.constraint.owner for t in top)
        if d in top or own:
            if Power.SET not in d.owner.powers:
                found.append(_lacks(d.owner, Power.SET, f"set the constraint `{id}`", at))
        elif Power.TIGHTEN not in d.owner.powers:
            found.append(_lacks(d.owner, Power.TIGHTEN, f"tighten the constraint `{id}`", at))
    return found


def strictness(constraint: Constraint, name: str) -> float:
    """Higher is stricter."""
    value = getattr(constraint, name)
    if name == "enforcement":
        return float(value is Enforcement.HARD)
    if value is None:  # no waiver floor: no waiver past the bound itself
        value = constraint.bound
    at_most = name in ("bound", "waiver_floor") and constraint.direction is Direction.AT_MOST
    return float(-value if at_most else value)


def conflicts(same: Sequence[Statement]) -> list[Diagnostic]:
    """Statements of one id that contradict each other. `same` is sorted, highest level first."""
    found = []
    for position, lower in enumerate(same):
        above = [d for d in same if d.rank < lower.rank]
        c, at = lower.constraint, lower.constraint.origin

        def report(
            code: str, message: str, help: str, values: tuple[str, str] = ("", ""), at: Origin = at
        ) -> None:
            found.append(
                Diagnostic(
                    code, message, at.path, at.line, at.column, found=values[0], expected=values[1], help=help
                )
            )

        first = same[0].constraint
        if position and (c.metric, c.parameters) != (first.metric, first.parameters):
            report(
                "CFT304",
                f"`{c.id}` ({lower.layer}) measures something else than `{c.id}` ({same[0].layer}) at "
                f"{first.origin}",
                "the same id is the same constraint in every layer: give this one an id of its own",
                (_measure(c), _measure(first)),
            )
            continue
        locked = next((d for d in above if d.constraint.locked), None)
        if locked:
            report(
                "CFT306",
                f"`{c.id}` is locked by {locked.layer} at {locked.constraint.origin}: {lower.layer} cannot "
                "state it again",
                "remove it here; even a tightening needs the lock to be lifted by its owner",
            )
            continue
        for name in MERGED:
            if name == "waiver_floor" and c.waiver_floor is None:
                continue  # claims nothing; its bound has been compared
            mine = strictness(c, name)
            higher = next((d for d in above if strictness(d.constraint, name) > mine), None)
            if higher:
                report(
                    "CFT305",
                    f"`{name}` of `{c.id}` ({lower.layer}) is looser than {higher.layer} demands at "
                    f"{higher.constraint.origin}",
                    "a lower layer may only tighten; an exception needs a waiver in the tenant document",
                    (_show(c, name), _show(higher.constraint, name)),
                )
    return found


def _measure(constraint: Constraint) -> str:
    return " ".join([constraint.metric, *(f"{k}={v}" for k, v in constraint.parameters.items())])


def _show(constraint: Constraint, name: str) -> str:
    value = getattr(constraint, name)
    if value is None:
        return "none: cannot be waived"
    text = decimal(value) if isinstance(value, float) else str(value)
    return f"{constraint.direction.value} {text}" if name == "bound" else text
