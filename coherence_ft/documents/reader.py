"""YAML to plain data with the place of every key and value, hazards refused.

The C parser of PyYAML only delivers events; scalars are resolved here by the core schema of YAML 1.2
(https://yaml.org/spec/1.2.2/#103-core-schema), so that `no` is a string and `1e3` a number. Composing is
left to nobody else: PyYAML's own loader keeps the last of two equal keys without a word, and overflows the
stack on deep nesting.
"""

from __future__ import annotations

import math
import os.path
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, Severity

MAX_BYTES = 2**20
MAX_DEPTH = 40
MAX_EVENTS = 100_000

JsonPath = tuple[str | int, ...]
Place = tuple[int, int]  # line and column, from 1

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_DROPPED = object()  # stands for a key that was refused: its value goes nowhere


@dataclass(frozen=True)
class Document:
    """One YAML document. `keys` and `values` give places by JSON path, e.g. `("training", "epochs")`.

    `overrides` maps a JSON path that the command line has set to the option's text.
    """

    path: str
    data: Any
    keys: Mapping[JsonPath, Place] = field(default_factory=dict)
    values: Mapping[JsonPath, Place] = field(default_factory=dict)
    overrides: Mapping[JsonPath, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return Path(self.path).absolute().parent

    def option(self, at: JsonPath) -> str | None:
        """The command line's option that set the value at `at`, or made the mapping at `at`; or None."""
        for n in range(len(at), 0, -1):
            if at[:n] in self.overrides:
                return self.overrides[at[:n]]
        if at and at not in self.values:
            return next((option for to, option in self.overrides.items() if to[: len(at)] == at), None)
        return None

    def place(self, at: JsonPath = (), key: bool = False) -> Place:
        """Where `at` was written (with `key`, its key), or else the nearest thing around it."""
        if key and at in self.keys:
            return self.keys[at]
        for n in range(len(at), -1, -1):
            if at[:n] in self.values:
                return self.values[at[:n]]
        return (0, 0)

    def diagnostic(
        self,
        code: str,
        message: str,
        at: JsonPath = (),
        *,
        key: bool = False,
        severity: Severity = Severity.ERROR,
        found: str = "",
        expected: str = "",
        help: str = "",
    ) -> Diagnostic:
        """A diagnostic placed at `at`; at the option where the command line has set that value."""
        if option := self.option(at):
            return Diagnostic(code, message, option, 0, 0, severity, found, expected, help)
        line, column = self.place(at, key)
        return Diagnostic(code, message, self.path, line, column, severity, found, expected, help)

    def file(self, at: JsonPath, name: str | None = None) -> Path:
        """The path at `at` made absolute: against the document's folder, or where the command line runs."""
        text = name if name is not None else get(self.data, at)
        folder = Path.cwd() if self.option(at) else self.folder
        # normpath, not resolve(): a symlink to a tenant's folder keeps its name
        return Path(os.path.normpath(folder / Path(text).expanduser()))


def get(data: Any, at: JsonPath) -> Any:
    """The value at a JSON path, or None where there is none."""
    for step in at:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def dotted(at: JsonPath) -> str:
    """`("layers", 0, "set")` as `layers[0].set`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in at).removeprefix(".")


def read_yaml(path: Path | str) -> Document:
    """Read one YAML file. Raises `CoherenceError` with every CFT1xx problem found."""
    return parse_yaml(_read_bytes(path), str(path))


def parse_yaml(text: bytes | str, path: str) -> Document:
    """Read YAML that is in memory; `path` is what diagnostics call it."""
    if isinstance(text, bytes):
        text = _decode(text, path)
    builder = _Builder(path)
    try:
        builder.consume(_events(text))
    except yaml.YAMLError as error:
        builder.problems.append(_malformed(error, path, text))
    except RecursionError:  # only PyYAML's pure-Python parser recurses
        builder.problem("CFT104", "the nesting is too deep to read", (1, 1))
    if builder.problems:
        raise CoherenceError(builder.problems)
    return Document(path, builder.root, builder.keys, builder.values)


def _read_bytes(path: Path | str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CoherenceError(
            Diagnostic(
                "CFT101",
                f"the file cannot be read: {reason}",
                str(path),
                help="check the name, relative to where the command runs, and the permissions",
            )
        ) from error
    if len(data) > MAX_BYTES:
        raise CoherenceError(
            Diagnostic(
                "CFT104",
                "the file is too large",
                str(path),
                expected=f"at most {MAX_BYTES:,} bytes",
                help="data belongs in JSONL or Parquet files that the document names",
            )
        )
    return data


def _decode(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        raise CoherenceError(
            Diagnostic(
                "CFT102",
                "the file is not UTF-8 text",
                path,
                line,
                column,
                found=f"byte 0x{data[error.start]:02x}",
                help="save it as UTF-8",
            )
        ) from error


def _events(text: str) -> Iterator[Any]:
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    return yaml.parse(text, Loader=loader)


def _malformed(error: yaml.YAMLError, path: str, text: str) -> Diagnostic:
    position = getattr(error, "position", None)
    if position is not None:  # yaml.reader.ReaderError: a character that YAML does not allow
        character = error.character  # type: ignore[attr-defined]
        character = ord(character) if isinstance(character, str) else character
        found = next((n for n, c in enumerate(text) if ord(c) == character), 0)
        before = text[:found]
        line, column = before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
        return Diagnostic(
            "CFT102",
            "a control character stands in the text",
            path,
            line,
            column,
            found=f"U+{character:04X}",
            help='remove it, or write it as an escape inside "double quotes"',
        )
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    context = getattr(error, "context", None)
    problem = getattr(error, "problem", None) or "it cannot be parsed"
    message = f"not well-formed YAML: {f'{context}, ' if context else ''}{problem}"
    if mark and text[mark.index : mark.index + 1] == "\t":
        help = "indent with spaces; YAML allows no tabs there"
    else:
        help = "check the indentation, and quote text that holds `: `, ` #` or starts with one of @ ` % & * !"
    return Diagnostic("CFT103", message, path, line, column, help=help)


@dataclass(slots=True)
class _Frame:
    container: Any
    path: JsonPath
    key: Any = None  # mapping: the key whose value comes next
    is_key: bool = False  # this container stands where a key belongs


class _Builder:
    """Builds plain data from events, with an explicit stack: depth costs no recursion."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.root: Any = None
        self.keys: dict[JsonPath, Place] = {}
        self.values: dict[JsonPath, Place] = {}
        self.problems: list[Diagnostic] = []
        self._stack: list[_Frame] = []

    def problem(
        self, code: str, message: str, place: Place, found: str = "", expected: str = "", help: str = ""
    ) -> None:
        self.problems.append(
            Diagnostic(code, message, self.path, *place, found=found, expected=expected, help=help)
        )

    def consume(self, events: Iterator[Any]) -> None:
        documents = 0
        for count, event in enumerate(events):
            place = (event.start_mark.line + 1, event.start_mark.column + 1)
            if count > MAX_EVENTS:
                self.problem(
                    "CFT104", "the document has too many parts", place, expected=f"at most {MAX_EVENTS:,}"
                )
                return
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.problem(
                        "CFT110", "a second document begins here", place, help="write one document a file"
                    )
                    return
                if event.version or event.tags:
                    self.problem(
                        "CFT106", "a YAML directive", place, help="remove the line that starts with %"
                    )
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event, place)
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                self._hazards(event, place)
                if len(self._stack) >= MAX_DEPTH:
                    self.problem(
                        "CFT104", "the nesting is too deep", place, expected=f"at most {MAX_DEPTH} levels"
                    )
                    return
                self._open({} if isinstance(event, yaml.MappingStartEvent) else [], place)
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                frame = self._stack.pop()
                if frame.is_key:
                    self._stack[-1].key = _DROPPED
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event, place)
        if documents == 0 or (self.root is None and not self.problems):
            self.problem("CFT111", "the file holds no document", (1, 1), help="write one, or remove the file")

    def _hazards(self, event: Any, place: Place) -> None:
        if event.anchor is not None:
            self._anchor(f"&{event.anchor}", place)
        if event.tag is not None:
            self.problem(
                "CFT106",
                "a YAML tag",
                place,
                found=event.tag,
                help="remove it; quote the value if it is text",
            )

    def _anchor(self, found: str, place: Place) -> None:
        self.problem(
            "CFT105",
            "a YAML anchor or alias",
            place,
            found=found,
            help='write the value out where it is used; quote text that starts with & or *: "*.jsonl"',
        )

    def _alias(self, event: Any, place: Place) -> None:
        self._anchor(f"*{event.anchor}", place)
        if self._key_comes_next():
            self._stack[-1].key = _DROPPED
        else:
            self._put(None, place)

    def _scalar(self, event: Any, place: Place) -> None:
        self._hazards(event, place)
        plain = event.implicit[0] and event.tag is None
        value = self._resolve(event.value, place) if plain else event.value
        if not self._key_comes_next():
            self._put(value, place)
            return
        frame = self._stack[-1]
        if plain and value == "<<":
            self.problem("CFT107", "a YAML merge key", place, help="write the merged keys out")
            frame.key = _DROPPED
        elif not isinstance(value, str):
            self.problem(
                "CFT109",
                "a key that is not text",
                place,
                found=event.value or "nothing",
                help=f'quote it: "{event.value}"',
            )
            frame.key = _DROPPED
        elif value in frame.container:
            first = self.keys.get((*frame.path, value), (0, 0))
            self.problem(
                "CFT108",
                f"the key `{value}` is given twice",
                place,
                help=f"remove one of the two; the first is at line {first[0]}",
            )
            frame.key = _DROPPED
        else:
            frame.key = value
            frame.container[value] = None
            self.keys[(*frame.path, value)] = place

    def _key_comes_next(self) -> bool:
        return (
            bool(self._stack) and isinstance(self._stack[-1].container, dict) and self._stack[-1].key is None
        )

    def _open(self, container: Any, place: Place) -> None:
        if self._key_comes_next():
            self.problem("CFT109", "a key that is not text", place, found="a list or mapping")
            self._stack.append(_Frame(container, ("?",), is_key=True))
        else:
            self._stack.append(_Frame(container, self._put(container, place)))

    def _put(self, value: Any, place: Place) -> JsonPath:
        """Store a value where it belongs and return its JSON path."""
        if not self._stack:
            self.root = value
            path: JsonPath = ()
        else:
            frame = self._stack[-1]
            if isinstance(frame.container, list):
                path = (*frame.path, len(frame.container))
                frame.container.append(value)
            elif frame.key is _DROPPED:
                path = (*frame.path, "?")
                frame.key = None
            else:
                path = (*frame.path, frame.key)
                frame.container[frame.key] = value
                frame.key = None
        self.values.setdefault(path, place)
        return path

    def _resolve(self, text: str, place: Place) -> Any:
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        if _NOT_FINITE.fullmatch(text):
            self._not_finite(text, place)
            return text
        is_int = _INT.fullmatch(text)
        if not is_int and not _FLOAT.fullmatch(text):
            return text
        if _LEADING_ZERO.match(text):
            self.problem(
                "CFT113",
                "a number with a leading zero",
                place,
                found=text,
                help=f'readers differ on it: write it without the zero, or as text: "{text}"',
            )
            return text
        if not is_int:
            number = float(text)
            if not math.isfinite(number):
                self._not_finite(text, place)
            return number
        if len(text) > 20 or not -(2**63) <= (whole := int(text, 0)) < 2**63:
            self.problem(
                "CFT113",
                "an integer beyond 64 bits",
                place,
                found=text if len(text) < 60 else f"{text[:56]}…",
                help="quote it if it is text, such as a digest",
            )
            return 0
        return whole

    def _not_finite(self, text: str, place: Place) -> None:
        self.problem("CFT112", "a number that is not finite", place, found=text, help="write a finite number")
