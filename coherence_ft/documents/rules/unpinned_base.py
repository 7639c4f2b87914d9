"""CFT503: a model of the hub that is not pinned to a commit.

The code is in documents/codes/compatibility.py: `models/hub.py` raises it too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document
from coherence_ft.documents.rules.malformed_base import is_hub_id

_COMMIT = r"[0-9a-f]{40}"


def check(document: Document) -> Iterator[Diagnostic]:
    base = document.data["base"]
    revision = base.get("revision")
    if is_hub_id(base["model"]) and (revision is None or not re.fullmatch(_COMMIT, revision)):
        yield document.diagnostic(
            "CFT503",
            "a model of the hub is used only at a commit",
            ("base", "revision" if revision else "model"),
            found=f"the branch or tag {revision}" if revision else "no revision",
            expected="40 hexadecimal digits",
            help="take the commit from the model's page, under Files: a branch or tag can move",
        )
