"""YAML to plain data with the place of every key and value, hazards refused.

The C parser of PyYAML only delivers events. Data is built from them in builder.py; scalars are resolved in
scalars.py by the core schema of YAML 1.2. Composing is left to nobody else: PyYAML's own loader keeps the
last of two equal keys without a word, and overflows the stack on deep nesting.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from coherence_ft.documents.builder import Builder, JsonPath, Place
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, Severity, shortened
from coherence_ft.documents.limits import limits
from coherence_ft.documents.malformed import explain

_SMALL = 2**16  # asking for the limit at once makes a buffer of that size, which costs more than reading
# YAML 1.1 ends a line, and so a comment, at these; YAML 1.2, editors or review pages do not. A byte order
# mark inside the text is invisible.
_UNSEEN = re.compile("\r(?!\n)|[\x85\u2028\u2029\ufeff]")


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
        return Path(os.path.normpath(folder / os.path.expanduser(text)))


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
    return parse_yaml(read_bytes(path), str(path))


def parse_yaml(text: bytes | str, path: str) -> Document:
    """Read YAML that is in memory; `path` is what diagnostics call it."""
    text = decode(text, path)
    builder = Builder(path, limits())
    try:
        builder.consume(events(text))
    except yaml.YAMLError as error:
        builder.problems.append(_malformed(error, path, text))
    except RecursionError:  # only PyYAML's pure-Python parser recurses
        builder.problems.append(limits().exceeded("depth", "the nesting is too deep", path, 1, 1))
    if builder.problems:
        raise CoherenceError(shortened(builder.problems, path))
    return Document(path, builder.root, builder.keys, builder.values)


def read_bytes(path: Path | str) -> bytes:
    """The bytes of a file within the limit on size. Raises CFT101, CFT104."""
    most = limits()
    try:
        with Path(path).open("rb") as file:
            data = file.read(_SMALL)
            if len(data) == _SMALL:
                data += file.read(max(most.bytes + 1 - _SMALL, 0))
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
    if len(data) > most.bytes:
        message = "the file is too large; data belongs in JSONL or Parquet files that it names"
        raise CoherenceError(most.exceeded("bytes", message, str(path)))
    return data


def decode(data: bytes | str, path: str) -> str:
    """Text in which every reader sees the same lines, without a byte order mark. Raises CFT102, CFT114."""
    try:
        # An argument of the command line can hold surrogates, which are no text.
        text = data.decode() if isinstance(data, bytes) else data.encode().decode()
    except UnicodeDecodeError as error:
        place = _place(error.object[: error.start].decode("utf-8", "replace").removeprefix("\ufeff"))
        found = f"byte 0x{error.object[error.start]:02x}"
    except UnicodeEncodeError as error:
        place = _place(error.object[: error.start].removeprefix("\ufeff"))
        found = f"U+{ord(error.object[error.start]):04X}"
    else:
        text = text.removeprefix("\ufeff")
        if (not text.isascii() or "\r" in text) and (unseen := _UNSEEN.search(text)):
            raise CoherenceError(
                Diagnostic(
                    "CFT114",
                    "a character that readers take differently",
                    path,
                    *_place(text[: unseen.start()]),
                    found=f"U+{ord(unseen[0]):04X}",
                    help='remove it, or write it as an escape inside "double quotes"',
                )
            )
        return text
    raise CoherenceError(
        Diagnostic("CFT102", "the file is not UTF-8 text", path, *place, found=found, help="save it as UTF-8")
    )


def _place(before: str) -> Place:
    """Line and column of what follows this text."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def events(text: str) -> Iterator[Any]:
    """The events of PyYAML's parser, the C one where there is one."""
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    return iter(loader(text).get_event, None)


def _malformed(error: yaml.YAMLError, path: str, text: str) -> Diagnostic:
    if isinstance(error, yaml.reader.ReaderError):  # a character that YAML does not allow
        character = error.character if isinstance(error.character, str) else chr(error.character)
        return Diagnostic(
            "CFT102",
            "a control character stands in the text",
            path,
            *_place(text[: max(text.find(character), 0)]),
            found=f"U+{ord(character):04X}",
            help='remove it, or write it as an escape inside "double quotes"',
        )
    if isinstance(error, yaml.MarkedYAMLError):
        return explain(error, path, text)
    return Diagnostic("CFT103", f"not well-formed YAML: {error}", path)
