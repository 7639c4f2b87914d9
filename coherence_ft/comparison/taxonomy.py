"""Who gained or lost authority: powers, levels, loans, signatures, and which sources are believed most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date

from coherence_ft.comparison.changes import Change, FieldChange, Status, gravest
from coherence_ft.comparison.signing import Make, demanded, signing_fields
from coherence_ft.documents.constraint_set import NOWHERE, Origin
from coherence_ft.documents.tenant import Authority, Delegation, Tenant


def taxonomy_changes(old: Tenant, new: Tenant, today: date, *, same_source: bool) -> Iterator[Change]:
    """Whoever ranks highest in the OLD document must approve a gain. `same_source`: see signing.py."""
    highest = min(a.level.rank for a in old.authorities)
    approvers = tuple(sorted(a.id for a in old.authorities if a.level.rank == highest))
    changes = [
        *_authorities(old, new, same_source),
        *_delegations(old, new, today),
        *demanded(old, new, same_source),
    ]
    if old.sources != new.sources:
        field = FieldChange("order", ", ".join(old.sources), ", ".join(new.sources), Status.RELAXED)
        places = Origin(old.path, 1, 1), Origin(new.path, 1, 1)
        changes.append(Change("sources", "sources", Status.RELAXED, (field,), True, (), 1, *places))
    for change in changes:
        yield replace(change, approvers=approvers) if change.blocks else change


def _authorities(old: Tenant, new: Tenant, same_source: bool) -> Iterator[Change]:
    ids = sorted({a.id for a in (*old.authorities, *new.authorities)})
    for id in ids:
        before, after = old.authority(id), new.authority(id)
        old_at, new_at = (a.origin if a else NOWHERE for a in (before, after))

        def change(
            name: str, was: str, now: str, status: Status, old_at: Origin = old_at, new_at: Origin = new_at
        ) -> FieldChange:
            return FieldChange(name, was, now, status, old_at, new_at)

        fields = [*_powers(before, after, change), *_level(before, after, change)]
        fields += signing_fields(old, before, new, after, same_source, change)
        if fields:
            status = gravest(fields)
            blocks = status is Status.RELAXED
            yield Change("authority", id, status, tuple(fields), blocks, old_at=old_at, new_at=new_at)
        elif before is None or after is None:  # without powers and keys, a name only
            status = Status.ADDED if after else Status.REMOVED
            yield Change("authority", id, status, old_at=old_at, new_at=new_at)


def _powers(before: Authority | None, after: Authority | None, change: Make) -> Iterator[FieldChange]:
    had, has = (a.powers if a else frozenset() for a in (before, after))
    if had != has:
        status = Status.RELAXED if has - had else Status.TIGHTENED
        yield change("powers", ", ".join(sorted(had)) or "none", ", ".join(sorted(has)) or "none", status)


def _level(before: Authority | None, after: Authority | None, change: Make) -> Iterator[FieldChange]:
    if before and after and before.level is not after.level:
        status = Status.RELAXED if after.level.rank < before.level.rank else Status.TIGHTENED
        yield change("level", before.level.value, after.level.value, status)


def _delegations(old: Tenant, new: Tenant, today: date) -> Iterator[Change]:
    """Loans that are new or wider, and those that are gone or narrower. What has expired is absent."""
    before, after = ([d for d in t.delegations if today <= d.expires] for t in (old, new))
    pairs = sorted({(d.lender, d.holder) for d in (*before, *after)})
    for pair in pairs:
        had = [d for d in before if (d.lender, d.holder) == pair]
        has = [d for d in after if (d.lender, d.holder) == pair]
        gained = [d for d in has if not any(_covers(o, d) for o in had)]
        lost = [d for d in had if not any(_covers(n, d) for n in has)]
        if not gained and not lost:
            continue
        status = Status.RELAXED if gained else Status.TIGHTENED
        old_at = (lost or had)[0].origin if had else NOWHERE
        new_at = (gained or has)[0].origin if has else NOWHERE
        was, now = ("; ".join(map(_lent, each)) or "nothing" for each in (had, has))
        field = FieldChange("lends", was, now, status, old_at, new_at)
        yield Change("delegation", " to ".join(pair), status, (field,), bool(gained), (), 1, old_at, new_at)


def _covers(wide: Delegation, narrow: Delegation) -> bool:
    return (
        wide.powers >= narrow.powers
        and (not wide.domains or (bool(narrow.domains) and set(wide.domains) >= set(narrow.domains)))
        and wide.depth >= narrow.depth
        and wide.expires >= narrow.expires
    )


def _lent(d: Delegation) -> str:
    where = f" in {', '.join(sorted(d.domains))}" if d.domains else ""
    depth = f", to be passed on {d.depth} times" if d.depth else ""
    return f"{', '.join(sorted(d.powers))}{where} until {d.expires}{depth}"
