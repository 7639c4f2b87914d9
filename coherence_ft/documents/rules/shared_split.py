"""CFT454: one file for two splits would certify on what the calibrator was fitted to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document

CODE = Code(
    "CFT454",
    "one split both fits and certifies",
    "A calibrator or a threshold looks better on the answers that chose it. On 400 answers a threshold "
    "chosen and judged on the same ones broke its promised risk in about half of all trials.",
    "probes: {calibration: probes.jsonl, certification: probes.jsonl}",
    "probes: {calibration: calibration.jsonl, certification: certification.jsonl}",
)


def check(document: Document) -> Iterator[Diagnostic]:
    files: dict[Path, str] = {}
    for split in ("calibration", "certification", "test"):
        if split not in document.data["probes"]:
            continue
        path = document.file(("probes", split))
        if path in files:
            yield document.diagnostic(
                CODE.id,
                f"the splits `{files[path]}` and `{split}` are the same file",
                ("probes", split),
                found=document.data["probes"][split],
                help="a split that another has looked at proves nothing: split the questions",
            )
        files.setdefault(path, split)
