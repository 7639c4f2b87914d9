"""From one version of the document format to the next, on the tree, so that comments survive.

A translation means the same as what it replaces, or it is refused: what the newer version cannot say (CFT220)
and what a person has to decide (CFT221) is named with its place, and the file stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from coherence_ft.documents.diagnostics import CoherenceError, refusal
from coherence_ft.documents.reader import parse_yaml
from coherence_ft.documents.schemas import API_FAMILY, VERSIONS, kind_of, problems
from coherence_ft.formatting.draft import Draft
from coherence_ft.formatting.format import check_rewritten, order_keys, print_tree
from coherence_ft.formatting.tree import comments, plain, read_tree
from coherence_ft.formatting.version_0 import FROM_VERSION_0

_MODELINE = re.compile(r"\A((?:\s*(?:#.*)?\n)*?# yaml-language-server: \$schema=\S*/)(v\d+)/")


@dataclass(frozen=True, slots=True)
class Migrated:
    """A document in the newest version, and what was changed, each with the lines where."""

    text: str
    notes: tuple[str, ...] = ()


def migrate_text(text: str, path: str) -> Migrated:
    """Bring a document to the newest version; one that has it is returned as it is.

    Raises `CoherenceError` for what is no document of its version (CFT1xx, 2xx) or cannot be translated.
    """
    document = parse_yaml(text, path)
    data = document.data if isinstance(document.data, dict) else {}
    version = str(data.get("apiVersion")).removeprefix(API_FAMILY)
    if version not in VERSIONS[:-1] or data.get("kind") not in FROM_VERSION_0:
        kind_of(document)
        return Migrated(text)
    notes: list[str] = []
    for migration in MIGRATIONS[VERSIONS.index(version) :]:
        text, more = _apply(migration, text, path, str(data["kind"]))
        notes += more
    return Migrated(text, tuple(notes))


def _apply(migration: Migration, text: str, path: str, kind: str) -> tuple[str, list[str]]:
    document = parse_yaml(text, path)
    if found := problems(kind, document, version=migration.before):
        raise CoherenceError(found)
    text = _MODELINE.sub(rf"\g<1>{migration.after}/", text)
    draft = Draft(path, read_tree(text))
    migration.translate[kind](draft)
    if draft.problems:
        raise CoherenceError(sorted(draft.problems, key=lambda d: (d.line, d.column)))
    order_keys(draft.root, kind)
    after = print_tree(draft.root)
    check_rewritten(path, after, plain(draft.root), comments(text))
    if wrong := problems(kind, parse_yaml(after, path), version=migration.after):
        raise refusal(
            "CFT133",
            f"the translation would not be valid, so the file is left as it is: {wrong[0].message}",
            path=path,
            found=wrong[0].found,
            help="this is a defect of ours; please report the file",
        )
    return after, draft.printed_notes()


@dataclass(frozen=True, slots=True)
class Migration:
    """`translate` rewrites the root of a draft in place, by kind."""

    before: str
    after: str
    translate: Mapping[str, Callable[[Draft], None]]


MIGRATIONS = (Migration("v0", "v1", FROM_VERSION_0),)  # oldest first, one a version
