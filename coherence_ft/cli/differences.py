"""Printing a comparison: lines for an officer, a table for a pull request, JSON, diagnostics for CI."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from coherence_ft.cli import printing
from coherence_ft.comparison.changes import Change, FieldChange, Status
from coherence_ft.comparison.compare import Comparison
from coherence_ft.documents.constraint_set import Origin
from coherence_ft.documents.diagnostics import Diagnostic, Severity
from coherence_ft.documents.schemas import either

_WIDTH = max(len(status) for status in Status) + 2
_TAXONOMY = (
    *("authority", "delegation", "sources"),
    *("countersignatures", "revocation", "sigstore trusted root"),
)
_MARKED = re.compile(r"([\\`*_{}\[\]()<>#|~!&@])")


def report(form: str, found: Comparison, names: tuple[str, str]) -> str:
    """A comparison of the sides `names` in one of the formats of `coherence-ft diff`."""
    if form == "text":
        return "\n".join(_text(found, names))
    if form == "markdown":
        return "\n".join(_markdown(found, names))
    if form == "json":
        return printing.dump(_json(found, names))
    return printing.report(form, diagnostics(found))


def relative(found: Comparison) -> Comparison:
    """With every place as seen from the working directory."""

    def here(at: Origin) -> Origin:
        return replace(at, path=printing.relative(at.path))

    changes = (
        replace(
            c,
            old_at=here(c.old_at),
            new_at=here(c.new_at),
            fields=tuple(replace(f, old_at=here(f.old_at), new_at=here(f.new_at)) for f in c.fields),
        )
        for c in found.changes
    )
    return replace(found, changes=tuple(changes), problems=tuple(map(printing.shown, found.problems)))


def diagnostics(found: Comparison) -> list[Diagnostic]:
    """The problems, and what is relaxed: an error where it blocks, else a warning."""
    loosened = [c for c in found.changes if c.blocks or c.status in (Status.RELAXED, Status.WAIVED)]
    return [*found.problems, *map(_diagnostic, loosened)]


def _diagnostic(change: Change) -> Diagnostic:
    code = "CFT342" if change.status is Status.REMOVED else "CFT341"
    if change.kind in _TAXONOMY:
        code = "CFT343"
    at = _annotated(change)
    said = "; ".join(map(_field, change.fields))
    where = f"{change.subject}, {_title(change)}"
    return at.diagnostic(
        code,
        f"{change.status} in {where}: {said}" if said else f"{change.status}: {where}",
        severity=Severity.ERROR if change.blocks else Severity.WARNING,
        help=_needs(change).capitalize() if change.blocks else "",
    )


def _annotated(c: Change) -> Origin:
    """The place of a diagnostic: a file that is there, as far as there is one for CI servers to annotate."""
    places = [at for at in (c.new_at, c.old_at) if at.line]
    for at in places:
        if Path(at.path).is_file():
            return at
    for at in places:
        if Path(path := at.path.partition(":")[2]).is_file():  # it stands in the old revision only
            return Origin(path, 0, 0)
    return places[0]


# --- text -------------------------------------------------------------------------------------------------


def _text(found: Comparison, names: tuple[str, str]) -> Iterator[str]:
    for subject, changes in groupby(found.changes, key=lambda c: c.subject):
        yield printing.printable(subject)
        for c in changes:
            said = f": {'; '.join(map(_field, c.fields))}" if c.fields else ""
            tail = (
                f" — {_needs(c)}"
                if c.blocks
                else " — reported only, gates nothing"
                if _only_reported(c)
                else ""
            )
            yield printing.printable(f"  {c.status:<{_WIDTH}}{_title(c)}{said}   ({_place(c)}){tail}")
        yield ""
    yield _counts(found)
    yield from _verdict(found, names)


def _title(c: Change) -> str:
    name = c.id if c.kind == "constraint" else f"{c.kind} {c.id}" if c.id != c.kind else c.id
    if c.kind == "domain" or not c.domains:
        return name
    domains = ", ".join(c.domains) if len(c.domains) <= 3 else f"{len(c.domains)} domains"
    return f"{domains} / {name}"


def _field(f: FieldChange) -> str:
    if not f.old or not f.new:
        return f.old or f.new
    word, _, rest = f.new.partition(" ")
    after = rest if rest and f.name == "bound" and f.old.startswith(f"{word} ") else f.new
    return f"{f.name.replace('_', ' ')} {f.old} → {after}"


def _place(c: Change) -> str:
    old, new = (f"{at.path}:{at.line}" if at.line else "" for at in (c.old_at, c.new_at))
    if not old or (new and f":{c.old_at.path}".endswith(f":{c.new_at.path}")):
        return new
    return f"{new}, before {old}" if new else f"before {old}"


def _only_reported(c: Change) -> bool:
    return c.status is Status.RELAXED and not c.blocks


def _needs(c: Change) -> str:
    if not c.approvers:
        return (
            "nobody in the old tenant document may approve it" if c.subject[0] != "c" else "needs its owner"
        )
    if c.approvals > 1:
        return f"needs {c.approvals} of {', '.join(c.approvers)}"
    return f"needs {either(c.approvers)}"


def _counts(found: Comparison) -> str:
    counts = Counter(c.status for c in found.changes)
    parts = [f"{counts[s]} {s}" for s in Status if counts[s]]
    same = "1 constraint" if found.unchanged == 1 else f"{found.unchanged} constraints"
    return ", ".join([*parts, f"{same} unchanged"])


def _verdict(found: Comparison, names: tuple[str, str]) -> Iterator[str]:
    if found.problems:
        many = "1 problem" if len(found.problems) == 1 else f"{len(found.problems)} problems"
        yield f"Not compared in full: {many} must be mended first."
    blocking = [c for c in found.changes if c.blocks]
    if blocking:
        many = f"{len(blocking)} changes loosen" if len(blocking) > 1 else "1 change loosens"
        them = "them" if len(blocking) > 1 else "it"
        yield f"{many} what holds in {names[0]}, and no valid waiver covers {them}. {_who(blocking)}"
        if any(c.kind == "constraint" and c.status is Status.RELAXED for c in blocking):
            yield (
                "An exception with an end: keep the constraint and add a waiver to the tenant document "
                "(coherence-ft explain CFT341)."
            )


def _who(blocking: Sequence[Change]) -> str:
    """Who must approve, in one sentence."""
    needed = list(dict.fromkeys(_needs(c) for c in blocking))
    if len(needed) == 1:
        return f"It {needed[0]}." if len(blocking) == 1 else f"Each {needed[0]}."
    return f"They need different approvals: {'; '.join(needed)}."


# --- markdown ---------------------------------------------------------------------------------------------


def _markdown(found: Comparison, names: tuple[str, str]) -> Iterator[str]:
    verdict = "relaxes constraints" if found.blocked else "relaxes nothing without a waiver"
    if found.problems:
        verdict = "cannot be compared in full"
    yield f"### Coherence constraints: this change {verdict}"
    yield ""
    yield f"{_escaped(names[0])} → {_escaped(names[1])}: {_counts(found)}."
    if found.changes:
        yield ""
        yield "| | where | what | before → after | place | approval |"
        yield "|---|---|---|---|---|---|"
    for c in found.changes:
        what = "<br>".join(_escaped(_field(f)) for f in c.fields)
        needs = _escaped(_needs(c)) if c.blocks else ""
        status = f"**{c.status}**" if c.blocks else str(c.status)
        cells = (status, _escaped(c.subject), _escaped(_title(c)), what, _escaped(_place(c)), needs)
        yield f"| {' | '.join(cells)} |"
    for line in _verdict(found, names):
        yield ""
        yield _escaped(line)
    if found.problems:
        yield ""
        yield from (f"- {_escaped(' '.join(str(d).split()))}" for d in found.problems)


def _escaped(text: str) -> str:
    """Text that Markdown and HTML leave as it is, on one line: whoever opens a pull request writes it."""
    return _MARKED.sub(r"\\\1", " ".join(printing.printable(text).split())).replace("<", "&lt;")


# --- JSON -------------------------------------------------------------------------------------------------


def _json(found: Comparison, names: tuple[str, str]) -> dict[str, Any]:
    """Keys sorted at every level, numbers as decimal strings: equal comparisons have equal bytes."""
    digests = found.digests
    counts = {s.value: sum(c.status is s for c in found.changes) for s in Status}
    counts["unchanged"] = found.unchanged
    return {
        "blocked": found.blocked,
        "changes": [_change(c) for c in found.changes],
        "compared": [
            {"domain": c.domain, "new": c.new or None, "old": c.old or None, "subject": c.subject}
            for c in found.compared
        ],
        "counts": dict(sorted(counts.items())),
        "new": {"digest": digests[1], "name": names[1]},
        "old": {"digest": digests[0], "name": names[0]},
        "problems": [{"code": d.code, "message": d.message, "place": d.place} for d in found.problems],
    }


def _change(c: Change) -> dict[str, Any]:
    return {
        "approvals": c.approvals if c.blocks else 0,
        "approvers": list(c.approvers),
        "blocks": c.blocks,
        "domains": list(c.domains),
        "fields": [
            {
                "field": f.name,
                "new": f.new or None,
                "new_at": str(f.new_at) if f.new_at.line else None,
                "old": f.old or None,
                "old_at": str(f.old_at) if f.old_at.line else None,
                "status": f.status.value,
            }
            for f in c.fields
        ],
        "id": c.id,
        "kind": c.kind,
        "new_at": str(c.new_at) if c.new_at.line else None,
        "old_at": str(c.old_at) if c.old_at.line else None,
        "status": c.status.value,
        "subject": c.subject,
    }
