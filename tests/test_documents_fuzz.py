"""Whatever is written into a file, `validate` gives data or diagnostics, in the right place.

Longer, guided by coverage: benchmarks/fuzz_documents.py.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coherence_ft.authority.validate import validate
from coherence_ft.cli.printing import report
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.reader import Document, JsonPath, Place, parse_yaml

ROOT = Path(__file__).parent.parent
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def _read(text: bytes | str) -> Document | list[Diagnostic]:
    try:
        return parse_yaml(text, "f")
    except CoherenceError as error:
        assert error.diagnostics
        assert all(d.code.startswith("CFT1") and d.message for d in error.diagnostics)
        return list(error.diagnostics)


def _assert_inside(found: Iterator[Diagnostic] | list[Diagnostic], text: str) -> None:
    """Places are within the text, or at its end. Line 0 stands for the whole file."""
    lines = text.removeprefix("\ufeff").split("\n")
    for d in found:
        assert 0 <= d.line <= len(lines), d
        assert not d.line or 1 <= d.column <= len(lines[d.line - 1]) + 1, d


# --- any bytes, any text ---------------------------------------------------------------------------------

# Text from which YAML is made, so that fuzzing gets past the scanner.
_PIECES = st.sampled_from(
    [
        *(
            "a",
            "b:",
            "-",
            ":",
            "?",
            "[",
            "]",
            "{",
            "}",
            ",",
            "&",
            "*",
            "!",
            "|",
            ">",
            "'",
            '"',
            "#",
            "%",
            "@",
        ),
        *("`", "<<", "---", "...", "~", "null", "true", "1", "010", ".nan", "1e999", "é", "\U0001f600", "\t"),
        *("\n", "\n  ", " ", "\n- ", "&x ", "*x", "!!str ", "%YAML 1.1\n", "\ufeff", "\x07", "\r\n", "\x85"),
        *("|-2", "kind: recipe", "\\", "\\u", "\ud800", "\r", "\n\n", ": ", "? ", "- - ", "a: b\n", "{a: [b"),
    ]
)
TEXT = st.lists(_PIECES, max_size=25).map("".join)


@given(st.binary(max_size=300))
@example(b"\xff\xfea\x00:\x00 \x001\x00")
def test_any_bytes_give_data_or_diagnostics(data: bytes) -> None:
    found = _read(data)
    if isinstance(found, list):
        _assert_inside(found, data.decode("utf-8", "replace"))


@settings(max_examples=300)
@given(TEXT)
@example("? &x\n: *x")
@example("*a : *a")
@example("? ? a\n: b")
@example("[a: {b: c}: d]")
def test_any_text_gives_data_or_diagnostics(text: str) -> None:
    found = _read(text)
    if isinstance(found, list):
        _assert_inside(found, text)
    else:
        # What is accepted, PyYAML reads to the same structure; scalars differ by version of the standard.
        composed = yaml.load(text.removeprefix("\ufeff"), Loader=yaml.CBaseLoader)
        assert _shape(found.data) == _shape(composed)


def _shape(data: object) -> object:
    if isinstance(data, dict):
        return {key: _shape(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_shape(value) for value in data]
    return "scalar"


@settings(max_examples=300)
@given(TEXT)
def test_windows_line_ends_change_nothing(text: str) -> None:
    text = text.replace("\r", "")
    unix, windows = _read(text), _read(text.replace("\n", "\r\n"))
    if isinstance(unix, Document) and isinstance(windows, Document):
        assert (unix.data, unix.keys, unix.values) == (windows.data, windows.keys, windows.values)
    else:
        assert unix == windows


# --- documents of which data and places are known --------------------------------------------------------

# YAML does not join two \u escapes to one character as JSON does.
_WORDS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=8)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_WORDS, _JSON, min_size=1, max_size=5))
def test_json_is_read_as_json(data: dict[str, object]) -> None:
    document = parse_yaml(json.dumps(data, ensure_ascii=True), "f")
    assert json.dumps(document.data) == json.dumps(data)
    assert set(document.values) >= {(key,) for key in data}


# Plain scalars on which YAML 1.1, 1.2 and every reader agree, and what they mean.
_PLAIN = {"abc": "abc", "b c": "b c", "é": "é", "1": 1, "-7": -7, "0.5": 0.5, "true": True, "null": None}
_QUOTED = ["", "no", "1", "a: b", "x # y", "- z", "\U0001f600", "it's", 'a "b"', "~", "{", "long " * 9]
_KEYS = ["a", "b", "k-1", "é", "two words", "z9", "\U0001f600k"]


@dataclass
class _Writer:
    """Writes a drawn document in a drawn style and remembers where everything went."""

    draw: Any
    text: str = ""
    keys: dict[JsonPath, Place] = field(default_factory=dict)
    values: dict[JsonPath, Place] = field(default_factory=dict)
    written: dict[Place, str] = field(default_factory=dict)  # how the scalar at a place begins

    @property
    def here(self) -> Place:
        return self.text.count("\n") + 1, len(self.text) - self.text.rfind("\n")

    def one(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def scalar(self, at: JsonPath, *, key: str | None = None, block: bool = False) -> Any:
        (self.values if key is None else self.keys)[at] = self.here
        if key is None and self.one(True, False):
            written, value = self.one(*_PLAIN.items())
        else:
            value = key if key is not None else self.one(*_QUOTED)
            styles = [json.dumps(value, ensure_ascii=False), "'" + value.replace("'", "''") + "'"]
            written = self.one(*styles, *([value] if key is not None else []))
        self.written[self.here] = written
        self.text += written
        return value

    def flow(self, at: JsonPath, depth: int) -> Any:
        kind = self.one("scalar", "list", "mapping") if depth else "scalar"
        if kind == "scalar":
            return self.scalar(at)
        self.values[at] = self.here
        self.text += "[" if kind == "list" else "{"
        made: Any = [] if kind == "list" else {}
        for n, key in enumerate(self.draw(st.lists(st.sampled_from(_KEYS), unique=True, max_size=3))):
            self.text += (self.one(", ", ",  ") if n else "") + self.one("", " ", "\n" + " " * 30)
            if kind == "list":
                made.append(self.flow((*at, n), depth - 1))
            else:
                self.scalar((*at, key), key=key)
                self.text += self.one(": ", ":   ")
                made[key] = self.flow((*at, key), depth - 1)
        self.text += "]" if kind == "list" else "}"
        return made

    def block(self, at: JsonPath, indent: int, depth: int) -> Any:
        """At the place where the first entry begins."""
        self.values[at] = self.here
        kind = self.one("list", "mapping")
        made: Any = [] if kind == "list" else {}
        for n, key in enumerate(
            self.draw(st.lists(st.sampled_from(_KEYS), unique=True, min_size=1, max_size=3))
        ):
            if n:
                self.text += self.one("", "  # note") + "\n" + self.one("", "\n", "# note\n") + " " * indent
            step: JsonPath = (*at, n if kind == "list" else key)
            if kind == "list":
                self.text += "-"
            else:
                self.scalar(step, key=key)
                self.text += ":"
            inner = indent + self.one(1, 2, 4)
            how = self.one("flow", "compact", "below") if depth else "flow"
            if how == "flow" or (how == "compact" and kind == "mapping"):
                self.text += " "
                value = self.flow(step, depth and 1)
            else:
                self.text += " " * (inner - indent - 1) if how == "compact" else "\n" + " " * inner
                if how == "compact" and inner == indent + 1:
                    self.text, inner = self.text + " ", inner + 1
                value = self.block(step, inner, depth - 1)
            if kind == "list":
                made.append(value)
            else:
                made[key] = value
        return made


@st.composite
def documents(draw: Any) -> tuple[_Writer, Any]:
    writer = _Writer(draw, text=draw(st.sampled_from(["", "---\n", "# note\n\n", "\n"])))
    data = writer.block((), 0, 3)
    writer.text += draw(st.sampled_from(["", "\n", "\n\n", "  # end", "\n...\n"]))
    return writer, data


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(documents())
def test_every_place_points_at_the_very_text(made: tuple[_Writer, Any]) -> None:
    writer, data = made
    document = parse_yaml(writer.text, "f")
    assert json.dumps(document.data) == json.dumps(data)
    assert document.keys == writer.keys
    assert document.values == writer.values
    lines = writer.text.split("\n")
    for (line, column), written in writer.written.items():
        assert lines[line - 1][column - 1 :].startswith(written)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(documents())
def test_another_reader_of_yaml_1_2_reads_the_same(made: tuple[_Writer, Any]) -> None:
    ruamel = pytest.importorskip("ruamel.yaml")
    reference = ruamel.YAML(typ="safe", pure=True)  # 1.2 by default
    writer, data = made
    assert reference.load(writer.text) == data == parse_yaml(writer.text, "f").data


# --- real files, changed ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shipped")
    for name in ("recipes", "schema", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("data", "*.py", "*.pem"))
    return folder


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*.yaml") if not p.name.endswith(".schema.yaml"))


def _check(target: Path, text: bytes) -> None:
    """Only diagnostics come out, inside the file where they are about it, and they can be printed."""
    original = target.read_bytes()
    try:
        target.write_bytes(text)
        found = validate([target])
        for form in ("text", "json", "github"):
            report(form, found)
    finally:
        target.write_bytes(original)
    assert all(d.code.startswith("CFT") and d.message for d in found)
    _assert_inside([d for d in found if d.path == str(target)], text.decode("utf-8", "replace"))


@SHARED
@given(st.data())
def test_a_real_file_with_any_bytes_changed(shipped: Path, data: st.DataObject) -> None:
    target = data.draw(st.sampled_from(_files(shipped)))
    text = target.read_bytes()
    start = data.draw(st.integers(0, len(text)))
    stop = min(len(text), start + data.draw(st.integers(0, 40)))
    moved = data.draw(st.sampled_from([b"", text[start:stop] * 2, text[-60:]]) | st.binary(max_size=6))
    _check(target, text[:start] + moved + text[stop:])


# What a value may be replaced by: other types, names that no file can have, places that do not exist.
_STRANGE = [
    *(None, True, 0, -1, 2**63 - 1, 1e308, 0.5, "", " ", "a", [], {}, [[]], [{}], {"": None}, {"a": []}),
    *(
        ["a", "a"],
        [None],
        [1],
        [1, 1],
        "~nobody/a.yaml",
        "\0",
        "a\0b.yaml",
        "n" * 300,
        "n/" * 3000,
        "/",
        ".",
        "..",
    ),
    *(
        "/dev/null",
        "../..",
        "published:",
        "published:../x",
        "published:\0",
        "package:",
        "package:a",
        "hub:",
        "\x1b[2J",
    ),
    *(
        "package:__main__/x.yaml",
        "package:json/../x",
        "package:json/tool.py",
        "derivative:",
        "a==1/b",
        "9999-99-99",
    ),
    *(
        "0001-01-01",
        "é\u202e",
        "\n",
        "{}",
        "set: a",
        "1" * 5000,
        {"a": {"b": {"c": [1, {"d": None}]}}},
        "coherence-ft/v0",
    ),
]


def _paths(data: Any, at: JsonPath = ()) -> Iterator[JsonPath]:
    yield at
    for step, value in (
        data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    ):
        yield from _paths(value, (*at, step))


@settings(SHARED, max_examples=150)
@given(st.data())
def test_a_real_file_with_any_value_replaced(shipped: Path, data: st.DataObject) -> None:
    target = data.draw(st.sampled_from(_files(shipped)))
    changed = copy.deepcopy(parse_yaml(target.read_bytes(), "f").data)
    at = data.draw(st.sampled_from([*_paths(changed)][1:]))
    inner = changed
    for step in at[:-1]:
        inner = inner[step]
    how = data.draw(st.sampled_from(["replace", "remove", "add", "repeat"]))
    strange = data.draw(st.sampled_from(_STRANGE))
    if how == "replace":
        inner[at[-1]] = strange
    elif how == "remove":
        del inner[at[-1]]
    elif isinstance(inner, list):
        inner.append(strange if how == "add" else copy.deepcopy(inner[at[-1]]))
    else:
        inner[strange if isinstance(strange, str) else "new"] = strange if how == "add" else inner[at[-1]]
    _check(target, json.dumps(changed, indent=1).encode())


@given(st.recursive(st.sampled_from(_STRANGE), lambda inner: st.lists(inner, max_size=3), max_leaves=5))
def test_a_schema_or_row_that_is_anything(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name in ("any.schema.yaml", "any.jsonl", "any.yaml"):
        (folder / name).write_text(json.dumps(data))
        assert all(d.code.startswith("CFT") for d in validate([folder / name]))
