"""What a change does to one resolved constraint: tighter, looser, or merely different, field by field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from coherence_ft.authority.resolved import ResolvedConstraint, ResolvedConstraints
from coherence_ft.comparison.changes import Change, FieldChange, Judge, Status, gravest, judged
from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.constraint_set import NOWHERE, Constraint, Enforcement, Level, Origin
from coherence_ft.documents.strictness import MERGED, shown, strictness
from coherence_ft.documents.tenant import Waiver


def constraint_changes(
    old: ResolvedConstraints, new: ResolvedConstraints, judge: Judge
) -> Iterator[Change | None]:
    """One for every constraint of either side; None for each that is unchanged."""
    before = {r.constraint.id: r for r in old.constraints}
    after = {r.constraint.id: r for r in new.constraints}
    for id in sorted(before.keys() | after.keys()):
        if id not in before:
            here = after[id]
            yield Change("constraint", id, Status.ADDED, (_summary(None, here),), new_at=_at(here))
        elif id not in after:
            gone = before[id]
            c = gone.constraint
            hard = c.enforcement is Enforcement.HARD
            change = Change("constraint", id, Status.REMOVED, (_summary(gone, None),), hard, old_at=_at(gone))
            yield judged(change, judge, c.owner, c.waiver_approvals)
        else:
            yield _constraint(before[id], after[id], judge)


def _constraint(old: ResolvedConstraint, new: ResolvedConstraint, judge: Judge) -> Change | None:
    fields = _fields(old, new, judge)
    if not fields:
        return None
    status = gravest(fields)
    c = old.constraint
    first = next(f for f in fields if f.status is status)
    blocks = status is Status.RELAXED and c.enforcement is Enforcement.HARD
    places = (first.old_at, _changed_at(old, new, first))
    change = Change("constraint", c.id, status, tuple(fields), blocks, (), 1, *places)
    return judged(change, judge, c.owner, c.waiver_approvals)


def _changed_at(old: ResolvedConstraint, new: ResolvedConstraint, change: FieldChange) -> Origin:
    """Where the change was made: a looser value may now come from elsewhere, as from a published set."""
    layer = next((s.layer for s in old.sources if s.field == change.name), old.layer)
    stated = next((c.origin for name, c in new.stated if name == layer), None)
    return stated if stated and change.status is Status.RELAXED else change.new_at


def _fields(old: ResolvedConstraint, new: ResolvedConstraint, judge: Judge) -> list[FieldChange]:
    a, b = old.constraint, new.constraint

    def change(name: str, before: str, after: str, status: Status) -> FieldChange:
        return FieldChange(name, before, after, status, _at(old, name), _at(new, name))

    if (a.metric, a.parameters) != (b.metric, b.parameters):
        # Two measurements have no common scale. Whether less is demanded cannot be known: it counts as less.
        return [change("metric", _measured(a), _measured(b), Status.RELAXED)]
    found = []
    for name in MERGED:
        before, after = strictness(a, name), strictness(b, name)
        if before == after or (name == "waiver_floor" and a.waiver_floor is None and b.waiver_floor is None):
            continue
        status = Status.TIGHTENED if after > before else Status.RELAXED
        if name == "bound" and status is Status.RELAXED and _covered(old, new, judge):
            status = Status.WAIVED
        found.append(change(name, shown(a, name), shown(b, name), status))
    if a.locked != b.locked:
        status = Status.TIGHTENED if b.locked else Status.RELAXED
        found.append(change("locked", str(a.locked).lower(), str(b.locked).lower(), status))
    for name in ("languages", "audiences", "routing_patterns"):
        was, now = set(getattr(a.scope, name)), set(getattr(b.scope, name))
        if was != now:
            wider = not now or (was and was < now)
            status = Status.TIGHTENED if wider else Status.RELAXED
            found.append(change(f"scope {name}", _listed(was), _listed(now), status))
    ranks = judge.level(a.owner, judge.tenant), judge.level(b.owner, judge.new_tenant)
    if a.owner != b.owner or ranks[0] != ranks[1]:
        found.append(change("owner", *_owners(a, b, ranks), _by_rank(*ranks)))
    one, other = _level(old), _level(new)
    if one is not None and other is not None and one is not other:
        found.append(change("level", one.value, other.value, _by_rank(one.rank, other.rank)))
    if (waiver := _waiver(old, new, judge)) is not None:
        found.append(waiver)
    return found


def _by_rank(before: int | None, after: int | None) -> Status:
    if before is None or after is None or before == after:
        return Status.CHANGED
    return Status.TIGHTENED if after < before else Status.RELAXED


def _owners(a: Constraint, b: Constraint, ranks: tuple[int | None, int | None]) -> tuple[str, str]:
    if ranks[0] == ranks[1]:
        return a.owner, b.owner
    texts = (
        f"{c.owner} ({list(Level)[rank]})" if rank is not None else c.owner
        for c, rank in zip((a, b), ranks, strict=True)
    )
    return next(texts), next(texts)


def _level(resolved: ResolvedConstraint) -> Level | None:
    """The highest level that states it; None where none does, as in a recipe or a bare set."""
    named = {layer.partition(":")[0] for layer, _ in resolved.stated}
    return next((level for level in Level if level.value in named), None)


def _effective(resolved: ResolvedConstraint) -> float:
    return resolved.waiver.bound if resolved.waiver else resolved.constraint.bound


def _covered(old: ResolvedConstraint, new: ResolvedConstraint, judge: Judge) -> bool:
    """Whether a waiver of NEW that OLD would accept reaches as far as the new bound."""
    c = old.constraint
    return any(
        w.constraint == c.id and not c.direction.is_looser(_effective(new), w.bound) and judge.accepts(w, c)
        for w in judge.waivers
    )


def _waiver(old: ResolvedConstraint, new: ResolvedConstraint, judge: Judge) -> FieldChange | None:
    """A waiver that is new, gone, or reaches further or longer."""
    before, after, c = old.waiver, new.waiver, old.constraint

    def change(status: Status) -> FieldChange:
        at = (before.origin if before else NOWHERE, after.origin if after else NOWHERE)
        return FieldChange("waiver", _waived(before), _waived(after), status, *at)

    if after is None:
        return change(Status.TIGHTENED) if before else None
    further = c.direction.is_looser(after.bound, _effective(old))
    longer = before is not None and after.expires > before.expires
    if further or (longer and c.direction.is_looser(after.bound, c.bound)):
        return change(Status.WAIVED if judge.accepts(after, c) else Status.RELAXED)
    if before is None:
        return None  # it gives back what the change tightens elsewhere
    narrower = c.direction.is_looser(before.bound, after.bound) or after.expires < before.expires
    return change(Status.TIGHTENED) if narrower else None


def _waived(waiver: Waiver | None) -> str:
    if waiver is None:
        return "none"
    by = ", ".join(sorted(waiver.approved_by))
    return f"{decimal(waiver.bound)} until {waiver.expires}, approved by {by}"


def _at(resolved: ResolvedConstraint, name: str = "bound") -> Origin:
    found = {s.field: s.origin for s in resolved.sources}
    return found.get(name, resolved.constraint.origin)


def _measured(c: Constraint) -> str:
    return " ".join([c.metric, *(f"{k} {v}" for k, v in c.parameters.items()), shown(c, "bound")])


def _summary(old: ResolvedConstraint | None, new: ResolvedConstraint | None) -> FieldChange:
    """The whole constraint as one field, for what came or went."""
    texts = [f"{r.constraint.enforcement.value}, {_measured(r.constraint)}" if r else "" for r in (old, new)]
    places = [_at(r) if r else NOWHERE for r in (old, new)]
    return FieldChange("constraint", texts[0], texts[1], Status.REMOVED if old else Status.ADDED, *places)


def _listed(values: Iterable[str]) -> str:
    return ", ".join(sorted(values)) or "all"
