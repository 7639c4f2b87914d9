"""Canonical JSON and digests: the same content has the same bytes on every machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def canonical_json(data: Any) -> bytes:
    """Sorted keys, no spaces, UTF-8, no NaN.

    Equal to RFC 8785 for what we write: strings, integers, booleans, null. Numbers that matter are decimal
    strings, since two writers rarely print the same float alike.
    """
    return json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def canonical_digest(data: Any) -> str:
    """sha256 (hex) of the canonical JSON."""
    return hashlib.sha256(canonical_json(data)).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 (hex) of a file's bytes, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def decimal(number: float) -> str:
    """The shortest decimal string that reads back as the same float: `0.05`, never `5e-02`."""
    text = repr(float(number))
    if "e" in text or "E" in text:
        text = f"{number:.12f}".rstrip("0")
    return text.removesuffix(".0") if text.endswith(".0") else text.rstrip(".") or "0"
