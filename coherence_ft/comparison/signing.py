"""Who can sign, and who must: keys, certificates, identities, countersignatures and revocations."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypeVar

from coherence_ft.comparison.changes import Change, FieldChange, Status
from coherence_ft.documents.canonical import file_digest
from coherence_ft.documents.constraint_set import Origin
from coherence_ft.documents.tenant import Authority, Countersigning, Tenant

Make = Callable[[str, str, str, Status], FieldChange]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _File:
    """A file that a tenant document names; `digest` is empty where it is not there."""

    name: str
    digest: str

    @classmethod
    def of(cls, tenant: Tenant, path: Path) -> _File:
        folder = Path(tenant.path).absolute().parent
        return cls(os.path.relpath(path, folder), file_digest(path) if path.is_file() else "")

    def was(self, before: _File, same_source: bool) -> bool:
        """Whether `before` names the same, by content: a new key under the old name is a new signer.

        Keys are often made on each machine and not committed. Where a revision is compared with files on
        disk (`same_source` false), a listed key that only one side has is no change.
        """
        if self.digest and self.digest == before.digest:
            return True
        return self.name == before.name and not (self.digest and (before.digest or same_source))

    def __str__(self) -> str:
        return f"{self.name} (sha256 {self.digest[:12]})" if self.digest else self.name


@dataclass(frozen=True, slots=True)
class _Key:
    file: _File
    first: date
    last: date
    revoked: bool

    def __str__(self) -> str:
        first = f" from {self.first}" if self.first > date.min else ""
        last = f" until {self.last}" if self.last < date.max else ""
        return f"{self.file}{first}{last}{' revoked' if self.revoked else ''}"


@dataclass(frozen=True, slots=True)
class _Certificate:
    root: _File
    subject: str | None
    san: str | None

    def __str__(self) -> str:
        return f"{' and '.join(filter(None, (self.subject, self.san)))} under {self.root}"


def signing_fields(
    old: Tenant,
    before: Authority | None,
    new: Tenant,
    after: Authority | None,
    same_source: bool,
    change: Make,
) -> Iterator[FieldChange]:
    """By what an authority is known that it was not known by before, or no longer is."""

    def covers_key(wide: _Key, narrow: _Key) -> bool:
        within = wide.revoked or (wide.first <= narrow.first and narrow.last <= wide.last)
        return within and narrow.file.was(wide.file, same_source)

    def covers_certificate(wide: _Certificate, narrow: _Certificate) -> bool:
        names = (wide.subject in (None, narrow.subject)) and (wide.san in (None, narrow.san))
        return names and narrow.root.was(wide.root, same_source)

    had, has = _keys(old, before), _keys(new, after)
    # A revoked key takes from others too what it is listed for: its entry is held against the new ones.
    gained = _uncovered(_counting(has), _counting(had), covers_key)
    gained |= _uncovered(_revoked(had), _revoked(has), covers_key)
    lost = _uncovered(_counting(had), _counting(has), covers_key)
    lost |= _uncovered(_revoked(has), _revoked(had), covers_key)
    yield from _field("public_keys", had, has, gained, lost, change)

    roots, now = _certificates(old, before), _certificates(new, after)
    gained, lost = (_uncovered(a, b, covers_certificate) for a, b in ((now, roots), (roots, now)))
    yield from _field("certificates", roots, now, gained, lost, change)

    known, named = _identities(before), _identities(after)
    yield from _field(
        "identities", known, named, bool({*named} - {*known}), bool({*known} - {*named}), change
    )


def demanded(old: Tenant, new: Tenant, same_source: bool) -> Iterator[Change]:
    """Countersignatures and revocations that are gone or new, and another root of trust for identities."""
    for rule in old.countersignatures:
        if not any(_implies(other, rule) for other in new.countersignatures):
            yield _lost(rule, new.countersignatures)
    for rule in new.countersignatures:
        if not any(_implies(other, rule) for other in old.countersignatures):
            yield Change("countersignatures", _said(rule), Status.ADDED, new_at=rule.origin)
    had, has = ({r.manifest: r for r in tenant.revocations} for tenant in (old, new))
    for digest in sorted(had.keys() ^ has.keys()):
        if digest in had:
            yield Change("revocation", digest[:12], Status.REMOVED, blocks=True, old_at=had[digest].origin)
        else:
            yield Change("revocation", digest[:12], Status.ADDED, new_at=has[digest].origin)
    before, after = (
        None if t.sigstore_trusted_root is None else _File.of(t, t.sigstore_trusted_root) for t in (old, new)
    )
    if before != after and not (before and after and after.was(before, same_source)):
        field = FieldChange("file", str(before or "none"), str(after or "none"), Status.RELAXED)
        places = Origin(old.path, 1, 1), Origin(new.path, 1, 1)
        name = "sigstore trusted root"
        yield Change(name, name, Status.RELAXED, (field,), True, (), 1, *places)


def _lost(rule: Countersigning, rules: Iterable[Countersigning]) -> Change:
    """What became of a rule that nothing stands for any more."""
    heir = next((other for other in rules if {*other.authorities} & {*rule.authorities}), None)
    if heir is None:
        return Change("countersignatures", _said(rule), Status.REMOVED, blocks=True, old_at=rule.origin)
    field = FieldChange("demand", _said(rule), _said(heir), Status.RELAXED, rule.origin, heir.origin)
    places = rule.origin, heir.origin
    return Change("countersignatures", _said(rule), Status.RELAXED, (field,), True, (), 1, *places)


def _said(rule: Countersigning) -> str:
    where = f" in {', '.join(rule.domains)}" if rule.domains else ""
    return f"{rule.at_least} of {', '.join(rule.authorities)}{where}"


def _implies(strict: Countersigning, rule: Countersigning) -> bool:
    """Whether whoever meets `strict` has met `rule` too."""
    elsewhere = len({*strict.authorities} - {*rule.authorities})
    where = not strict.domains or (bool(rule.domains) and {*strict.domains} >= {*rule.domains})
    return where and strict.at_least - elsewhere >= rule.at_least


def _uncovered(narrow: Iterable[_T], wide: Iterable[_T], covers: Callable[[_T, _T], bool]) -> bool:
    wide = list(wide)
    return any(not any(covers(w, n) for w in wide) for n in narrow)


def _field(
    name: str, had: Iterable[object], has: Iterable[object], gained: bool, lost: bool, change: Make
) -> Iterator[FieldChange]:
    if gained or lost:
        was, now = (", ".join(sorted(map(str, each))) or "none" for each in (had, has))
        yield change(name, was, now, Status.RELAXED if gained else Status.TIGHTENED)


def _keys(tenant: Tenant, authority: Authority | None) -> list[_Key]:
    return [
        _Key(
            _File.of(tenant, key.path),
            key.valid_from or date.min,
            key.valid_until or date.max,
            key.revoked is not None,
        )
        for key in (authority.public_keys if authority else ())
    ]


def _counting(keys: Iterable[_Key]) -> list[_Key]:
    return [key for key in keys if not key.revoked]


def _revoked(keys: Iterable[_Key]) -> list[_Key]:
    return [key for key in keys if key.revoked]


def _certificates(tenant: Tenant, authority: Authority | None) -> list[_Certificate]:
    return [
        _Certificate(_File.of(tenant, each.root), each.subject, each.san)
        for each in (authority.certificates if authority else ())
    ]


def _identities(authority: Authority | None) -> list[str]:
    return [f"{each.identity} of {each.issuer}" for each in (authority.identities if authority else ())]
