"""CFT423: a revision for a base that is not of the hub."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.base_reference import base_kind
from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document

CODE = Code(
    "CFT423",
    "a revision for a base that is not of the hub",
    "Folders, files and packages are pinned by content; a revision beside them would be recorded and"
    " checked by nobody.",
    "base: {model: ./model, revision: main}",
    "base: {model: ./model, sha256: …}",
)


def check(document: Document) -> Iterator[Diagnostic]:
    base = document.data["base"]
    if base_kind(base["model"]) != "hub" and base.get("revision") is not None:
        yield document.diagnostic(
            CODE.id,
            "`revision` belongs to models of the hub",
            ("base", "revision"),
            key=True,
            help="remove it; pin the content with sha256",
        )
