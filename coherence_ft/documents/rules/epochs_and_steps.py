"""CFT428: both epochs and max_steps."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document

CODE = Code(
    "CFT428",
    "both epochs and max_steps",
    "Steps win over epochs in the trainer, so that the written number of epochs would be untrue.",
    "training: {epochs: 2, max_steps: 100}",
    "training: {max_steps: 100}",
)


def check(document: Document) -> Iterator[Diagnostic]:
    training = document.data.get("training") or {}
    if "epochs" in training and training.get("max_steps") is not None:
        yield document.diagnostic(
            CODE.id,
            "both `epochs` and `max_steps` say how long to train",
            ("training", "max_steps"),
            key=True,
            help="keep one of the two; `--set training.epochs=null` takes the other out",
        )
