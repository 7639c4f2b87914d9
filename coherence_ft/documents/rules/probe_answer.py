"""CFT442: an answer that is not one of the options."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document
from coherence_ft.documents.schemas import either, show

CODE = Code(
    "CFT442",
    "an answer that is not one of the options",
    "The answer is the text of the right option, letter by letter; no model could ever give this one.",
    '"options": ["yes", "no"], "answer": "Yes"',
    '"options": ["yes", "no"], "answer": "yes"',
)


def check(row: Document) -> Iterator[Diagnostic]:
    data = row.data
    if data["kind"] == "question" and data["answer"] not in data["options"]:
        yield row.diagnostic(
            CODE.id,
            "the answer is not one of the options",
            found=show(data["answer"]),
            expected=either(map(show, data["options"])),
        )
