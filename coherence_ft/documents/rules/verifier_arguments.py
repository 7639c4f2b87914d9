"""CFT445: wrong arguments for a verifier."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document, JsonPath, dotted
from coherence_ft.documents.verifiers import VERIFIERS

CODE = Code(
    "CFT445",
    "wrong arguments for a verifier",
    "A check without its argument would hold for every reply.",
    '{"verifier": "max_words", "text": "40"}',
    '{"verifier": "max_words", "words": 40}',
)


def check(test: dict[str, Any], row: Document, at: JsonPath) -> Iterator[Diagnostic]:
    name, known = test["verifier"], VERIFIERS[test["verifier"]]
    given = test.keys() - {"verifier"}
    needed = known
    if name == "named_constraint" and given & {"forbidden", "required"}:
        needed = frozenset({"name"})
    if given - known or needed - given:
        yield row.diagnostic(
            CODE.id,
            f"`{dotted(at)}`: wrong arguments for the verifier {name}",
            found=", ".join(sorted(given)) or "none",
            expected="name, and forbidden or required"
            if name == "named_constraint"
            else ", ".join(sorted(known)) or "none",
        )
