"""`coherence-ft lineage DIR`: where a derivative comes from, drawn and verified to the root."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coherence_ft.cli.printing import as_json, print_diagnostics
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.manifest.files import MANIFEST, open_folder, printable
from coherence_ft.manifest.lineage import Family, Member, family
from coherence_ft.manifest.reading import MAX_BYTES
from coherence_ft.manifest.subjects import compare
from coherence_ft.manifest.verify import read_statement, trusted_tenant, verify

if TYPE_CHECKING:
    from rich.tree import Tree

_DEEPEST = 8  # levels of folders that are searched below --among
BROKEN, INHERITED = "BROKEN", "broken by an ancestor"
_SHORT = 12  # digits of a digest that are drawn


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A family with what was found about each member. `files`: where its files were verified, by digest.

    `broken`: digests of members with a finding of their own.
    """

    family: Family
    files: Mapping[str, Path]
    broken: frozenset[str]

    def state(self, digest: str) -> str:
        if digest in self.broken:
            return BROKEN
        if self.broken & set(self.family.ancestors(digest)):
            return INHERITED
        if digest in self.files:
            return "files verified"
        return "manifest only" if self.family.members[digest].predicate is not None else "not carried"


@click.command(name="lineage")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--tenant", type=click.Path(path_type=Path), help="Tenant document; by default the trusted one."
)
@click.option(
    "--among",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where ancestors' folders may lie; their files are verified too. May be repeated.",
)
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json", "dot", "mermaid"]),
    default="text",
    show_default=True,
)
def command(folder: Path, tenant: Path | None, among: tuple[Path, ...], output: str) -> None:
    """Draw what the derivative in DIR was made from, and verify it to the root.

    An ancestor is known by the signed manifest that DIR carries. Exits with 1 where DIR or any ancestor is
    broken or revoked.
    """
    trusted = trusted_tenant(tenant, checked=folder)
    today = datetime.now(UTC).date()
    found: list[Diagnostic] = []
    with open_folder(folder) as opened:
        content, statement = read_statement(opened)
        digest = hashlib.sha256(content).hexdigest()
        kin = family(opened, digest, statement["predicate"], trusted, today)
    broken = {d for d, member in kin.members.items() if member.problems}
    files: dict[str, Path] = {}
    try:
        verify(folder, trusted, today=today)
        files[digest] = folder
    except CoherenceError as error:
        found += error.diagnostics
        broken.add(digest)
    for ancestor, place in _folders(among).items():
        if ancestor in kin.members and ancestor != digest:
            problems = _files(place)
            found += problems
            if problems:
                broken.add(ancestor)
            else:
                files[ancestor] = place
    drawn = _Drawn(kin, files, frozenset(broken))
    if output == "json":
        facts = {"verified": not found, "digest": digest, "members": list(map(_facts(drawn), kin.members))}
        click.echo(json.dumps(facts | json.loads(as_json(found)), indent=2))
    elif output == "text":
        _print(drawn)
        print_diagnostics(found)
    else:
        click.echo("\n".join(_dot(drawn) if output == "dot" else _mermaid(drawn)))
        print_diagnostics(found)
    if found:
        click.get_current_context().exit(1)


def _folders(among: Sequence[Path]) -> dict[str, Path]:
    """Folders with a manifest, by its sha256. No link is followed."""
    found: dict[str, Path] = {}
    for root in among:
        for path, folders, names in os.walk(root):
            if len(Path(path).relative_to(root).parts) >= _DEEPEST:
                folders.clear()
            if MANIFEST not in names:
                continue
            try:
                with open_folder(Path(path)) as opened:
                    content = opened.read(MANIFEST, MAX_BYTES)
            except (CoherenceError, KeyError, OSError):
                continue  # not one that can be verified, so none that is found
            found.setdefault(hashlib.sha256(content).hexdigest(), Path(path))
    return found


def _files(folder: Path) -> list[Diagnostic]:
    """The files of an ancestor, whose manifest has the digest by which it is named."""
    try:
        with open_folder(folder) as opened:
            _, statement = read_statement(opened)
            return compare(opened, statement["subject"])[1]
    except CoherenceError as error:
        return list(error.diagnostics)


def _facts(drawn: _Drawn) -> Any:
    def facts(digest: str) -> dict[str, Any]:
        member = drawn.family.members[digest]
        place = drawn.files.get(digest)
        p = member.predicate
        stated = {} if p is None else {name: p[name] for name in ("name", "stage", "createdAt", "domain")}
        return stated | {
            "digest": digest,
            "state": drawn.state(digest),
            "folder": None if place is None else str(place),
            "relation": None if p is None else p["lineage"].get("relation"),
            "parents": list(member.parents),
            "base": None if p is None else {"model": p["base"]["model"], "digest": p["base"]["digest"]},
            "signers": list(member.signers) or [p["evaluation"]["evaluator"]] if p else [],
            "problems": [problem.code for problem in member.problems],
        }

    return facts


def _print(drawn: _Drawn) -> None:
    from rich.text import Text
    from rich.tree import Tree

    from coherence_ft.cli.verdicts import console

    shown: set[str] = set()

    def label(digest: str) -> Text:
        text = Text(_label(drawn, digest, " · "))
        state = drawn.state(digest)
        style = {BROKEN: "bold red", INHERITED: "red", "files verified": "green"}.get(state, "yellow")
        return text.append(f" · {state}", style=style)

    def grow(tree: Tree, digest: str) -> None:
        if digest not in drawn.family.members:
            return
        member = drawn.family.members[digest]
        shown.add(digest)
        for parent in member.parents:
            again = parent in shown
            branch = tree.add(label(parent).append(" · drawn above" if again else ""))
            if not again:
                grow(branch, parent)
        if not member.parents and member.predicate is not None:
            tree.add(Text(f"base {_base(member)}", style="dim"))

    root = Tree(label(drawn.family.child))
    grow(root, drawn.family.child)
    console().print(root)


def _label(drawn: _Drawn, digest: str, separator: str) -> str:
    member = drawn.family.members.get(digest)
    if member is None or member.predicate is None:
        return f"manifest {digest[:_SHORT]}"
    p = member.predicate
    relation = p["lineage"].get("relation")
    parts = (
        p["name"],
        p["stage"],
        relation if member.parents else None,
        p["createdAt"][:10],
        digest[:_SHORT],
    )
    return separator.join(printable(part) for part in parts if part)


def _base(member: Member) -> str:
    base = (member.predicate or {})["base"]
    return printable(f"{base['model']}, sha256 {base['digest'][:_SHORT]}")


def _edges(drawn: _Drawn) -> Iterator[tuple[str, str]]:
    """Child and parent, both by digest."""
    for digest, member in drawn.family.members.items():
        yield from ((digest, parent) for parent in member.parents)


def _bases(drawn: _Drawn) -> dict[str, str]:
    """The label of a root's base, by the root's digest."""
    return {
        digest: _base(member)
        for digest, member in drawn.family.members.items()
        if member.predicate is not None and not member.parents
    }


def _dot(drawn: _Drawn) -> Iterator[str]:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    yield "digraph lineage {"
    yield "  rankdir=BT; node [shape=box];"
    for digest in drawn.family.members:
        state = drawn.state(digest)
        colour = ', color="red"' if state in (BROKEN, INHERITED) else ""
        label = quoted(f"{_label(drawn, digest, ', ')}, {state}")
        yield f"  {quoted(digest)} [label={label}{colour}];"
    bases = _bases(drawn)
    for label in sorted(set(bases.values())):
        yield f"  {quoted(label)} [shape=ellipse];"
    for child, parent in _edges(drawn):
        yield f"  {quoted(child)} -> {quoted(parent)};"
    for root, label in bases.items():
        yield f"  {quoted(root)} -> {quoted(label)};"
    yield "}"


def _mermaid(drawn: _Drawn) -> Iterator[str]:
    def quoted(text: str) -> str:
        return '"' + text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;") + '"'

    yield "flowchart BT"
    for digest in drawn.family.members:
        state = drawn.state(digest)
        label = quoted(f"{_label(drawn, digest, ', ')}, {state}")
        yield f"  m{digest[:16]}[{label}]"
        if state in (BROKEN, INHERITED):
            yield f"  style m{digest[:16]} stroke:#d00,stroke-width:3px"
    bases = _bases(drawn)
    names = {label: f"b{n}" for n, label in enumerate(sorted(set(bases.values())))}
    for label, name in names.items():
        yield f"  {name}([{quoted(label)}])"
    for child, parent in _edges(drawn):
        yield f"  m{child[:16]} --> m{parent[:16]}"
    for root, label in bases.items():
        yield f"  m{root[:16]} --> {names[label]}"
