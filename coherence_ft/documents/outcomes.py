"""Outcomes: what became of answers at run time, one JSON object a line (schema/v1/outcome.schema.yaml)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.probe_set import json_row
from coherence_ft.documents.reader import Document
from coherence_ft.documents.schemas import problems, validator

MODEL = "model"
"""The grounding of what a model concluded. It is counted, and no more: else the loop would confirm itself."""

GROUNDINGS = ("human", "system-of-record", "probe", MODEL)
SERVED = "served"


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer and whether it turned out right. `adjustment`: the logits that are in `confidence` beyond
    what the calibrator said. `model`, `calibrator`: digests. `observed_at`: RFC 3339."""

    id: str
    domain: str
    confidence: float
    delivered: bool
    correct: bool
    grounding: str
    observed_at: str
    model: str
    calibrator: str
    routing_pattern: str = "dense"
    adjustment: float = 0.0
    split: str = SERVED

    def to_json(self) -> dict[str, Any]:
        """As it is kept: numbers as decimal strings."""
        numbers = {"confidence": repr(self.confidence), "adjustment": repr(self.adjustment)}
        return asdict(self) | numbers

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Outcome:
        numbers = {name: float(data[name]) for name in ("confidence", "adjustment")}
        return cls(**(data | numbers))


@dataclass(frozen=True, slots=True)
class Read:
    """`rows`: the rows in order, with their line numbers. `broken`: for each other row, what is wrong."""

    path: str
    rows: tuple[tuple[int, Outcome], ...]
    broken: tuple[tuple[Diagnostic, ...], ...]

    def __len__(self) -> int:
        return len(self.rows) + len(self.broken)


def read_outcomes(path: Path | str) -> Read:
    """Every row of a file. Blank lines count for nothing.

    Raises CFT101 if it cannot be read, CFT480 if there is no row in it.
    """
    rows: list[tuple[int, Outcome]] = []
    broken: list[tuple[Diagnostic, ...]] = []
    compiled = validator("outcome")
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json_row(line, str(path), number)
                    if not compiled.is_valid(row):
                        raise CoherenceError(
                            problems("outcome", Document(str(path), row, values={(): (number, 1)}))
                        )
                except CoherenceError as error:
                    broken.append(error.diagnostics)
                    continue
                row["confidence"] = float(row["confidence"])
                row["adjustment"] = float(row.get("adjustment", 0.0))
                rows.append((number, Outcome(**row)))
    except OSError as error:
        raise CoherenceError(
            Diagnostic("CFT101", f"the file cannot be read: {error.strerror or error}", str(path))
        ) from error
    if not rows and not broken:
        raise CoherenceError(Diagnostic("CFT480", "the file has no outcomes", str(path)))
    return Read(str(path), tuple(rows), tuple(broken))
