"""`extends`: a constraint set takes over others, each at exactly one content, and may only tighten them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from coherence_ft.documents.canonical import file_digest
from coherence_ft.documents.constraint_set import ConstraintSet
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.limits import limits
from coherence_ft.documents.measurement import StatedMeasurement, measured_otherwise
from coherence_ft.documents.reader import Document, JsonPath, get
from coherence_ft.documents.schemas import either, schema_root, suggestion
from coherence_ft.documents.strictness import conflicts

PUBLISHED = "published:"
"""Prefix of a constraint set that ships with this package."""

_BACKSLASH = "\\"

PACKAGE = "package:"
"""Prefix of a constraint set inside an installed Python package: `package:MODULE/path/inside.yaml`."""


@dataclass(frozen=True)
class Extending:
    """What led to a set: the files whose `extends` did (one that comes back is a cycle), and what was read on
    the way, None for a wrong set: sets that share parents would else be read again without end.
    """

    chain: tuple[Path, ...] = ()
    known: dict[Path, ConstraintSet | None] = field(default_factory=dict)


def read_extensions(
    own: ConstraintSet,
    document: Document,
    read: Callable[..., ConstraintSet],
    extended_by: Extending,
) -> tuple[ConstraintSet, list[Diagnostic]]:
    """`own` with the sets that its document extends, and what is wrong with them or with how `own` states
    them again.
    """
    parents: list[ConstraintSet] = []
    found: list[Diagnostic] = []
    chain = (*extended_by.chain, Path(os.path.realpath(document.path)))
    known = extended_by.known
    for index, entry in enumerate(document.data["extends"]):
        at: JsonPath = ("extends", index)
        try:
            path = locate(document, (*at, "set"), entry["set"])
            if Path(os.path.realpath(path)) in chain:
                cycle = " extends ".join(p.name for p in (*chain, path))
                raise CoherenceError(
                    document.diagnostic(
                        "CFT415",
                        "a set that extends itself",
                        (*at, "set"),
                        found=cycle,
                        help="remove one of these entries",
                    )
                )
            if len(chain) > limits().depth:
                message = "too many sets extend each other"
                raise CoherenceError(limits().exceeded("depth", message, document.path, *document.place(at)))
            _hold(document, at, path, entry["sha256"])
            if path not in known:
                known[path] = None
                known[path] = read(path, _extended_by=Extending(chain, known))
            if (parent := known[path]) is None:
                continue  # what is wrong with it has been said
        except CoherenceError as error:
            found += error.diagnostics
            continue
        if parent.domain not in (None, own.domain):
            found.append(
                document.diagnostic(
                    "CFT413",
                    f"`{own.id}` extends a set for another domain",
                    (*at, "set"),
                    found=parent.domain or "",
                    expected=f"a set for {own.domain}" if own.domain else "a set that names no domain",
                    help=f"write `domain: {parent.domain}` into this set, or extend another one",
                )
            )
        parents.append(parent)
    extended = replace(own, extends=tuple(parents))
    above = [(s.id, c) for s in extended.ancestors() for c in s.constraints]
    for position, (name, constraint) in enumerate(above):  # parents that measure different things
        same = [(n, c) for n, c in above[:position] if c.id == constraint.id]
        found += conflicts((name, constraint), (), same)
    for constraint in own.constraints:
        found += conflicts((own.id, constraint), [(n, c) for n, c in above if c.id == constraint.id])
    sets = (own, *extended.ancestors())
    found += measured_otherwise([StatedMeasurement(s.measurement, int(s is own), s.id) for s in sets])
    return extended, found


def locate(document: Document, at: JsonPath, name: str) -> Path:
    """The file of a constraint set that a document names. Raises CFT410, CFT411 or CFT416."""
    if name.startswith(PUBLISHED):
        return _published(document, at, name)
    if name.startswith(PACKAGE):
        return _resource(document, at, name)
    path = document.file(at, name)
    require_file(document, at, path)
    return path


def require_file(document: Document, at: JsonPath, path: Path) -> None:
    """Raise CFT411 at the place that names it unless the file exists."""
    if os.path.isfile(path):  # Path.is_file raises for a name that is too long
        return
    named = get(document.data, at)
    raise CoherenceError(
        document.diagnostic(
            "CFT411",
            "the document names a file that does not exist",
            at,
            found=str(named),
            help=f"folders are separated by /: write `{str(named).replace(_BACKSLASH, '/')}`"
            if _BACKSLASH in str(named)
            else meant(path) or "paths are relative to the document that names them",
        )
    )


def meant(path: Path) -> str:
    """`did you mean …?` with a file that lies where a missing one was sought; empty where none is near."""
    try:
        return suggestion(path.name, os.listdir(path.parent))
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return ""


def _published(document: Document, at: JsonPath, name: str) -> Path:
    folder = schema_root() / "domains"
    published = sorted(p.stem for p in folder.glob("*.yaml"))
    wanted = name.removeprefix(PUBLISHED)
    if wanted not in published:
        raise CoherenceError(
            document.diagnostic(
                "CFT410",
                "no constraint set of this name is published",
                at,
                found=name,
                expected=either(PUBLISHED + p for p in published),
                help=suggestion(wanted, published),
            )
        )
    return folder / f"{wanted}.yaml"


def _resource(document: Document, at: JsonPath, name: str) -> Path:
    module, _, inside = name.removeprefix(PACKAGE).partition("/")
    # find_spec of a top-level name imports nothing: a package's code never runs because a document names it.
    try:
        spec = importlib.util.find_spec(module) if module.isidentifier() else None
    except ValueError:  # `__main__` may have none
        spec = None
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(os.path.normpath(Path(folders[0], inside))) if folders and inside else None
    if path is None or not path.is_relative_to(folders[0]) or not os.path.isfile(path):
        raise CoherenceError(
            document.diagnostic(
                "CFT416",
                "no installed Python package holds this constraint set",
                at,
                found=name,
                expected=f"{PACKAGE}MODULE/path/inside.yaml",
                help=f"install the package that brings `{module}`, or check the path inside it"
                if path is None
                else f"`{module}` is installed, but has no file {inside}",
            )
        )
    return path


def _hold(document: Document, at: JsonPath, path: Path, pinned: str) -> None:
    try:
        actual = file_digest(path)
    except OSError as error:
        raise CoherenceError(
            document.diagnostic(
                "CFT101", f"the file cannot be read: {error.strerror or error}", (*at, "set"), found=str(path)
            )
        ) from error
    if actual != pinned:
        raise CoherenceError(
            document.diagnostic(
                "CFT414",
                "the extended set is not the one that was pinned",
                (*at, "sha256"),
                found=f"sha256 {actual}",
                help=f"read what changed in {path.name}; if it is acceptable, pin it: sha256: {actual}",
            )
        )
