"""Who holds which power, at which level and for which domains: by its own right, or lent until a date.

A lender needs the power `delegate`, or must have been lent the same powers with depth left. Who holds a
lent power acts at the lender's level. What has expired is absent, and what was lent on the strength of it
falls too.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

from coherence_ft.documents.constraint_set import Level
from coherence_ft.documents.diagnostics import Diagnostic, Severity
from coherence_ft.documents.schemas import either, suggestion
from coherence_ft.documents.tenant import Delegation, Power, Tenant

LENDABLE = frozenset({Power.SET, Power.TIGHTEN, Power.WAIVE})
"""A signature names its key's owner, and how far lending goes is what `depth` says."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One power of one authority. `domain` None: all. `depth`: how many times it may still be lent on."""

    authority: str
    power: Power
    level: Level
    domain: str | None
    depth: float


@dataclass(frozen=True, slots=True)
class Grants:
    """Every power in force on a day."""

    grants: frozenset[Grant]

    def powers(self, authority: str, domain: str) -> set[Power]:
        return {g.power for g in self._of(authority, domain)}

    def level(self, authority: str, powers: Collection[Power], domain: str) -> Level | None:
        """The highest level at which the authority holds one of `powers`; None if it holds none."""
        held = [g.level for g in self._of(authority, domain) if g.power in powers]
        return min(held, key=lambda level: level.rank, default=None)

    def lendable(self, authority: str, domains: Collection[str]) -> set[Power]:
        """What the authority may lend in one of `domains`; in any where none are named."""
        return {
            g.power
            for g in self.grants
            if g.authority == authority
            and g.power in LENDABLE
            and g.depth >= 1
            and (not domains or g.domain in (None, *domains))
        }

    def _of(self, authority: str, domain: str) -> list[Grant]:
        return [g for g in self.grants if g.authority == authority and g.domain in (None, domain)]


def in_force(tenant: Tenant, today: date) -> Grants:
    """The powers of every authority on `today`."""
    known = {a.id for a in tenant.authorities}
    loans: dict[str, list[Delegation]] = {}
    for d in tenant.delegations:
        if today <= d.expires and d.holder in known:
            loans.setdefault(d.lender, []).append(d)
    waiting = [
        Grant(a.id, power, a.level, None, math.inf if Power.DELEGATE in a.powers else 0)
        for a in tenant.authorities
        for power in a.powers
    ]
    deepest: dict[tuple[str, Power, Level, str | None], Grant] = {}
    while waiting:  # ends: the depth of a loan is finite, and only a greater one is followed again
        grant = waiting.pop()
        key = (grant.authority, grant.power, grant.level, grant.domain)
        if key in deepest and deepest[key].depth >= grant.depth:
            continue
        deepest[key] = grant
        if grant.depth >= 1 and grant.power in LENDABLE:
            for d in loans.get(grant.authority, ()):
                if grant.power in d.powers:
                    depth = min(d.depth, grant.depth - 1)
                    waiting += [
                        Grant(d.holder, grant.power, grant.level, domain, depth)
                        for domain in _within(grant.domain, d)
                    ]
    return Grants(frozenset(deepest.values()))


def _within(domain: str | None, delegation: Delegation) -> Sequence[str | None]:
    """Where what is held in a domain, or in all of them, may be used once it is lent."""
    if not delegation.domains:
        return (domain,)
    if domain is None:
        return delegation.domains
    return (domain,) if domain in delegation.domains else ()


def problems(tenant: Tenant, today: date) -> list[Diagnostic]:
    """Delegations that lend what their lender may not lend (CFT332), to nobody known, or no more (CFT333)."""
    found: list[Diagnostic] = []
    grants = in_force(tenant, today)
    ids = [a.id for a in tenant.authorities]
    for d in tenant.delegations:
        name = f"the delegation from `{d.lender}` to `{d.holder}`"
        if today > d.expires:
            at = d.origin.of("expires")
            found.append(
                at.diagnostic(
                    "CFT333",
                    f"{name} expired on {d.expires}: it lends nothing any more",
                    severity=Severity.WARNING,
                    help="remove it, or renew it with a new date",
                )
            )
            continue
        unknown = [id for id in dict.fromkeys((d.lender, d.holder)) if id not in ids]
        for id in unknown:
            at = d.origin.of("from" if id == d.lender else "to")
            found.append(
                at.diagnostic(
                    "CFT301",
                    f"{name} names an authority that the tenant does not know",
                    found=id,
                    expected=either(ids),
                    help=suggestion(id, ids) or "add it to the tenant document",
                )
            )
        if unknown:
            continue
        may = grants.lendable(d.lender, d.domains)
        missing = d.powers - may
        if d.lender == d.holder or missing:
            lent = f"{', '.join(sorted(missing))}; it may lend {', '.join(sorted(may)) or 'nothing'}"
            at = d.origin.of("to" if d.lender == d.holder else "powers")
            found.append(
                at.diagnostic(
                    "CFT332",
                    f"{name} lends what `{d.lender}` may not lend",
                    found="itself as the holder" if d.lender == d.holder else lent,
                    help="name another authority under `to`"
                    if d.lender == d.holder
                    else f"give `{d.lender}` these powers and `delegate`, or lend it them with `depth` left",
                )
            )
    return found
