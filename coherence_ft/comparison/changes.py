"""What a comparison says: one change, and who may approve it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum

from coherence_ft.authority import waivers
from coherence_ft.authority.delegation import Grants
from coherence_ft.documents.constraint_set import NOWHERE, Constraint, Level, Origin
from coherence_ft.documents.tenant import Power, Tenant, Waiver


class Status(StrEnum):
    """What became of something, the gravest first."""

    RELAXED = "relaxed"
    REMOVED = "removed"
    WAIVED = "waived"  # relaxed under a waiver that the old document would have accepted
    TIGHTENED = "tightened"
    ADDED = "added"
    CHANGED = "changed"  # in a way that is neither stricter nor looser


@dataclass(frozen=True, slots=True)
class FieldChange:
    name: str
    old: str
    new: str
    status: Status
    old_at: Origin = field(default=NOWHERE, compare=False)
    new_at: Origin = field(default=NOWHERE, compare=False)


def gravest(fields: Iterable[FieldChange]) -> Status:
    """The status of a change from those of its fields."""
    found = {f.status for f in fields}
    return next(status for status in Status if status in found)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as it was. `blocks`: it loosens what gated, and no waiver covers it.

    `approvers` may approve it, by the old document; `approvals` of them are needed. `subject` and `domains`
    say where: `tenant northwind-health`, in these domains, or in none where domains play no part.
    """

    kind: str
    id: str
    status: Status
    fields: tuple[FieldChange, ...] = ()
    blocks: bool = False
    approvers: tuple[str, ...] = ()
    approvals: int = 1
    old_at: Origin = field(default=NOWHERE, compare=False)
    new_at: Origin = field(default=NOWHERE, compare=False)
    subject: str = ""
    domains: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judge:
    """Who may approve, and which new waivers count, by the OLD tenant document and its grants.

    A change can never grant its own approver. `tenant` is None for a set that nobody adopts.
    """

    domain: str
    today: date
    tenant: Tenant | None = None
    new_tenant: Tenant | None = None
    grants: Grants = field(default_factory=lambda: Grants(frozenset()))
    waivers: tuple[Waiver, ...] = ()  # of the new document, for the domain and recipe

    def approvers(self, owner: str) -> tuple[str, ...]:
        """The authorities with the power to waive, at or above the owner's level."""
        known = self.tenant.authority(owner) if self.tenant else None
        if known is None:
            return self.at_least(Level.REGULATED_UNIT)
        own = self.grants.level(owner, (Power.SET, Power.TIGHTEN), self.domain)
        return self.at_least(own or known.level)

    def at_least(self, level: Level) -> tuple[str, ...]:
        ids = sorted(a.id for a in self.tenant.authorities) if self.tenant else ()
        held = {id: self.grants.level(id, (Power.WAIVE,), self.domain) for id in ids}
        return tuple(id for id, own in held.items() if own is not None and own.rank <= level.rank)

    def accepts(self, waiver: Waiver, constraint: Constraint) -> bool:
        """Whether the OLD document would let the waiver relax the OLD constraint."""
        if self.tenant is None:
            return False
        return not waivers.problems(waiver, self.tenant, constraint, self.today, self.grants)

    def level(self, owner: str, tenant: Tenant | None) -> int | None:
        known = (tenant and tenant.authority(owner)) or (self.tenant and self.tenant.authority(owner))
        return known.level.rank if known else None


def judged(change: Change, judge: Judge, owner: str, approvals: int = 1) -> Change:
    """With who may approve it, if it needs approval."""
    if not change.blocks:
        return change
    return replace(change, approvers=judge.approvers(owner), approvals=approvals)
