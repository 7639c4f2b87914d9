"""CFT425: training data of a format that is not read."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document

CODE = Code(
    "CFT425",
    "training data of a format that is not read",
    "Rows are read from JSONL or Parquet, in TRL's formats.",
    "train: data.csv",
    "train: data.jsonl",
)


def check(document: Document) -> Iterator[Diagnostic]:
    train = document.data["data"]["train"]
    if not train.startswith("hub:") and not train.endswith((".jsonl", ".parquet")):
        yield document.diagnostic(
            CODE.id,
            "training data of a format that is not read",
            ("data", "train"),
            found=train,
            expected="a .jsonl or .parquet file, or hub:ID@REVISION#SPLIT",
        )
