"""CFT424: data of the hub without a commit."""

from __future__ import annotations

import re
from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document

CODE = Code(
    "CFT424",
    "data of the hub without a commit",
    "A branch can move between two runs, and then the manifest's data digest names rows that nobody "
    "can find.",
    "train: hub:owner/data#train",
    "train: hub:owner/data@5f0e2a9b…#train",
)
_HUB_DATA = r"hub:[\w.-]+(/[\w.-]+)?@[0-9a-f]{40}#[\w.:\[\]%-]+"


def check(document: Document) -> Iterator[Diagnostic]:
    train = document.data["data"]["train"]
    if train.startswith("hub:") and not re.fullmatch(_HUB_DATA, train):
        yield document.diagnostic(
            CODE.id,
            "data of the hub is used only at a commit",
            ("data", "train"),
            found=train,
            expected="hub:ID@REVISION#SPLIT, the revision as 40 hexadecimal digits",
        )
