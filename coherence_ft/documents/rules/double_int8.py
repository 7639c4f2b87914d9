"""CFT422: double quantization of int8."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document

CODE = Code(
    "CFT422",
    "double quantization of int8",
    "Double quantization compresses the constants of NF4 blocks; LLM.int8() has none. It would be ignored.",
    "quantization: {bits: int8, double: true}",
    "quantization: {bits: nf4, double: true}",
)


def check(document: Document) -> Iterator[Diagnostic]:
    quantization = document.data.get("quantization")
    if quantization and quantization["bits"] == "int8" and quantization.get("double"):
        yield document.diagnostic(
            CODE.id,
            "double quantization exists for nf4 only",
            ("quantization", "double"),
            key=True,
            found="bits: int8",
            help="remove `double`, or use nf4",
        )
