"""Diagnostics: the one shape in which every problem reaches a user.

A problem is never a bare string: it has a stable code (`coherence-ft explain CODE`), a place, what was
found, what was expected and how to mend it. Everything that a user must act on is raised as a
`CoherenceError`, which carries one or more of them; anything else that escapes is a defect of ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem. `line` and `column` count from 1; 0 means that the place is the whole file."""

    code: str
    message: str
    path: str = ""
    line: int = 0
    column: int = 0
    severity: Severity = Severity.ERROR
    found: str = ""
    expected: str = ""
    help: str = ""

    @property
    def place(self) -> str:
        """`path:line:column`, as far as it is known."""
        if not self.line:
            return self.path
        return f"{self.path}:{self.line}:{self.column}"

    def __str__(self) -> str:
        head = f"{self.place}: " if self.path else ""
        text = f"{head}{self.severity} {self.code}: {self.message}"
        if self.found or self.expected:
            parts = [f"found {self.found}"] if self.found else []
            parts += [f"expected {self.expected}"] if self.expected else []
            text += f" ({', '.join(parts)})"
        return f"{text}\n  help: {self.help}" if self.help else text


class CoherenceError(Exception):
    """A refusal: one or more diagnostics that a user must act on. The CLI exits with 1."""

    def __init__(self, diagnostics: Diagnostic | Iterable[Diagnostic]) -> None:
        if isinstance(diagnostics, Diagnostic):
            diagnostics = (diagnostics,)
        self.diagnostics: tuple[Diagnostic, ...] = tuple(diagnostics)
        super().__init__("\n".join(map(str, self.diagnostics)))

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(d.code for d in self.diagnostics)


MAX_SHOWN = 50


def shortened(found: list[Diagnostic], path: str, shown: int = MAX_SHOWN) -> list[Diagnostic]:
    """The first `shown` diagnostics of a file, and one that says how many more there are."""
    if len(found) <= shown:
        return found
    more = Diagnostic("CFT449", f"{len(found) - shown} more problems in this file are not shown", path)
    return [*found[:shown], more]


def refusal(
    code: str,
    message: str,
    *,
    path: object = "",
    line: int = 0,
    column: int = 0,
    found: str = "",
    expected: str = "",
    help: str = "",
) -> CoherenceError:
    """A `CoherenceError` with a single diagnostic: `raise refusal("CFT601", "…", path=p, help="…")`."""
    return CoherenceError(
        Diagnostic(code, message, str(path), line, column, Severity.ERROR, found, expected, help)
    )
