"""OLD against NEW: what a change tightens and relaxes, matched by what documents are, not by where they lie.

Compared are, for each tenant, who may decide and the resolved constraints of each domain that it governs; for
each recipe its resolved constraints; and by themselves the constraint sets that no compared tenant adopts.
What only one side has, came or went. What cannot be read or resolved is never taken for unchanged.
"""

from __future__ import annotations

import os.path
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

from coherence_ft.authority import delegation
from coherence_ft.authority.resolve import resolve, resolve_set
from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.authority.validate import governed
from coherence_ft.comparison.changes import Change, FieldChange, Judge, Status
from coherence_ft.comparison.constraints import constraint_changes
from coherence_ft.comparison.documents import Documents, collect, told
from coherence_ft.comparison.revisions import Side
from coherence_ft.comparison.rules import measurement_changes, rule_changes, wording_changes
from coherence_ft.comparison.taxonomy import taxonomy_changes
from coherence_ft.documents.canonical import canonical_digest
from coherence_ft.documents.constraint_set import (
    DOMAINS,
    NOWHERE,
    Constraint,
    ConstraintSet,
    Enforcement,
    Level,
    Origin,
)
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.extends import PUBLISHED
from coherence_ft.documents.recipe import Recipe
from coherence_ft.documents.schemas import schema_root
from coherence_ft.documents.tenant import Tenant

T = TypeVar("T", bound=Tenant | ConstraintSet | tuple[Recipe, Tenant])
OLD, NEW = 0, 1


@dataclass(frozen=True)
class Compared:
    """The digests of what is in force for a subject on both sides; empty where it is not there."""

    subject: str
    domain: str
    old: str
    new: str


@dataclass(frozen=True)
class Comparison:
    """What differs. `problems` are invalid documents of either side: with one, nothing is in order."""

    changes: tuple[Change, ...]
    problems: tuple[Diagnostic, ...]
    unchanged: int  # constraints
    compared: tuple[Compared, ...]

    @property
    def blocked(self) -> bool:
        return bool(self.problems) or any(change.blocks for change in self.changes)

    @property
    def digests(self) -> tuple[str, str]:
        """sha256 (hex) of everything that is in force on each side."""
        old = [[c.subject, c.domain, c.old] for c in self.compared if c.old]
        new = [[c.subject, c.domain, c.new] for c in self.compared if c.new]
        return canonical_digest(old), canonical_digest(new)


def compare(old: Side, new: Side, today: date | None = None) -> Comparison:
    """Compare two sides as they stand on `today`. What is wrong with them is in the result, not raised."""
    return _Comparer(collect(old), collect(new), today or date.today()).run()


class _Comparer:
    def __init__(self, old: Documents, new: Documents, today: date) -> None:
        self.sides = (old, new)
        self.today = today
        self.changes: list[Change] = []
        self.compared: list[Compared] = []
        self.problems: list[Diagnostic] = [*old.problems, *new.problems]
        self.unchanged = 0
        # What a tenant's recipes share with it is said once, of the tenant.
        self.said: dict[tuple[str, str, str], set[Change]] = {}

    def run(self) -> Comparison:
        old, new = self.sides
        for broken in old.broken:
            self.incomparable(f"the document {broken.path}", old.side.shown(str(old.side.root / broken.path)))
        for before, after in self.pairs(old.tenants, new.tenants, "tenant", lambda t: t.id):
            self.tenant(before, after)
        for was, now in self.pairs(old.recipes, new.recipes, "recipe", lambda r: r[0].name):
            self.recipe(was, now)
        adopted = [_adopted(side.tenants) for side in self.sides]
        for one, other in self.pairs(old.sets, new.sets, "constraint-set", lambda s: s.id):
            if any(
                each is not None and os.path.realpath(each.path) not in known
                for each, known in zip((one, other), adopted, strict=True)
            ):
                self.constraint_set(one, other)
        if not self.compared and not self.problems:
            self.problems.append(
                Diagnostic(
                    "CFT344",
                    "neither side holds a document of this program, so nothing was compared",
                    help="check the names, and PATH: it is relative to OLD and NEW, or for a revision to "
                    "the working directory",
                )
            )
        order = list(Status)
        self.changes.sort(
            key=lambda c: (_rank(c.subject), c.subject, order.index(c.status), c.domains, c.kind, c.id)
        )
        return Comparison(
            tuple(self.changes), tuple(dict.fromkeys(self.problems)), self.unchanged, tuple(self.compared)
        )

    def pairs(
        self, old: Sequence[T], new: Sequence[T], kind: str, name: Callable[[T], str]
    ) -> Iterator[tuple[T | None, T | None]]:
        """Documents of one id. Where a side has several, first those at the same path."""
        for id in sorted({name(each) for each in (*old, *new)}):
            found: list[dict[str, T]] = [
                {s.side.inside(_path(d)): d for d in documents if name(d) == id}
                for s, documents in zip(self.sides, (old, new), strict=True)
            ]
            same = [path for path in found[OLD] if path in found[NEW]]
            for path in same:
                yield found[OLD].pop(path), found[NEW].pop(path)
            for before, after in zip_longest(*(sorted(side.items()) for side in found)):
                missing = NEW if after is None else OLD if before is None else None
                here = before or after
                # What cannot be read may be what is missing: that is said already, and nothing came or went.
                if missing is None or not self.sides[missing].may_hold(kind, id, here[0] if here else ""):
                    yield before[1] if before else None, after[1] if after else None

    # --- subjects -----------------------------------------------------------------------------------------

    def tenant(self, old: Tenant | None, new: Tenant | None) -> None:
        both = [t for t in (old, new) if t is not None]
        id = both[0].id
        subject = f"tenant {id}"
        judge = self.judge("", old, new)
        if old is None or new is None:
            domains = governed(both[0])
            resolved = [self.resolved(OLD if old else NEW, both[0], d) for d in domains]
            self.came_or_went(
                "tenant", id, subject, (), resolved, judge, Origin(both[0].path, 1, 1), old is None
            )
            return
        same_source = bool(self.sides[OLD].side.revision) == bool(self.sides[NEW].side.revision)
        self.note(subject, {c: [] for c in taxonomy_changes(old, new, self.today, same_source=same_source)})
        named = [{r.name for r, _ in side.recipes} for side in self.sides]
        own = named[OLD] & named[NEW]  # compared by themselves
        found: dict[str, dict[Change, list[str]]] = {}
        before, after = governed(old), governed(new)
        for domain in sorted({*before, *after}):
            judge = self.judge(domain, old, new)
            if domain not in before or domain not in after:
                lone = self.resolved(NEW, new, domain) if domain in after else self.resolved(OLD, old, domain)
                place = Origin((new if domain in after else old).path, 1, 1)
                self.came_or_went("domain", domain, subject, (domain,), [lone], judge, place, domain in after)
                continue
            waived = {w.recipe for t in both for w in t.waivers if w.domain == domain and w.recipe not in own}
            for recipe in sorted(waived | {None}, key=lambda name: name or ""):
                a = self.resolved(OLD, old, domain, recipe=recipe)
                b = self.resolved(NEW, new, domain, recipe=recipe)
                if a is None or b is None:
                    continue
                label = f"recipe {recipe}" if recipe else subject
                changes = self.differences(label, domain, a, b, self.judge(domain, old, new, recipe))
                said = self.said.setdefault((old.path, new.path, domain), set())
                for change in changes:
                    if recipe is None or change not in said:
                        found.setdefault(label, {}).setdefault(change, []).append(domain)
                if recipe is None:
                    said.update(changes)
        for label, by_change in found.items():
            self.note(label, by_change)

    def recipe(self, old: tuple[Recipe, Tenant] | None, new: tuple[Recipe, Tenant] | None) -> None:
        a, b = (
            self.resolved(side, each[1], each[0].domain, each[0].constraints, each[0].name) if each else None
            for side, each in enumerate((old, new))
        )
        both = [r for r in (old, new) if r is not None]
        recipe = both[0][0]
        subject = f"recipe {recipe.name}"
        judge = self.judge(both[-1][0].domain, old[1] if old else None, new[1] if new else None, recipe.name)
        if old is None or new is None:
            place = Origin(recipe.path, 1, 1)
            self.came_or_went(
                "recipe", recipe.name, subject, (recipe.domain,), [a or b], judge, place, old is None
            )
            return
        if a is None or b is None:
            return
        domains = (old[0].domain, new[0].domain)
        said = self.said.get((old[1].path, new[1].path, domains[1]), set()) if len({*domains}) == 1 else set()
        changes = [c for c in self.differences(subject, domains[1], a, b, judge) if c not in said]
        if len({*domains}) > 1:
            places = Origin(old[0].path, 1, 1), Origin(new[0].path, 1, 1)
            field = FieldChange("domain", *domains, Status.CHANGED, *places)
            changes.append(Change("recipe", recipe.name, Status.CHANGED, (field,), False, (), 1, *places))
        self.note(subject, {c: [domains[1]] for c in changes})

    def constraint_set(self, old: ConstraintSet | None, new: ConstraintSet | None) -> None:
        both = [s for s in (old, new) if s is not None]
        subject = f"constraint set {both[0].id}"
        domains = sorted({d for each in both for d in _domains(each)})
        found: dict[Change, list[str]] = {}
        lone: list[ResolvedConstraints | None] = []
        for domain in domains:
            a, b = (resolve_set(s, domain) if s and domain in _domains(s) else None for s in (old, new))
            judge = Judge(domain, self.today)
            if a and b:
                for change in self.differences(subject, domain, a, b, judge):
                    found.setdefault(change, []).append(domain)
            elif old is None or new is None:
                lone.append(a or b)
            else:
                place = Origin((old if a else new).path, 1, 1)
                self.came_or_went("domain", domain, subject, (domain,), [a or b], judge, place, a is None)
        self.note(subject, found)
        if old is None or new is None:
            place = Origin(both[0].path, 1, 1)
            judge = Judge("", self.today)
            self.came_or_went("constraint set", both[0].id, subject, (), lone, judge, place, old is None)

    # --- what they share ----------------------------------------------------------------------------------

    def judge(self, domain: str, old: Tenant | None, new: Tenant | None, recipe: str | None = None) -> Judge:
        if old is None:
            return Judge(domain, self.today)
        waivers = new.waivers if new else ()
        return Judge(
            domain,
            self.today,
            old,
            new,
            delegation.in_force(old, self.today),
            tuple(w for w in waivers if w.domain == domain and w.recipe in (None, recipe)),
        )

    def resolved(
        self,
        side: int,
        tenant: Tenant,
        domain: str,
        constraints: Sequence[Constraint] = (),
        recipe: str | None = None,
    ) -> ResolvedConstraints | None:
        """None where the documents contradict each other: that is a problem of its own."""
        try:
            return resolve(tenant, domain, constraints, recipe=recipe, today=self.today)
        except CoherenceError as error:
            here = self.sides[side].side
            self.problems += [told(here, d) for d in error.diagnostics]
            if side == OLD:
                what = f"the recipe {recipe}" if recipe else f"the tenant {tenant.id} in the domain {domain}"
                self.incomparable(what, here.shown(tenant.path))
            return None

    def incomparable(self, what: str, path: str) -> None:
        self.problems.append(
            Diagnostic(
                "CFT344",
                f"{what} is invalid in OLD, so whether it was relaxed cannot be known",
                path,
                help="have a person compare it, or mend it in OLD first",
            )
        )

    def differences(
        self, subject: str, domain: str, old: ResolvedConstraints, new: ResolvedConstraints, judge: Judge
    ) -> list[Change]:
        self.compared.append(Compared(subject, domain, old.digest, new.digest))
        found: list[Change] = []
        for change in constraint_changes(old, new, judge):
            if change is None:
                self.unchanged += 1
            else:
                found.append(change)
        return [
            *found,
            *rule_changes(old, new, judge),
            *wording_changes(old, new, judge),
            *measurement_changes(old, new, judge),
        ]

    def came_or_went(
        self,
        kind: str,
        id: str,
        subject: str,
        domains: tuple[str, ...],
        resolved: Sequence[ResolvedConstraints | None],
        judge: Judge,
        place: Origin,
        came: bool,
    ) -> None:
        """One change for the whole of it. What goes takes its hard constraints with it."""
        for r in resolved:
            if r is not None:
                self.compared.append(
                    Compared(subject, r.domain, *(("", r.digest) if came else (r.digest, "")))
                )
        hard = {
            r.constraint.id: r.constraint
            for each in resolved
            if each
            for r in each.constraints
            if r.constraint.enforcement is Enforcement.HARD
        }
        text = f"{len(hard)} hard constraint{'' if len(hard) == 1 else 's'}: {', '.join(sorted(hard))}"
        status = Status.ADDED if came else Status.REMOVED
        field = FieldChange("constraints", *(("", text) if came else (text, "")), status)
        change = Change(
            kind,
            id,
            status,
            (field,) if hard else (),
            bool(hard) and not came,
            old_at=NOWHERE if came else place,
            new_at=place if came else NOWHERE,
        )
        if change.blocks:
            may = [set(judge.approvers(c.owner)) for c in hard.values()] if domains else []
            everyone = set.intersection(*may) if may else set(judge.at_least(Level.REGULATED_UNIT))
            change = replace(change, approvers=tuple(sorted(everyone)))
        self.note(subject, {change: list(domains)})

    def note(self, subject: str, found: dict[Change, list[str]]) -> None:
        """Add changes, the same one in several domains once, with places as the reader knows them."""
        for change, domains in found.items():
            fields = tuple(
                replace(f, old_at=self.place(OLD, f.old_at), new_at=self.place(NEW, f.new_at))
                for f in change.fields
            )
            self.changes.append(
                replace(
                    change,
                    fields=fields,
                    old_at=self.place(OLD, change.old_at),
                    new_at=self.place(NEW, change.new_at),
                    subject=subject,
                    domains=tuple(domains),
                )
            )

    def place(self, side: int, origin: Origin) -> Origin:
        if not origin.line:
            return origin
        path = Path(origin.path)
        if path.parent == schema_root() / "domains":
            return replace(origin, path=f"{PUBLISHED}{path.stem}")
        return replace(origin, path=self.sides[side].side.shown(origin.path))


def _path(document: Tenant | ConstraintSet | tuple[Recipe, Tenant]) -> str:
    return document[0].path if isinstance(document, tuple) else document.path


def _rank(subject: str) -> int:
    return ("tenant", "recipe", "constraint").index(subject.split()[0])


def _adopted(tenants: Sequence[Tenant]) -> set[str]:
    """The files of every set that a tenant adopts or that such a set extends."""
    layers = [layer.constraint_set for tenant in tenants for layer in tenant.layers]
    return {os.path.realpath(s.path) for own in layers for s in (own, *own.ancestors())}


def _domains(constraint_set: ConstraintSet) -> set[str]:
    """The domains for which a set by itself may say something different."""
    if constraint_set.domain:
        return {constraint_set.domain}
    sets = (constraint_set, *constraint_set.ancestors())
    return {*DOMAINS, *(d for s in sets for c in s.constraints for d in c.scope.domains)}
