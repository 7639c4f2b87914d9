"""CFT411: a chat template that does not exist.

The code is in documents/codes/constraints.py: it is that of every file a document names.
"""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.extends import require_file
from coherence_ft.documents.reader import Document


def check(document: Document) -> Iterator[Diagnostic]:
    at = ("base", "chat_template")
    if "chat_template" in document.data["base"]:
        try:
            require_file(document, at, document.file(at))
        except CoherenceError as error:
            yield from error.diagnostics
