"""CFT446: a regular expression that cannot be compiled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document, JsonPath, dotted
from coherence_ft.documents.schemas import show
from coherence_ft.documents.verifiers import VERIFIERS

CODE = Code(
    "CFT446",
    "a regular expression that cannot be compiled",
    "The check could not be made when the model has replied.",
    '{"verifier": "regex", "pattern": "("}',
    '{"verifier": "regex", "pattern": "\\\\("}',
)


def check(test: dict[str, Any], row: Document, at: JsonPath) -> Iterator[Diagnostic]:
    if "pattern" in test and "pattern" in VERIFIERS[test["verifier"]]:
        try:
            re.compile(test["pattern"])
        except (re.error, OverflowError, RecursionError) as error:
            yield row.diagnostic(
                CODE.id, f"`{dotted(at)}`: not a regular expression: {error}", found=show(test["pattern"])
            )
