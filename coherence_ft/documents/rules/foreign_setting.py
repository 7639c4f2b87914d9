"""CFT427: a setting that the regime does not have."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document

CODE = Code(
    "CFT427",
    "a setting that the regime does not have",
    "It would be ignored, and the recipe would say something about the run that is not so.",
    "training: {regime: dpo, packing: true}",
    "training: {regime: dpo, beta: 0.1}",
)
_DPO_ONLY, _SFT_ONLY = ("beta",), ("packing", "assistant_only_loss")


def check(document: Document) -> Iterator[Diagnostic]:
    training = document.data.get("training") or {}
    regime = training.get("regime", "sft")
    foreign = _SFT_ONLY if regime == "dpo" else _DPO_ONLY
    for name in foreign:
        if training.get(name):
            yield document.diagnostic(
                CODE.id,
                f"the regime {regime} has no `{name}`",
                ("training", name),
                key=True,
                help="remove it; it would be ignored",
            )
