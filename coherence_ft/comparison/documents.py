"""The documents of one side of a comparison, and what is wrong with them."""

from __future__ import annotations

import os.path
from dataclasses import dataclass, replace
from pathlib import Path

from coherence_ft.comparison.revisions import Side
from coherence_ft.documents.constraint_reader import read_constraint_set
from coherence_ft.documents.constraint_set import ConstraintSet
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.files import SCHEMA_SUFFIXES, files_of
from coherence_ft.documents.reader import Document, get, read_yaml
from coherence_ft.documents.recipe import Recipe, read_recipe_and_tenant
from coherence_ft.documents.schemas import API_FAMILY, kind_of
from coherence_ft.documents.tenant import Tenant, read_tenant

_SPLITS = ("calibration", "certification", "test")
_HEAD = 2**16


@dataclass(frozen=True)
class Broken:
    """A document that cannot be read. `kind` and `id` are what it says of itself, if it can be parsed."""

    kind: str
    id: str
    path: str


@dataclass(frozen=True)
class Documents:
    """Everything that one side holds, and the diagnostics of what it holds in vain."""

    side: Side
    tenants: tuple[Tenant, ...]
    recipes: tuple[tuple[Recipe, Tenant], ...]
    sets: tuple[ConstraintSet, ...]
    broken: tuple[Broken, ...]
    problems: tuple[Diagnostic, ...]

    def may_hold(self, kind: str, id: str, path: str) -> bool:
        """Whether a document that cannot be read may be this one."""
        return any((b.kind, b.id) == (kind, id) or b.path == path for b in self.broken)


def collect(side: Side) -> Documents:
    """Every document of ours below what the side is given, and the tenants of its recipes.

    Other people's YAML is passed over.
    """
    tenants: list[Tenant] = []
    recipes: list[tuple[Recipe, Tenant]] = []
    sets: list[ConstraintSet] = []
    broken: list[Broken] = []
    problems: list[Diagnostic] = []
    files, _ = files_of(side.given)
    for path in files:
        document = None
        try:
            document = read_yaml(path)
            if path not in side.given and not _is_ours(document):
                continue
            match kind_of(document):
                case "tenant":
                    tenants.append(read_tenant(path, document))
                case "constraint-set":
                    sets.append(read_constraint_set(path, document))
                case "recipe":
                    named = [("base", "chat_template"), *(("probes", split) for split in _SPLITS)]
                    side.fetch(document.file(at) for at in named if isinstance(get(document.data, at), str))
                    recipes.append(read_recipe_and_tenant(path, document=document))
        except CoherenceError as error:
            if document is None and path not in side.given and not _may_be_ours(path):
                continue
            data = document.data if document and isinstance(document.data, dict) else {}
            name = data.get("name" if data.get("kind") == "recipe" else "id")
            broken.append(Broken(str(data.get("kind")), str(name), side.inside(str(path))))
            problems += [told(side, d) for d in error.diagnostics]
    # Whoever narrows a comparison to recipes still wants to know who may decide about them.
    tenants = list({os.path.realpath(t.path): t for t in (*tenants, *(t for _, t in recipes))}.values())
    for tenant in tenants:
        side.fetch(key.path for authority in tenant.authorities for key in authority.public_keys)
        side.fetch(each.root for authority in tenant.authorities for each in authority.certificates)
        side.fetch([tenant.sigstore_trusted_root] if tenant.sigstore_trusted_root else ())
    return Documents(side, tuple(tenants), tuple(recipes), tuple(sets), tuple(broken), tuple(problems))


def told(side: Side, diagnostic: Diagnostic) -> Diagnostic:
    """With paths as the reader knows them: a revision's temporary folder is nobody's business."""
    if not side.revision:
        return diagnostic
    texts = {
        name: getattr(diagnostic, name).replace(f"{side.root}/", "")
        for name in ("message", "found", "expected", "help")
    }
    return replace(diagnostic, path=side.shown(diagnostic.path), **texts)


def _is_ours(document: Document) -> bool:
    data = document.data
    if document.path.endswith(SCHEMA_SUFFIXES) or not isinstance(data, dict):
        return False
    return str(data.get("apiVersion")).startswith(API_FAMILY)


def _may_be_ours(path: Path) -> bool:
    """Whether a file that cannot be read names our format anywhere near its beginning."""
    try:
        with path.open("rb") as file:
            return API_FAMILY.encode() in file.read(_HEAD)
    except OSError:
        return True
