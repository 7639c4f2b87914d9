"""What is wrong with text that is no YAML, at the place where a person would mend it.

The parser reports where it gave up, which is often lines below the slip. What is said here is drawn from the
few lines around that place; what is not recognized keeps the parser's words.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import yaml

from coherence_ft.documents.diagnostics import Diagnostic

_ENTRY = re.compile(r"(?P<start> *(?:- +)*)(?P<key>[\w.-]+) *:(?: +(?P<value>.*))?")
_OTHER_ENTRIES = re.compile(r" *(?:- +)*(?P<key>[\w.-]+)(?: *= *|:(?=\S)| +)(?P<value>.*)")
_ANY = "check the indentation, and quote text that holds `: `, ` #` or starts with one of @ ` % & * !"


class _Slip(NamedTuple):
    line: int  # from 1, as in diagnostics
    column: int
    what: str
    help: str


def explain(error: yaml.MarkedYAMLError, path: str, text: str) -> Diagnostic:
    """CFT103 for an error of PyYAML's scanner or parser."""
    lines = text.split("\n")
    mark = error.problem_mark or error.context_mark
    problem = error.problem or "it cannot be parsed"
    if mark is None:
        return Diagnostic("CFT103", f"not well-formed YAML: {problem}", path, help=_ANY)
    line = min(mark.line, len(lines) - 1)
    column = min(mark.column, len(lines[line]))
    slip = (
        _tab(lines, line, column)
        or _unclosed(error, lines)
        or _colon(problem, lines, line, column)
        or _no_colon(error, lines)
        or _reserved(error, lines)
        or _escape(problem, lines, line, column)
        or (_quote(lines, line, column) or _indentation(lines, line) if "did not find" in problem else None)
        or _Slip(line + 1, column + 1, f"{f'{error.context}, ' if error.context else ''}{problem}", _ANY)
    )
    return Diagnostic(
        "CFT103", f"not well-formed YAML: {slip.what}", path, slip.line, slip.column, help=slip.help
    )


def _tab(lines: list[str], line: int, column: int) -> _Slip | None:
    if lines[line][column : column + 1] != "\t":
        return None
    return _Slip(
        line + 1,
        column + 1,
        "a tab where only spaces may stand",
        f"indent with spaces: {_neighbour(lines, line)[1]} of them, as line {_neighbour(lines, line)[0] + 1}",
    )


def _unclosed(error: yaml.MarkedYAMLError, lines: list[str]) -> _Slip | None:
    """A bracket or quote whose end never came."""
    opened = error.context_mark
    if opened is None or opened.line >= len(lines):
        return None
    sign = lines[opened.line][opened.column : opened.column + 1]
    flow = (error.context or "").startswith("while parsing a flow")
    if flow and sign in ("[", "{") and error.problem_mark and error.problem_mark.line > opened.line:
        return _Slip(
            opened.line + 1,
            opened.column + 1,
            f"the {sign} is never closed",
            f"write {']' if sign == '[' else '}'} at its end",
        )
    if sign and sign in "\"'" and "end of stream" in (error.problem or ""):
        return _open_quote(opened.line, opened.column, sign)
    return None


def _open_quote(line: int, column: int, sign: str) -> _Slip:
    doubled = "" if sign == '"' else "; an apostrophe inside single quotes is written twice"
    return _Slip(line + 1, column + 1, "the quote is never closed", f"write {sign} at its end{doubled}")


def _colon(problem: str, lines: list[str], line: int, column: int) -> _Slip | None:
    """A colon inside of text without quotes, or a line that is indented below a value."""
    if not problem.startswith("mapping values are not allowed"):
        return None
    entry = _ENTRY.match(lines[line])
    if entry and entry.end("key") < column and entry["value"]:
        return _Slip(line + 1, column + 1, "text with a colon is not in quotes", _quoted(entry))
    return _indentation(lines, line)


def _no_colon(error: yaml.MarkedYAMLError, lines: list[str]) -> _Slip | None:
    at = error.context_mark
    if at is None or "could not find expected ':'" not in (error.problem or ""):
        return None
    if error.problem_mark and error.problem_mark.line == at.line:
        return None  # a key of more than 1,024 characters
    written = _OTHER_ENTRIES.match(lines[at.line][:200])
    help = f"write `{written['key']}: {written['value'].rstrip()}`" if written else "write `key: value`"
    return _Slip(at.line + 1, at.column + 1, "no colon and space between key and value", help)


def _reserved(error: yaml.MarkedYAMLError, lines: list[str]) -> _Slip | None:
    """Text that begins with a sign of YAML's own."""
    at = error.context_mark
    said = f"{error.problem} {error.context}"
    if at is None or not ("start any token" in said or "an alias" in said):
        return None
    entry = _ENTRY.match(lines[at.line])
    help = _quoted(entry) if entry and entry["value"] else "put the text into quotes"
    sign = lines[at.line][at.column : at.column + 1]
    return _Slip(at.line + 1, at.column + 1, f"text cannot begin with {sign} unless it is in quotes", help)


def _escape(problem: str, lines: list[str], line: int, column: int) -> _Slip | None:
    if "unknown escape character" not in problem:
        return None
    return _Slip(
        line + 1,
        column + 1,
        "an escape that YAML does not know",
        "write a backslash in double quotes as \\\\, or take 'single quotes'",
    )


def _quote(lines: list[str], line: int, column: int) -> _Slip | None:
    """Text behind a closing quote, which may be the opening one of a text after a forgotten quote."""
    entry = _ENTRY.match(lines[line])
    if not entry or not entry["value"] or entry["value"][0] not in "\"'":
        return None
    sign, start = entry["value"][0], entry.start("value")
    if column <= start + 1:
        for above in range(line - 1, -1, -1):
            before = _ENTRY.match(lines[above])
            if before and (before["value"] or "").startswith(sign) and lines[above].count(sign) % 2:
                return _open_quote(above, before.start("value"), sign)
        return None
    return _Slip(line + 1, column + 1, "text behind the closing quote", _quoted(entry))


def _indentation(lines: list[str], line: int) -> _Slip | None:
    """A line that does not stand in the column of its neighbours."""
    text = lines[line]
    indent = len(text) - len(text.lstrip(" "))
    if re.match(r" *-[^\s-]", text):
        return _Slip(line + 1, indent + 1, "no space behind the dash", f"write `- {text.strip()[1:]}`")
    above, wanted = _neighbour(lines, line, entry=text.lstrip(" ").startswith("- "))
    if wanted == indent:
        return None
    return _Slip(
        line + 1,
        indent + 1,
        "the line is not indented as its neighbours are",
        f"indent it by {wanted} spaces, as line {above + 1}; it has {indent}",
    )


def _neighbour(lines: list[str], line: int, entry: bool = False) -> tuple[int, int]:
    """The nearest line above that holds a key, or begins an entry of a list, and its indentation."""
    for above in range(line - 1, -1, -1):
        text = lines[above]
        found = _ENTRY.match(text)
        if entry and text.lstrip(" ").startswith("- "):
            return above, len(text) - len(text.lstrip(" "))
        if found and not entry:
            return above, found.end("start")
    return 0, 0


def _quoted(entry: Any) -> str:
    """The entry with its value in quotes."""
    value = entry["value"].rstrip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return 'write quotes inside of double quotes as \\"'
    if len(value) > 200:
        return "put the text into quotes"
    return f"put the text into quotes: {entry['key']}: {json.dumps(value, ensure_ascii=False)}"
