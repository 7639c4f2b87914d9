"""Pieces of Markdown whose text comes from documents of others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from coherence_ft.evidence.estimate import Estimate
from coherence_ft.manifest.files import printable

_MARKUP = re.compile(r"([\\`*_\[\]<>|#~!&])")


def plain(text: str) -> str:
    """Text that stays text: nothing in it is markup, a link, HTML or a second table cell."""
    return _MARKUP.sub(r"\\\1", printable(" ".join(text.split())))


def code(text: str) -> str:
    """A digest or a name in a code span."""
    return f"`{printable(' '.join(text.split())).replace('`', chr(39)).replace('|', '/')}`"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Cells as they are: plain text must have gone through `plain`."""
    rows = list(rows)
    if not rows:
        return []
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def measured(estimate: Estimate | None) -> str:
    """`0.873 (0.837 – 0.902)`"""
    if estimate is None:
        return "not measured"
    return f"{estimate.value:.3f} ({estimate.lower:.3f} – {estimate.upper:.3f})"
