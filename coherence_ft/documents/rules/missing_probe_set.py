"""CFT430: a probe set that is not there, where no command is named that makes it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.extends import meant
from coherence_ft.documents.reader import Document

CODE = Code(
    "CFT430",
    "a probe set that does not exist",
    "Nothing would be measured, and nothing says how the file is made.",
    "probes: {calibration: probs/calibration.jsonl, …}   # no such file, and no data.prepare",
    "data: {prepare: python examples/build_clinical.py, …}   # or a path that exists",
)


def check(document: Document) -> Iterator[Diagnostic]:
    if "prepare" in document.data["data"]:
        return
    for split in ("calibration", "certification", "test"):
        at = ("probes", split)
        if split not in document.data["probes"] or os.path.isfile(path := document.file(at)):
            continue
        yield document.diagnostic(
            CODE.id,
            f"the probe set of the {split} split does not exist",
            at,
            found=document.data["probes"][split],
            help=meant(path) or "write under `data.prepare` the command that makes it",
        )
