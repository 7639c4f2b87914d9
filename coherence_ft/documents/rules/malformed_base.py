"""CFT501: a base model that is neither a hub id, a package, a derivative nor a path.

The code is in documents/codes/compatibility.py: `models/` raises it too, for a model that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from coherence_ft.documents.base_reference import base_kind
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document

_HUB_ID = r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?"


def is_hub_id(model: str) -> bool:
    return base_kind(model) == "hub" and re.fullmatch(_HUB_ID, model) is not None


def check(document: Document) -> Iterator[Diagnostic]:
    model = document.data["base"]["model"]
    if base_kind(model) == "hub" and not is_hub_id(model):
        yield document.diagnostic(
            "CFT501",
            "neither a hub id, a package, a derivative nor a path",
            ("base", "model"),
            found=model,
            help="a path starts with ./, ../, ~ or /",
        )
