"""CFT475: a derivative that a portfolio lists twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document

CODE = Code(
    "CFT475",
    "a derivative is listed twice",
    "A portfolio counts what is in use and says which manifest of it is approved. Of a folder that is listed "
    "twice nobody can say which of two manifests that is; a manifest that is listed twice is counted twice.",
    "derivatives:\n  - {folder: clinical, manifest: 3f…}\n  - {folder: ./clinical, manifest: 9a…}",
    "derivatives:\n  - {folder: clinical, manifest: 9a…}",
)


def check(document: Document) -> Iterator[Diagnostic]:
    folders: dict[Path, int] = {}
    manifests: dict[str, int] = {}
    for n, entry in enumerate(document.data["derivatives"]):
        folder = document.file(("derivatives", n, "folder")).absolute()
        for name, first in (
            ("folder", folders.setdefault(folder, n)),
            ("manifest", manifests.setdefault(entry["manifest"], n)),
        ):
            if first != n:
                yield document.diagnostic(
                    CODE.id,
                    f"the {name} of derivative {n + 1} is that of derivative {first + 1}",
                    ("derivatives", n, name),
                    found=entry[name],
                    help="remove one of the two",
                )
