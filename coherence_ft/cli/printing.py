"""Printing diagnostics: text with the source line and a caret, JSON, GitHub annotations, SARIF, JUnit."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TextIO

import click

from coherence_ft.documents.diagnostics import Diagnostic, Severity

FORMATS = ("text", "json", "github", "sarif", "junit")
_WIDTH = 100
_COLOURS = {"bold": "1", "red": "31", "yellow": "33", "blue": "34", "dim": "2"}


def has_colour(stream: TextIO) -> bool:
    """Colour only on a terminal, and never against https://no-color.org."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def shown(diagnostic: Diagnostic) -> Diagnostic:
    """With paths relative to the working directory, if they lie below."""
    here = f"{Path.cwd()}{os.sep}"
    return replace(diagnostic, path=relative(diagnostic.path), message=diagnostic.message.replace(here, ""))


def relative(path: str) -> str:
    """A path as seen from the working directory, if it lies below."""
    here = Path.cwd()
    below = Path(path).is_absolute() and Path(path).is_relative_to(here)
    return str(Path(path).relative_to(here)) if below else path


def report(form: str, diagnostics: Sequence[Diagnostic], checked: Iterable[str] = (), end: str = "") -> str:
    """All diagnostics in one of `FORMATS`, without colour.

    `checked` are the paths of the files that were looked at, clean ones included: JUnit lists them. `end` is
    the closing line of the text format.
    """
    if form == "json":
        return as_json(diagnostics)
    if form == "github":
        return as_github(diagnostics)
    if form == "sarif":
        from coherence_ft.cli.sarif import as_sarif

        return as_sarif(diagnostics)
    if form == "junit":
        from coherence_ft.cli.junit import as_junit

        return as_junit(diagnostics, checked)
    return "\n\n".join([*map(render, diagnostics), *([end] if end else [])])


def write_report(path: Path, text: str) -> None:
    """Write a report so that no reader ever sees half of it. Raises `click.FileError`."""
    try:
        whole = not path.exists() or path.is_file()  # else a device or pipe, such as /dev/stdout
        partial = path.with_name(f"{path.name}.partial") if whole else path
        partial.write_text(f"{text}\n", encoding="utf-8", errors="replace")
        if whole:
            partial.replace(path)
    except OSError as error:
        raise click.FileError(str(path), error.strerror) from error


def format_of(path: Path, form: str) -> str:
    """The format that a report file's name asks for: `.sarif`, `.xml` or `.json`; else `form`."""
    if path.name.endswith((".sarif", ".sarif.json")):
        return "sarif"
    by_suffix = {".xml": "junit", ".json": "sarif" if form == "sarif" else "json"}
    return by_suffix.get(path.suffix, form)


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
    lines = [f"{head} {printable(diagnostic.message)}"]
    if diagnostic.path:
        lines.append(f"  {paint('-->', 'blue')} {printable(diagnostic.place)}")
    snippet = _snippet(diagnostic.path, diagnostic.line, diagnostic.column)
    if snippet:
        gutter = str(diagnostic.line)
        source, caret = snippet
        lines.append(f"  {paint(f'{gutter} |', 'blue')} {source}".rstrip())
        lines.append(f"  {paint(' ' * len(gutter) + ' |', 'blue')} {' ' * caret}{paint('^', 'bold', tone)}")
    for label in ("found", "expected", "help"):
        if text := getattr(diagnostic, label):
            lines.append(f"  {paint(label + ':', 'dim')} {printable(text)}")
    return "\n".join(lines)


def _snippet(path: str, line: int, column: int) -> tuple[str, int] | None:
    """The source line, cut to fit around the column, and the caret's offset in it."""
    text = source_line(path, line)
    if not text:
        return None
    at = min(max(column - 1, 0), len(text))
    start = max(0, at - _WIDTH + 20)
    cut = text[start : start + _WIDTH]
    return printable(cut.replace("\t", " ")), at - start


def source_line(path: str, line: int) -> str:
    """The line of a file, without its end; nothing where there is none."""
    if not (line and os.path.isfile(path)):
        return ""
    try:
        with Path(path).open("rb") as file:
            raw = next(islice(file, line - 1, line), b"")
    except OSError:
        return ""
    return raw.decode("utf-8-sig" if line == 1 else "utf-8", "replace").rstrip("\r\n")


def printable(text: str) -> str:
    """A document may not send control sequences to the terminal, nor half a character to a report."""
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
    return dump({"diagnostics": rows})


def dump(data: object) -> str:
    """ASCII JSON that every parser reads: half a character, as in a file name that is no text, is `?`."""
    whole = json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")
    return json.dumps(json.loads(whole), indent=2)


def as_github(diagnostics: Sequence[Diagnostic]) -> str:
    """Workflow commands: https://docs.github.com/actions/reference/workflow-commands-for-github-actions."""

    def data(text: str) -> str:
        return printable(text).replace("%", "%25").replace("\n", "%0A")

    def attribute(text: str) -> str:
        return data(text).replace(":", "%3A").replace(",", "%2C")

    lines = []
    for d in diagnostics:
        # A place that is no file, such as an option of the command line, would be refused as `file`.
        where = f"file={attribute(d.path)},line={d.line or 1},col={d.column or 1}," if is_file_name(d) else ""
        lines.append(f"::{d.severity} {where}title={d.code}::{data(described(d))}")
    return "\n".join(lines)


def is_file_name(diagnostic: Diagnostic) -> bool:
    """Whether the place is a path; it may also be an option of the command line, or nothing."""
    return bool(diagnostic.path) and not diagnostic.path.startswith("--")


def described(diagnostic: Diagnostic) -> str:
    """Everything that a diagnostic says but its code and place, for formats with a single text."""
    parts = [diagnostic.message]
    for label in ("found", "expected", "help"):
        if text := getattr(diagnostic, label):
            parts.append(f"{label}: {text}")
    return "\n".join(parts)


def quiet_libraries() -> None:
    """Deprecation notes and hints of libraries are for their callers, which is us, not for a user."""
    import logging
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings(
        "ignore", category=UserWarning, module=r"(transformers|trl|peft|torch|accelerate)\b"
    )
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
