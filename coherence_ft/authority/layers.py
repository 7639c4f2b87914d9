"""What the layers state, and what is wrong with who states it or with how statements fit together.

An authority decides at its own level and below, or at that of a lender (delegation.py). The highest
statement of a constraint needs the power `set`; a lower one needs `tighten`, unless it narrows its owner's
own constraint.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from coherence_ft.authority.delegation import Grants
from coherence_ft.documents.constraint_set import (
    Constraint,
    ConstraintSet,
    Level,
    NamedConstraint,
    Origin,
    RoleBoundary,
    Wording,
)
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.schemas import either, suggestion
from coherence_ft.documents.strictness import conflicts
from coherence_ft.documents.tenant import Authority, Layer, Power, Tenant

ADOPTER = "adopter"
"""The owner written in a set that others adopt: stands for the authority of the adopting layer."""

RECIPE = "recipe"


class Owned(Protocol):
    """What a set states: somebody owns it, and it stands somewhere."""

    @property
    def owner(self) -> str: ...
    @property
    def origin(self) -> Origin: ...


Stated = TypeVar("Stated", Constraint, RoleBoundary, NamedConstraint, Wording)


@dataclass(frozen=True, slots=True)
class Statement:
    """One layer's statement of a constraint. `rank`: 0 is the highest; the recipe is below every level."""

    constraint: Constraint
    rank: int
    layer: str
    owner: Authority | None
    owner_rank: int = len(Level)  # of the level at which its owner acts; behind all where nobody is known

    @property
    def order(self) -> tuple[Any, ...]:
        """Independent of the order in which layers are listed, and of paths as far as anything is signed."""
        c = self.constraint
        return (self.rank, self.layer, c.owner, c.reason, c.bound, str(c.origin))


@dataclass(frozen=True, slots=True)
class Adopted:
    """A constraint set that holds at a level: a layer's own, or one that it extends."""

    constraint_set: ConstraintSet
    level: Level
    label: str  # as manifests and reports show it
    adopter: str

    def owned(self, stated: Sequence[Stated]) -> list[Stated]:
        """What the set states, with `adopter` replaced by who adopted it."""
        return [replace(s, owner=self.adopter) if s.owner == ADOPTER else s for s in stated]


def adopted(tenant: Tenant, domain: str) -> Iterator[tuple[Layer, list[Adopted]]]:
    """The layers that apply in a domain, each with its own set and those that this one extends."""
    for layer in tenant.layers:
        own = layer.constraint_set
        if own.domain in (None, domain):
            yield (
                layer,
                [
                    Adopted(each, layer.level, f"{layer.level.value}: {each.id}", layer.authority)
                    for each in (own, *own.ancestors())
                ],
            )


def statements(
    tenant: Tenant, domain: str, recipe_constraints: Sequence[Constraint], grants: Grants
) -> tuple[list[Statement], list[Diagnostic]]:
    """Every statement of a constraint that applies, owners filled in, and what is wrong with its owner."""
    stated: list[Statement] = []
    found: list[Diagnostic] = []
    for layer, sets in adopted(tenant, domain):
        label = sets[0].label
        found += may_act(
            tenant, layer.authority, layer.level, f"the layer `{label}`", layer.origin, domain, grants
        )
        held = grants.powers(layer.authority, domain)
        if tenant.authority(layer.authority) and not held & {Power.SET, Power.TIGHTEN}:
            what = f"adopt the set `{layer.constraint_set.id}`"
            found.append(lacks(layer.authority, held, Power.SET, what, layer.origin.of("authority")))
        for each in sets:
            for constraint in each.owned(each.constraint_set.constraints):
                if constraint.scope.domains and domain not in constraint.scope.domains:
                    continue
                if constraint.owner != layer.authority:  # else already said of the layer
                    what = f"the constraint `{constraint.id}`"
                    found += may_act(
                        tenant, constraint.owner, layer.level, what, constraint.origin, domain, grants
                    )
                owner, acts = (
                    tenant.authority(constraint.owner),
                    _acts(tenant, constraint.owner, domain, grants),
                )
                stated.append(Statement(constraint, layer.level.rank, each.label, owner, acts))
    for constraint in recipe_constraints:
        owner = tenant.authority(constraint.owner)
        what = f"the recipe's constraint `{constraint.id}`"
        found += may_act(tenant, constraint.owner, None, what, constraint.origin, domain, grants)
        acts = _acts(tenant, constraint.owner, domain, grants)
        stated.append(Statement(constraint, len(Level), RECIPE, owner, acts))
    return stated, found


def _acts(tenant: Tenant, id: str, domain: str, grants: Grants) -> int:
    """The rank of the level at which an authority states things: its own, or the one that was lent."""
    authority = tenant.authority(id)
    if authority is None:
        return len(Level)
    return (grants.level(id, (Power.SET, Power.TIGHTEN), domain) or authority.level).rank


def may_act(
    tenant: Tenant, id: str, level: Level | None, what: str, at: Origin, domain: str, grants: Grants
) -> list[Diagnostic]:
    """What is wrong with an authority stating something at a level: unknown (CFT301), or too low (CFT303)."""
    authority = tenant.authority(id)
    if authority is None:
        at = at.of("authority").of("owner")
        return [
            at.diagnostic(
                "CFT301",
                f"{what} names an authority that the tenant does not know",
                found=id,
                expected=either(a.id for a in tenant.authorities),
                help=suggestion(id, [*(a.id for a in tenant.authorities), ADOPTER])
                or "add it to the tenant document",
            )
        ]
    own = grants.level(id, (Power.SET, Power.TIGHTEN), domain) or authority.level
    if level is not None and own.rank > level.rank:
        at = at.of("level").of("owner")
        return [
            at.diagnostic(
                "CFT303",
                f"{what} is at level {level.value}, above the level of `{id}`",
                found=own.value,
                expected=f"{level.value} or higher",
                help="an authority decides at its own level and below: lower the layer or name another one",
            )
        ]
    return []


def lacks(id: str, held: set[Power], power: Power, what: str, at: Origin) -> Diagnostic:
    """An authority without the power for what it does (CFT302)."""
    return at.diagnostic(
        "CFT302",
        f"`{id}` lacks the power to {what}",
        found=", ".join(sorted(held)) or "no powers",
        expected=power.value,
        help=f"give the authority the power `{power.value}` in the tenant document, or name another one",
    )


def powers(same: Sequence[Statement], domain: str, grants: Grants) -> list[Diagnostic]:
    """Owners without the power that their statement needs. `same` is sorted, highest level first."""
    found = []
    top = [d for d in same if d.rank == same[0].rank]
    for d in same:
        if d.owner is None:
            continue
        id, at = d.constraint.id, d.constraint.origin.of("owner")
        held = grants.powers(d.owner.id, domain)
        own = any(t.constraint.owner == d.constraint.owner for t in top)
        if d in top or own:
            if Power.SET not in held:
                found.append(lacks(d.owner.id, held, Power.SET, f"set the constraint `{id}`", at))
        elif Power.TIGHTEN not in held:
            found.append(lacks(d.owner.id, held, Power.TIGHTEN, f"tighten the constraint `{id}`", at))
    return found


def contradictions(same: Sequence[Statement]) -> list[Diagnostic]:
    """Statements of one id that contradict each other. `same` is sorted, highest level first."""
    found = []
    for position, lower in enumerate(same):
        above = [(d.layer, d.constraint) for d in same if d.rank < lower.rank]
        peers = [(d.layer, d.constraint) for d in same[:position] if d.rank == lower.rank]
        found += conflicts((lower.layer, lower.constraint), above, peers)
    return found
