"""CFT421: quantization without an adapter."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document

CODE = Code(
    "CFT421",
    "quantization without an adapter",
    "Weights in 4 or 8 bits have no gradients; only an adapter on top of them can be trained.",
    "adapter: none\nquantization: {bits: nf4}",
    "adapter: {rank: 8}\nquantization: {bits: nf4}",
)


def check(document: Document) -> Iterator[Diagnostic]:
    if document.data.get("quantization") and document.data.get("adapter") == "none":
        yield document.diagnostic(
            CODE.id,
            "quantized weights cannot be trained",
            ("quantization",),
            key=True,
            found="adapter: none",
            help="train an adapter on the quantized base, or remove `quantization`",
        )
