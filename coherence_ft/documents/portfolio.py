"""Portfolios: a tenant's derivatives in use, each by its manifest (schema/v1/portfolio.schema.yaml)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coherence_ft.documents.constraint_reader import origin
from coherence_ft.documents.constraint_set import Origin
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.reader import Document, read_yaml
from coherence_ft.documents.rules import repeated_derivative
from coherence_ft.documents.schemas import check


@dataclass(frozen=True, slots=True)
class Listed:
    """A derivative's folder and the digest (sha256, hex) of the manifest that is approved for it."""

    folder: Path
    manifest: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Portfolio:
    tenant: str
    derivatives: tuple[Listed, ...]
    path: str


def read_portfolio(path: Path | str, document: Document | None = None) -> Portfolio:
    """Read a portfolio. The folders need not exist: whoever verifies them says so.

    Raises `CoherenceError` with everything that is wrong in it (CFT1xx, 2xx, 475). `document` is the file's
    content where it has been read already.
    """
    document = document or read_yaml(path)
    check(document, "portfolio")
    if problems := list(repeated_derivative.check(document)):
        raise CoherenceError(problems)
    return Portfolio(
        document.data["tenant"],
        tuple(
            Listed(document.file(("derivatives", n, "folder")), entry["manifest"], _origin(document, n))
            for n, entry in enumerate(document.data["derivatives"])
        ),
        document.path,
    )


def _origin(document: Document, index: int) -> Origin:
    return origin(document, ("derivatives", index))
