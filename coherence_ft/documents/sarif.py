"""The frame of a SARIF 2.1.0 log, which every writer of ours shares.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/sarif-v2.1.0-errata01-os-complete.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from coherence_ft.documents.codes import REPOSITORY

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
# Not `primaryLocationLineHash`: GitHub computes that one itself, and warns about any other.
FINGERPRINT = "coherenceFt/v1"


def log(
    rules: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], **run: Any
) -> dict[str, Any]:
    """One run of coherence-ft. `run`: further properties of it."""
    driver = {
        "name": "coherence-ft",
        "version": version("coherence-ft"),
        "informationUri": REPOSITORY,
        "rules": list(rules),
    }
    found = {"tool": {"driver": driver}, **run, "columnKind": "unicodeCodePoints", "results": list(results)}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [found]}


def plain(text: str) -> str:
    """`[text](target)` is a link in SARIF messages: a document may not place one."""
    return text.replace("](", "] (")
