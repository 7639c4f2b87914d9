"""Printing diagnostics: text with the source line and a caret, JSON, GitHub annotations."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TextIO

from coherence_ft.documents.diagnostics import Diagnostic, Severity

FORMATS = ("text", "json", "github")
_WIDTH = 100
_COLOURS = {"bold": "1", "red": "31", "yellow": "33", "blue": "34", "dim": "2"}


def has_colour(stream: TextIO) -> bool:
    """Colour only on a terminal, and never against https://no-color.org."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def shown(diagnostic: Diagnostic) -> Diagnostic:
    """With the path relative to the working directory, if it lies below."""
    path, here = Path(diagnostic.path), Path.cwd()
    if path.is_absolute() and path.is_relative_to(here):
        return replace(diagnostic, path=str(path.relative_to(here)))
    return diagnostic


def print_diagnostics(diagnostics: Iterable[Diagnostic], stream: TextIO | None = None) -> None:
    """Text for people: every diagnostic with its source line."""
    stream = stream or sys.stderr
    colour = has_colour(stream)
    for diagnostic in diagnostics:
        print(render(shown(diagnostic), colour), file=stream, end="\n\n")


def render(diagnostic: Diagnostic, colour: bool = False) -> str:
    """One diagnostic as text. The source is read again for its line; a file that is gone shows none."""

    def paint(text: str, *names: str) -> str:
        return f"\x1b[{';'.join(_COLOURS[n] for n in names)}m{text}\x1b[0m" if colour else text

    tone = "red" if diagnostic.severity is Severity.ERROR else "yellow"
    head = paint(f"{diagnostic.severity}[{diagnostic.code}]", "bold", tone)
    lines = [f"{head} {_printable(diagnostic.message)}"]
    if diagnostic.path:
        lines.append(f"  {paint('-->', 'blue')} {_printable(diagnostic.place)}")
    snippet = _snippet(diagnostic.path, diagnostic.line, diagnostic.column)
    if snippet:
        gutter = str(diagnostic.line)
        source, caret = snippet
        lines.append(f"  {paint(f'{gutter} |', 'blue')} {source}".rstrip())
        lines.append(f"  {paint(' ' * len(gutter) + ' |', 'blue')} {' ' * caret}{paint('^', 'bold', tone)}")
    for label in ("found", "expected", "help"):
        if text := getattr(diagnostic, label):
            lines.append(f"  {paint(label + ':', 'dim')} {_printable(text)}")
    return "\n".join(lines)


def _snippet(path: str, line: int, column: int) -> tuple[str, int] | None:
    """The source line, cut to fit around the column, and the caret's offset in it."""
    if not (path and line and Path(path).is_file()):
        return None
    try:
        with Path(path).open("rb") as file:
            raw = next(islice(file, line - 1, line), b"")
    except OSError:
        return None
    text = raw.decode("utf-8-sig" if line == 1 else "utf-8", "replace").rstrip("\r\n")
    if not text:
        return None
    at = min(max(column - 1, 0), len(text))
    start = max(0, at - _WIDTH + 20)
    cut = text[start : start + _WIDTH]
    return _printable(cut.replace("\t", " ")), at - start


def _printable(text: str) -> str:
    """A document may not send control sequences to the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def as_json(diagnostics: Sequence[Diagnostic]) -> str:
    """`{"diagnostics": [{code, severity, message, path, line, column, found, expected, help}]}`."""
    rows = [
        {
            "code": d.code,
            "severity": d.severity.value,
            "message": d.message,
            "path": d.path,
            "line": d.line,
            "column": d.column,
            "found": d.found,
            "expected": d.expected,
            "help": d.help,
        }
        for d in diagnostics
    ]
    return json.dumps({"diagnostics": rows}, indent=2)


def as_github(diagnostics: Sequence[Diagnostic]) -> str:
    """Workflow commands: https://docs.github.com/actions/reference/workflow-commands-for-github-actions."""

    def data(text: str) -> str:
        return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

    def attribute(text: str) -> str:
        return data(text).replace(":", "%3A").replace(",", "%2C")

    lines = []
    for d in diagnostics:
        place = f"file={attribute(d.path)},line={d.line or 1},col={d.column or 1},title={d.code}"
        parts = [d.message]
        parts += [
            f"{label}: {getattr(d, label)}" for label in ("found", "expected", "help") if getattr(d, label)
        ]
        lines.append(f"::{d.severity} {place}::{data(chr(10).join(parts))}")
    return "\n".join(lines)


def quiet_libraries() -> None:
    """Deprecation notes and hints of libraries are for their callers, which is us, not for a user."""
    import logging
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings(
        "ignore", category=UserWarning, module=r"(transformers|trl|peft|torch|accelerate)\b"
    )
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
