"""The one canonical form of a document: order of keys, quoting, indentation; comments keep their subject."""

from __future__ import annotations

import os
import re
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from coherence_ft.documents.canonical import canonical_json
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.files import SCHEMA_SUFFIXES, files_of
from coherence_ft.documents.reader import parse_yaml, read_yaml
from coherence_ft.documents.scalars import is_text
from coherence_ft.documents.schemas import API_FAMILY, kind_of, load_schema
from coherence_ft.formatting.tree import BLANK, Collection, Entry, Node, Scalar, comments, read_tree

WIDTH = 110

_RULE = re.compile(r"#\s*([-=#*~_─═])\1{2,}")  # `# --- calibration ---`
# What YAML does not allow unescaped (https://yaml.org/spec/1.2.2/#51-character-set), and its line breaks.
_ESCAPED = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}
_NOT_PLAIN = re.compile(r"""^([,\[\]{}#&*!|>'"%@`?:]|-(\s|$)|---|\.\.\.|\s)|: |:$| #|\s$""")
_FIGURES = re.compile(r"[-+.]?\d[-\d.,:_/]*")  # dates and versions
_NOT_PLAIN_IN_FLOW = re.compile(r"[,\[\]{}:?]|^-$")
_LINE = re.compile(r"\n|^\s|\s$|\s\s|[^\S ]")  # what folding over lines would change


def format_text(text: str, path: str) -> str:
    """The canonical form of a document of ours.

    Raises `CoherenceError` if it cannot be read (CFT1xx), is no document of ours (CFT201), or would not be
    the same document afterwards (CFT133).
    """
    document = parse_yaml(text, path)
    kind = kind_of(document)
    tree = read_tree(text)
    order_keys(tree, kind)
    formatted = print_tree(tree)
    check_rewritten(path, formatted, document.data, comments(text))
    return formatted


def documents_of(paths: Iterable[Path | str]) -> tuple[list[Path], list[Diagnostic]]:
    """The documents that a command rewrites, and what is wrong with the paths (CFT412 or CFT101).

    Files that are named; below folders what `validate` looks at, less schemas and other people's YAML.
    """
    given = [Path(path) for path in paths]
    files, found = files_of(given)
    named = {path.absolute() for path in given}
    kept = []
    for path in files:
        if path in named:
            kept.append(path)
        elif not path.name.endswith(SCHEMA_SUFFIXES):
            try:
                data = read_yaml(path).data
            except CoherenceError:
                kept.append(path)  # whatever it is, whoever rewrites it is told so
                continue
            if isinstance(data, dict) and str(data.get("apiVersion")).startswith(API_FAMILY):
                kept.append(path)
    return kept, found


def check_rewritten(path: str, text: str, data: Any, kept: list[str]) -> None:
    """Raise CFT133 unless the new text reads as `data` and holds exactly the comments that are `kept`."""
    try:
        lost = canonical_json(parse_yaml(text, path).data) != canonical_json(data)
    except CoherenceError:
        lost = True
    if lost or Counter(comments(text)) != Counter(kept):
        raise refusal(
            "CFT133",
            "rewriting would lose " + ("data" if lost else "a comment") + ", so the file is left as it is",
            path=path,
            help="this is a defect of ours; please report the file",
        )


def write_text(path: Path, text: str) -> None:
    """Replace a file, whole or not at all, with its mode kept. Raises CFT134."""
    target = path.resolve()  # a link stays a link
    partial = None
    try:
        handle, partial = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            os.fchmod(file.fileno(), target.stat().st_mode & 0o7777)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except BaseException as error:
        if partial:
            with suppress(OSError):
                os.unlink(partial)
        if not isinstance(error, OSError):
            raise
        raise refusal(
            "CFT134",
            "the file cannot be written",
            path=path,
            found=error.strerror or str(error),
            help="nothing has changed; check the permissions of the file's folder and the space",
        ) from error


def order_keys(tree: Collection, kind: str) -> None:
    """Put the keys of every mapping into the order of `properties` in the published schema, in place.

    Unknown keys follow. A section comment is a fence that no key passes: it ends in a blank line or is a rule
    (`# --- … ---`). What stands at the top of the file is such a fence.
    """
    _order(tree, [(kind, load_schema(kind))], is_root=True)


_Schemas = list[tuple[str, dict[str, Any]]]  # the name of the file, for `$ref`, and the subschema


def _order(node: Node, schemas: _Schemas, is_root: bool = False) -> None:
    if isinstance(node, Scalar):
        return
    schemas = [found for name, schema in schemas for found in _flat(name, schema)]
    if not node.is_mapping:
        for entry in node.entries:
            _order(entry.value, [(n, s["items"]) for n, s in schemas if isinstance(s.get("items"), dict)])
        return
    ranks = {
        key: n for n, key in enumerate(dict.fromkeys(k for _, s in schemas for k in s.get("properties", ())))
    }
    groups: list[list[Entry]] = []
    fences: list[list[str]] = []
    for n, entry in enumerate(node.entries):
        key = entry.key.value if entry.key else ""
        _order(entry.value, [(name, sub) for name, s in schemas if isinstance(sub := _value(s, key), dict)])
        fence = _fence(entry.leading, is_root and n == 0)
        if fence or n == 0:
            groups.append([])
            fences.append(entry.leading[:fence])
            del entry.leading[:fence]
        groups[-1].append(entry)
    node.entries = []
    for fenced, group in zip(fences, groups, strict=True):
        group.sort(key=lambda e: ranks.get(e.key.value if e.key else "", len(ranks)))
        if is_root and fenced and fenced[-1] and group[0].leading and not node.entries:
            fenced.append(BLANK)  # what is said of the first key is not part of the header
        group[0].leading[:0] = fenced
        node.entries += group


def _value(schema: dict[str, Any], key: str) -> Any:
    return schema.get("properties", {}).get(key, schema.get("additionalProperties"))


def _flat(name: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A schema with everything that it refers to or chooses from."""
    yield name, schema
    if reference := schema.get("$ref"):
        file, _, pointer = reference.partition("#")
        name_there = file.rpartition("/")[2].removesuffix(".schema.yaml") or name
        there: Any = load_schema(name_there)
        for step in filter(None, pointer.split("/")):
            there = there[step]
        yield from _flat(name_there, there)
    branches = [schema[word] for word in ("then", "else") if isinstance(schema.get(word), dict)]
    branches += [branch for word in ("allOf", "anyOf", "oneOf") for branch in schema.get(word, ())]
    for branch in branches:
        yield from _flat(name, branch)


def _fence(leading: list[str], is_header: bool) -> int:
    """How many of the lines above an entry belong to its section or the file, rather than to the entry."""
    last = max(
        (n for n, line in enumerate(leading) if (line == BLANK and any(leading[:n])) or _RULE.match(line)),
        default=-1,
    )
    if last < 0 and is_header:
        return len(leading)
    return last + 1


def print_tree(tree: Collection) -> str:
    """The text of a tree: two spaces of indentation, list items indented, one line end at the end."""
    printer = _Printer()
    printer.block(tree, 0)
    return "\n".join(printer.lines) + "\n"


@dataclass(slots=True)
class _Printer:
    lines: list[str] = field(default_factory=list)
    kept: bool = False  # the last line belongs to a scalar that would take blank lines for its own

    def block(self, node: Collection, indent: int, prefix: str = "") -> None:
        """Print a collection. `prefix` is what stands before its first entry, such as `- `."""
        for n, entry in enumerate(node.entries):
            before = prefix if n == 0 and prefix else " " * indent
            head = before + (f"{scalar_text(entry.key)}:" if entry.key else "-")
            opens = _opens(entry.value, len(head) + 1)
            above = entry.leading
            if isinstance(entry.value, Collection) and not entry.value.entries:
                above = above + entry.value.tail
            if opens and not entry.key and entry.trailing:
                above = [*above, entry.trailing]
            self._remarks(above, len(before) - len(before.lstrip()), first=n == 0)
            self._entry(entry, head, indent + 2, opens)
        self._remarks(node.tail, indent)

    def _remarks(self, lines: list[str], indent: int, first: bool = False) -> None:
        """Comments, and at most one blank line between two others; none at the `first` entry of a block."""
        for line in lines:
            if line:
                self.lines.append(" " * indent + line)
                self.kept = first = False
            elif not first and not self.kept and self.lines[-1:] not in ([], [BLANK]):
                self.lines.append(BLANK)

    def _entry(self, entry: Entry, head: str, indent: int, opens: bool) -> None:
        trailing = f"  {entry.trailing}" if entry.trailing else ""
        self.kept = False
        if isinstance(entry.value, Scalar):
            text, below = _scalar(entry.value, len(head) + 1, indent)
            if not text and not entry.key:
                text = "null"
            self.lines.append((f"{head} {text}" if text else head) + trailing)
            self.lines += [" " * indent + line if line else line for line in below]
            self.kept = below[-1:] == [BLANK]
        elif not opens:
            self.lines.append(f"{head} {''.join(_flow(entry.value))}{trailing}")
        elif entry.key:
            self.lines.append(head + trailing)
            self.block(entry.value, indent)
        else:
            self.block(entry.value, indent, f"{head} ")


def _opens(value: Node, column: int) -> bool:
    """Whether a value is printed as a block rather than on the line of its key."""
    if isinstance(value, Scalar) or not value.entries:
        return False
    for piece in _flow(value) if value.flow else ():
        column += len(piece)
        if column > WIDTH:  # a hostile document is not printed to the end once a level
            return True
    return not value.flow


def _flow(node: Node) -> Iterator[str]:
    """The pieces of a node on one line, as inside of brackets."""
    if isinstance(node, Scalar):
        yield scalar_text(node, flow=True) or "null"
        return
    yield "{" if node.is_mapping else "["
    for n, entry in enumerate(node.entries):
        if n:
            yield ", "
        if entry.key:
            yield f"{scalar_text(entry.key, flow=True)}: "
        yield from _flow(entry.value)
    yield "}" if node.is_mapping else "]"


def _scalar(scalar: Scalar, column: int, indent: int) -> tuple[str, list[str]]:
    """What stands on the line of the key from `column` on, and the lines below it without indentation."""
    if scalar.style in ("|", ">") and any(line.strip() for line in scalar.lines):
        first = next(line for line in scalar.lines if line)
        chomp = "-" if not scalar.value.endswith("\n") else "" if scalar.lines[-1] else "+"
        return f"{scalar.style}{'2' if first[0] == ' ' else ''}{chomp}", list(scalar.lines)
    text = scalar_text(scalar)
    if scalar.folded and column + len(text) > WIDTH and not _LINE.search(scalar.value):
        return ">-", textwrap.wrap(
            scalar.value, WIDTH - indent, break_long_words=False, break_on_hyphens=False
        )
    return text, []


def scalar_text(scalar: Scalar, flow: bool = False) -> str:
    """A scalar on one line: plain where every reader takes it for the same, else quoted."""
    value = scalar.value
    if not scalar.style and not is_text(value):
        return value  # numbers keep their spelling
    if not _needs_quotes(value, flow):
        return value
    marks = value.count('"') + value.count("\\")
    if marks > value.count("'") and not _ESCAPED.search(value):
        return "'" + value.replace("'", "''") + "'"
    return '"' + _ESCAPED.sub(_escape, re.sub(r'(["\\])', r"\\\1", value)) + '"'


def _needs_quotes(text: str, flow: bool) -> bool:
    return bool(
        not is_text(text)
        or _FIGURES.fullmatch(text)
        or _NOT_PLAIN.search(text)
        or (flow and _NOT_PLAIN_IN_FLOW.search(text))
        or _ESCAPED.search(text)
        or _means_more_in_yaml_1_1(text)
    )


def _means_more_in_yaml_1_1(text: str) -> bool:
    """Whether a YAML 1.1 reader would take it for a boolean, number, date or merge key (https://yaml.org/type)."""
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers.get(text[:1], ())
    return text in ("y", "Y", "n", "N") or any(pattern.match(text) for _, pattern in resolvers)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in _NAMED:
        return _NAMED[character]
    number = ord(character)
    return (
        f"\\x{number:02x}" if number < 2**8 else f"\\u{number:04x}" if number < 2**16 else f"\\U{number:08x}"
    )
