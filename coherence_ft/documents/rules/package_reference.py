"""CFT552: a package reference that is not pinned or not well formed.

The code is in documents/codes/compatibility.py: `models/packages.py` raises it too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from coherence_ft.documents.base_reference import base_kind
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document

_PACKAGE = r"package:[A-Za-z0-9][\w.-]*==[^/\s]+/\S.*"


def check(document: Document) -> Iterator[Diagnostic]:
    base, at = document.data["base"], ("base", "model")
    model = base["model"]
    if base_kind(model) != "package":
        return
    if not re.fullmatch(_PACKAGE, model):
        yield document.diagnostic(
            "CFT552",
            "a package reference that is not pinned or not well formed",
            at,
            found=model,
            expected="package:NAME==VERSION/path/inside.gguf",
        )
    if "sha256" not in base:
        yield document.diagnostic(
            "CFT552",
            "a base model from a package needs its sha256",
            at,
            help="add base.sha256; an index or mirror may serve another file under the same version",
        )
