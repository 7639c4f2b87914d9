"""Reading YAML: core scalars, places, and nothing but diagnostics for whatever bytes come."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.reader import MAX_BYTES, MAX_DEPTH, MAX_EVENTS, Document, parse_yaml, read_yaml

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
    ]
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("1e3", 1000.0),
        ("12:30:45", "12:30:45"),
        ("2027-01-31", "2027-01-31"),
        ("1_000", "1_000"),
        ("0x1F", 31),
        ("0o17", 15),
        ("+5", 5),
        ("-0", 0),
        (".5", 0.5),
        ("5.", 5.0),
        ("True", True),
        ("FALSE", False),
        ("~", None),
        ("Null", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("=", "="),
        ("0", 0),
        ("0.5", 0.5),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    read = parse_yaml(f"k: {text}", "f").data["k"]
    assert read == value
    assert type(read) is type(value)


def test_places_of_keys_and_values() -> None:
    document = parse_yaml("é: \U0001f600\na:\n  - {b: 'x', c: [1, 2]}\n", "f")
    assert document.place(("é",), key=True) == (1, 1)
    assert document.place(("é",)) == (1, 4)
    assert document.place(("a", 0)) == (3, 5)
    assert document.place(("a", 0, "c"), key=True) == (3, 14)
    assert document.place(("a", 0, "c", 1)) == (3, 21)
    assert document.place(("a", 0, "missing")) == (3, 5), "the nearest thing around it"


def test_every_hazard_is_reported_in_one_pass() -> None:
    with pytest.raises(CoherenceError) as caught:
        parse_yaml("a: &x 1\na: *x\n2: !!int 3\nb: {<<: {}}\nc: .nan\n", "f")
    assert [d.code for d in caught.value.diagnostics] == [
        *("CFT105", "CFT108", "CFT105", "CFT109", "CFT106", "CFT107", "CFT112")
    ]


def test_first_of_two_equal_keys_keeps_its_place() -> None:
    with pytest.raises(CoherenceError) as caught:
        parse_yaml("a: 1\nb: 2\na: {c: .nan}\n", "f")
    assert [(d.code, d.line) for d in caught.value.diagnostics] == [("CFT108", 3), ("CFT112", 3)]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        "{a: " * 200_000,
        "- " * 100_000,
        "? " * 100_000,
        "a:\n" + "\n".join(f"- {n}" for n in range(MAX_EVENTS)),
    ],
    ids=["flow lists", "flow maps", "block lists", "keys", "many events"],
)
def test_large_and_deep_documents_are_refused_by_their_limits(text: str) -> None:
    with pytest.raises(CoherenceError) as caught:
        parse_yaml(text, "f")
    assert caught.value.codes[-1] == "CFT104"
    assert len(caught.value.codes) <= MAX_DEPTH + 1


def test_depth_up_to_the_limit_is_read() -> None:
    data = parse_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH, "f").data
    for _ in range(MAX_DEPTH - 1):
        data = data[0]
    assert data == []


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    codes = []
    for name in (tmp_path / "missing.yaml", tmp_path, tmp_path / "large.yaml", "nul\0.yaml"):
        with pytest.raises(CoherenceError) as caught:
            read_yaml(name)
        codes += caught.value.codes
    assert codes == ["CFT101", "CFT101", "CFT104", "CFT101"]


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    document = read_yaml(tmp_path / "f.yaml")
    assert document.data == {"a": 1, "b": 2}
    assert document.place(("b",), key=True) == (2, 1)


def _read(text: bytes | str) -> Document | None:
    try:
        return parse_yaml(text, "f")
    except CoherenceError as error:
        assert all(d.code.startswith("CFT1") and d.message for d in error.diagnostics)
        return None


@given(st.binary(max_size=300))
@example(b"\xff\xfea\x00:\x00 \x001\x00")
def test_any_bytes_give_data_or_diagnostics(data: bytes) -> None:
    _read(data)


@given(st.lists(_PIECES, max_size=25).map("".join))
@example("? &x\n: *x")
@example("*a : *a")
@example("? ? a\n: b")
@example("[a: {b: c}: d]")
def test_any_text_gives_data_or_diagnostics(text: str) -> None:
    document = _read(text)
    if document is not None:
        # What is accepted, PyYAML reads to the same structure; scalars differ by version of the standard.
        composed = yaml.load(text.removeprefix("\ufeff"), Loader=yaml.CBaseLoader)
        assert _shape(document.data) == _shape(composed)


def _shape(data: object) -> object:
    if isinstance(data, dict):
        return {key: _shape(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_shape(value) for value in data]
    return "scalar"


# YAML does not join two \\u escapes to one character as JSON does.
_TEXT = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=8)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_TEXT, _JSON, min_size=1, max_size=5))
def test_json_is_read_as_json(data: dict[str, object]) -> None:
    import json

    text = json.dumps(data, ensure_ascii=True)
    document = parse_yaml(text, "f")
    assert json.dumps(document.data) == json.dumps(data)
    assert set(document.values) >= {(key,) for key in data}
