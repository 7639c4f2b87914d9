"""What a change does to role boundaries, named constraints, wording and measurement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.authority.wording import ResolvedBand
from coherence_ft.comparison.changes import Change, FieldChange, Judge, Status, gravest, judged
from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.constraint_set import NOWHERE, Level, NamedConstraint, RoleBoundary

Rule = TypeVar("Rule", RoleBoundary, NamedConstraint)
_PHRASES = {"topics": True, "referral": False, "forbidden": True, "required": True}
"""The lists of phrases of a rule, and whether a longer one is stricter."""


def rule_changes(old: ResolvedConstraints, new: ResolvedConstraints, judge: Judge) -> Iterator[Change]:
    """Role boundaries and named constraints. All of them hold, so each old one needs a new one as strict."""
    boundaries = [[r.boundary for r in side.role_boundaries] for side in (old, new)]
    yield from _rules("role boundary", boundaries[0], boundaries[1], judge)
    restrictions = [[r.restriction for r in side.named_constraints] for side in (old, new)]
    yield from _rules("named constraint", restrictions[0], restrictions[1], judge)


def _rules(kind: str, old: Sequence[Rule], new: Sequence[Rule], judge: Judge) -> Iterator[Change]:
    for id in sorted({r.id for r in (*old, *new)}):
        before, after = [r for r in old if r.id == id], [r for r in new if r.id == id]
        lost = [r for r in before if not any(_as_strict(n, r) for n in after)]
        gained = [r for r in after if not any(_as_strict(o, r) for o in before)]
        if not lost and not gained:
            continue
        status = Status.RELAXED if lost else Status.TIGHTENED
        if not after or not before:
            status = Status.REMOVED if before else Status.ADDED
        changed = before[:1], after[:1]
        if lost and after:
            changed = lost[:1], [max(after, key=lambda n: _shared(n, lost[0]))]
        elif gained and before:
            changed = [max(before, key=lambda o: _shared(o, gained[0]))], gained[:1]
        a, b = (each[0] if each else None for each in changed)
        change = Change(
            kind,
            id,
            status,
            tuple(_phrase_changes(a, b)) if a and b else (),
            status in (Status.RELAXED, Status.REMOVED),
            old_at=a.origin if a else NOWHERE,
            new_at=b.origin if b else NOWHERE,
        )
        yield judged(change, judge, a.owner if a else "")


def _phrases(rule: RoleBoundary | NamedConstraint, name: str) -> frozenset[str]:
    return frozenset(" ".join(p.casefold().split()) for p in getattr(rule, name, ()))


def _as_strict(rule: Rule, other: Rule) -> bool:
    """Whether a reply that keeps `rule` always keeps `other`."""
    return all(
        _phrases(rule, name) >= _phrases(other, name)
        if longer_is_stricter
        else _phrases(rule, name) <= _phrases(other, name)
        for name, longer_is_stricter in _PHRASES.items()
    )


def _shared(rule: Rule, other: Rule) -> int:
    return sum(len(_phrases(rule, name) & _phrases(other, name)) for name in _PHRASES)


def _phrase_changes(old: Rule, new: Rule) -> Iterator[FieldChange]:
    for name, longer_is_stricter in _PHRASES.items():
        before, after = _phrases(old, name), _phrases(new, name)
        if before == after:
            continue
        tighter = after > before if longer_is_stricter else after < before
        status = Status.TIGHTENED if tighter else Status.RELAXED
        yield FieldChange(name, _quoted(before), _quoted(after), status, old.origin, new.origin)


def _quoted(phrases: Iterable[str]) -> str:
    return ", ".join(f'"{p}"' for p in sorted(phrases)) or "none"


def wording_changes(old: ResolvedConstraints, new: ResolvedConstraints, judge: Judge) -> Iterator[Change]:
    """For each audience that either side names, and for everybody else."""
    audiences: set[str | None] = {w.audience for side in (old, new) for w in side.wording}
    for audience in sorted(audiences | {None}, key=lambda a: a or ""):
        before, after = old.wording_for(audience), new.wording_for(audience)
        id = audience or "everybody"
        if before is None or after is None:
            if after is not None:
                yield Change("wording", id, Status.ADDED, new_at=after.bands[0].origin)
            elif before is not None:
                band = before.bands[0]
                approvers = _of_layer(band.layer, judge)
                yield Change("wording", id, Status.REMOVED, (), True, approvers, old_at=band.origin)
            continue
        edges = sorted({b.confidence for w in (before, after) for b in w.bands}, reverse=True)
        found = [(f, before.band(e)) for e in edges if (f := _band(e, before.band(e), after.band(e)))]
        if not found:
            continue
        fields = tuple(f for f, _ in found)
        status = gravest(fields)
        first, band = next((f, band) for f, band in found if f.status is status)
        change = Change(
            "wording", id, status, fields, status is Status.RELAXED, (), 1, first.old_at, first.new_at
        )
        yield replace(change, approvers=_of_layer(band.layer, judge) if change.blocks else ())


def _band(edge: float, old: ResolvedBand, new: ResolvedBand) -> FieldChange | None:
    name = f"from {decimal(edge)}"
    if old.act is not new.act:
        status = Status.TIGHTENED if new.act.caution > old.act.caution else Status.RELAXED
        return FieldChange(name, old.act.value, new.act.value, status, old.origin, new.origin)
    if old.phrase != new.phrase:
        before, after = (f'"{band.phrase}"' for band in (old, new))
        return FieldChange(name, before, after, Status.CHANGED, old.origin, new.origin)
    return None


def measurement_changes(old: ResolvedConstraints, new: ResolvedConstraints, judge: Judge) -> Iterator[Change]:
    """Another source of confidence, or another calibrator: nobody can say that the bounds demand as much."""
    for name in ("confidence", "calibrator"):
        before, after = getattr(old.measurement, name), getattr(new.measurement, name)
        if before.value != after.value:
            status, places = Status.RELAXED, (before.origin, after.origin)
            changed = FieldChange(name, before.value, after.value, status, *places)
            approvers = _of_layer(before.layer or "", judge)
            yield Change("measurement", name, status, (changed,), True, approvers, 1, *places)


def _of_layer(layer: str, judge: Judge) -> tuple[str, ...]:
    """Who may approve: whoever may waive at the level of the layer that stated the old."""
    level = next((each for each in Level if layer.startswith(f"{each.value}:")), Level.REGULATED_UNIT)
    return judge.at_least(level)
