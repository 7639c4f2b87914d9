"""What libraries say when they fail, for use in a diagnostic."""

from __future__ import annotations


def first_line(error: Exception) -> str:
    """The first line of an exception's message; its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
