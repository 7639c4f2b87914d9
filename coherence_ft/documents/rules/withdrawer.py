"""CFT301, CFT302: a manifest withdrawn by an authority that the tenant does not know, or that signs nothing.

The codes are in documents/codes/authority.py: `authority/` raises them too.
"""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document, get
from coherence_ft.documents.rules.countersigners import signer


def check(document: Document) -> Iterator[Diagnostic]:
    for n, revocation in enumerate(get(document.data, ("revocations",)) or ()):
        at = ("revocations", n, "by")
        yield from signer(document, at, revocation["by"], "withdraw a manifest")
