"""How large a document may be: documents come from outside, and what is built from them must stay small."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple, dataclass

from coherence_ft.documents.diagnostics import Diagnostic


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may hold at most: bytes, levels of nesting, parts (keys, values and ends of them).

    Raises `ValueError` for a limit below 1, and for a depth above 200: whatever walks over the data, in this
    program and in others, recurses.
    """

    bytes: int = 2**20
    depth: int = 40
    events: int = 100_000

    def __post_init__(self) -> None:
        if not all(type(limit) is int and limit >= 1 for limit in astuple(self)):
            raise ValueError("a limit is a whole number of at least 1")
        if self.depth > 200:
            raise ValueError("the depth is at most 200")

    def exceeded(self, name: str, message: str, path: str, line: int = 0, column: int = 0) -> Diagnostic:
        """CFT104 for the limit `name`."""
        return Diagnostic(
            "CFT104",
            message,
            path,
            line,
            column,
            expected=f"at most {getattr(self, name):,} {_UNITS[name]}",
            help=f"raise `{name}` under [tool.coherence-ft.limits] in pyproject.toml if it must be so",
        )


_UNITS = {"bytes": "bytes", "depth": "levels", "events": "parts"}
DEFAULT = Limits()
_LIMITS = ContextVar("limits", default=DEFAULT)


def limits() -> Limits:
    """Those that hold here."""
    return _LIMITS.get()


@contextmanager
def reading_limits(wanted: Limits) -> Iterator[None]:
    """Hold every document that is read inside to `wanted`, also those that a document names."""
    token = _LIMITS.set(wanted)
    try:
        yield
    finally:
        _LIMITS.reset(token)
