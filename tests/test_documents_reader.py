"""Reading YAML: scalars, places, limits, and a code for every hazard. Fuzzing: test_documents_fuzz.py."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from coherence_ft.documents.diagnostics import MAX_SHOWN, CoherenceError
from coherence_ft.documents.limits import DEFAULT, Limits, limits, reading_limits
from coherence_ft.documents.reader import parse_yaml, read_yaml
from coherence_ft.documents.scalars import is_text

MIB = 2**20


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
        ("-0x1F", "-0x1F"),
        ("+5", 5),
        ("-0", 0),
        (".5", 0.5),
        ("5.", 5.0),
        (".", "."),
        ("True", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("~", None),
        ("Null", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("=", "="),
        ("0", 0),
        ("0.5", 0.5),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("0o777777777777777777777", 2**63 - 1),
        ("0x7fffffffffffffff", 2**63 - 1),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    read = parse_yaml(f"k: {text}", "f").data["k"]
    assert read == value
    assert type(read) is type(value)
    if text[0] not in "'\"":
        assert is_text(text) is isinstance(value, str)


def test_places_of_keys_and_values() -> None:
    document = parse_yaml("é: \U0001f600\na:\n  - {b: 'x', c: [1, 2]}\n", "f")
    assert document.place(("é",), key=True) == (1, 1)
    assert document.place(("é",)) == (1, 4)
    assert document.place(("a", 0)) == (3, 5)
    assert document.place(("a", 0, "c"), key=True) == (3, 14)
    assert document.place(("a", 0, "c", 1)) == (3, 21)
    assert document.place(("a", 0, "missing")) == (3, 5), "the nearest thing around it"


# Each hazard in each of its spellings: text, code, line, column.
HAZARDS = {
    "anchor": ("a: &x 1", "CFT105", 1, 4),
    "anchor on a list": ("a: &x [1]", "CFT105", 1, 4),
    "anchor on a key": ("&x a: 1", "CFT105", 1, 1),
    "alias": ("a: *x", "CFT105", 1, 4),
    "alias as a key": ("*x : 1", "CFT105", 1, 1),
    "tag": ("a: !!int 3", "CFT106", 1, 4),
    "tag that runs code": ("a: !!python/object/apply:os.system [ls]", "CFT106", 1, 4),
    "non-specific tag": ("a: ! b", "CFT106", 1, 4),
    "verbatim tag": ("a: !<x> b", "CFT106", 1, 4),
    "YAML directive": ("%YAML 1.2\n---\na: 1", "CFT106", 1, 1),
    "TAG directive": ("%TAG ! tag:x,2000:\n---\na: 1", "CFT106", 1, 1),
    "unknown directive": ("%FOO x\n---\na: 1", "CFT103", 1, 5),
    "version to come": ("%YAML 3.0\n---\na: 1", "CFT103", 1, 1),
    "merge key": ("a: {<<: {b: 1}}", "CFT107", 1, 5),
    "duplicate key": ("a: 1\nb: 2\na: 3", "CFT108", 3, 1),
    "duplicate key in another style": ("{a: 1, 'a': 2}", "CFT108", 1, 8),
    "duplicate key by an escape": ('{a: 1, "\\x61": 2}', "CFT108", 1, 8),
    "number as a key": ("1: a", "CFT109", 1, 1),
    "boolean as a key": ("true: a", "CFT109", 1, 1),
    "nothing as a key": ("{? : a}", "CFT109", 1, 4),
    "list as a key": ("? [a]\n: b", "CFT109", 1, 3),
    "mapping as a key": ("{{a: b}: c}", "CFT109", 1, 2),
    "two documents": ("a: 1\n---\nb: 2", "CFT110", 2, 1),
    "document after an end": ("a: 1\n...\n---\nb: 2", "CFT110", 3, 1),
    "nothing": ("", "CFT111", 1, 1),
    "only a comment": ("# a: 1\n", "CFT111", 1, 1),
    "null": ("null", "CFT111", 1, 1),
    "NaN": ("a: .nan", "CFT112", 1, 4),
    "infinity": ("a: -.INF", "CFT112", 1, 4),
    "float beyond range": ("a: 1e999", "CFT112", 1, 4),
    "leading zero": ("a: 010", "CFT113", 1, 4),
    "leading zero of a fraction": ("a: -00.5", "CFT113", 1, 4),
    "beyond 64 bits": ("a: 9223372036854775808", "CFT113", 1, 4),
    "beyond 64 bits in hexadecimal": ("a: 0xffffffffffffffff", "CFT113", 1, 4),
    "an integer of 10,000 digits": ("a: " + "9" * 10_000, "CFT113", 1, 4),
    "tab as indentation": ("a:\n\tb: 1", "CFT103", 2, 1),
    "NUL": ("a: b\0", "CFT102", 1, 5),
    "escape character": ("a: 1\nb: \x1b[2J", "CFT102", 2, 4),
    "delete": ("a: \x7f", "CFT102", 1, 4),
    "C1 control": ("a: \x9b2J", "CFT102", 1, 4),
    "no character": ("a: \ufffe", "CFT102", 1, 4),
    "surrogate": ("a: x\ud800", "CFT102", 1, 5),
    "surrogate by an escape": ('a: "\\ud800"', "CFT103", 1, 7),
    "carriage return alone": ("# a\rb: 1", "CFT114", 1, 4),
    "next line": ("# a\x85b: 1", "CFT114", 1, 4),
    "line separator": ("a: 1\n# \u2028b: 2", "CFT114", 2, 3),
    "paragraph separator": ("# \u2029b: 1", "CFT114", 1, 3),
    "byte order mark inside": ("a: 1\n\ufeffa: 2", "CFT114", 2, 1),
    "key of more than 1,024 characters": ("a: 1\n" + "k" * 1025 + ": 1", "CFT103", 2, 1),
    "41 levels": ("[" * 41 + "]" * 41, "CFT104", 1, 41),
}


@pytest.mark.parametrize("name", HAZARDS)
def test_every_hazard_has_a_code_and_a_place(name: str) -> None:
    text, code, line, column = HAZARDS[name]
    with pytest.raises(CoherenceError) as caught:
        parse_yaml(text, "f")
    (found,) = caught.value.diagnostics
    assert (found.code, found.line) == (code, line)
    if code != "CFT103":  # where a slip is mended: test_documents_malformed.py
        assert found.column == column


@pytest.mark.parametrize(
    ("data", "column"),
    [(b"a: \xe4", 4), (b"\xff\xfea\0", 1), (b"a: \xc3", 4), (b"\xef\xbb\xbfa: \xed\xa0\x80", 4)],
)
def test_bytes_that_are_not_utf_8(data: bytes, column: int) -> None:
    with pytest.raises(CoherenceError) as caught:
        parse_yaml(data, "f")
    (found,) = caught.value.diagnostics
    assert (found.code, found.line, found.column) == ("CFT102", 1, column)


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
    assert "line 1" in caught.value.diagnostics[0].help


def test_of_very_many_problems_the_first_are_shown_and_the_others_counted() -> None:
    with pytest.raises(CoherenceError) as caught:
        parse_yaml("\n".join(f"- &a{n} 1" for n in range(MAX_SHOWN + 7)), "f")
    *shown, more = caught.value.diagnostics
    assert [d.line for d in shown] == [*range(1, MAX_SHOWN + 1)]
    assert (more.code, more.message[:7]) == ("CFT449", "7 more ")


def test_what_a_message_repeats_is_short() -> None:
    for text in (f"? {'k' * 5000}\n: 1\n? {'k' * 5000}\n: 2", f"a: 0{'1' * 5000}", f"a: !{'x' * 900} b"):
        with pytest.raises(CoherenceError) as caught:
            parse_yaml(text, "f")
        assert len(str(caught.value)) < 500


def test_depth_up_to_the_limit_is_read() -> None:
    data = parse_yaml("[" * DEFAULT.depth + "]" * DEFAULT.depth, "f").data
    for _ in range(DEFAULT.depth - 1):
        data = data[0]
    assert data == []


@pytest.mark.parametrize(
    ("name", "wanted", "text", "said"),
    [
        ("depth", Limits(depth=2), "a: {b: {c: 1}}", "at most 2 levels"),
        ("events", Limits(events=6), "[1, 2, 3, 4]", "at most 6 parts"),
        ("bytes", Limits(bytes=4), "a: 12", "at most 4 bytes"),
    ],
)
def test_limits_can_be_set_and_are_named_when_they_are_broken(
    tmp_path: Path, name: str, wanted: Limits, text: str, said: str
) -> None:
    (tmp_path / "f.yaml").write_text(text)
    with reading_limits(wanted), pytest.raises(CoherenceError) as caught:
        read_yaml(tmp_path / "f.yaml")
    (found,) = caught.value.diagnostics
    assert (found.code, found.expected) == ("CFT104", said)
    assert f"`{name}` under [tool.coherence-ft.limits]" in found.help
    assert limits() == DEFAULT
    assert read_yaml(tmp_path / "f.yaml").data


def test_the_published_schemas_are_read_whatever_the_limits_of_the_project() -> None:
    from coherence_ft.documents.schemas import load_schema

    load_schema.cache_clear()
    with reading_limits(Limits(bytes=10, depth=1, events=1)):
        assert load_schema("tenant")["$id"]


@pytest.mark.parametrize(
    "wrong", [{"bytes": 0}, {"depth": -1}, {"events": True}, {"depth": 201}, {"bytes": 1.5}]
)
def test_limits_that_limit_nothing_or_forbid_everything(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"at (least 1|most 200)"):
        Limits(**wrong)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_bytes(b"#" * (DEFAULT.bytes + 1))
    (tmp_path / "full.yaml").write_bytes(b"a: 1\n" + b"#" * (DEFAULT.bytes - 5))
    assert read_yaml(tmp_path / "full.yaml").data == {"a": 1}
    codes = []
    for name in (tmp_path / "missing.yaml", tmp_path, tmp_path / "large.yaml", "nul\0.yaml"):
        with pytest.raises(CoherenceError) as caught:
            read_yaml(name)
        codes += caught.value.codes
    assert codes == ["CFT101", "CFT101", "CFT104", "CFT101"]


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: |\r\n  x\r\n  y\r\n")
    document = read_yaml(tmp_path / "f.yaml")
    assert document.data == {"a": 1, "b": "x\ny\n"}
    assert document.place(("b",), key=True) == (2, 1)


def _laughs(levels: int) -> str:
    lines = ["l0: &l0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


_HEAD = "apiVersion: coherence-ft/v1\nkind: constraint-set\nid: a\ntitle: a\n"
# Made to expand, to nest, to be large, or to be slow to explain: text and code.
HOSTILE: dict[str, tuple[Callable[[], str], str]] = {
    "billion laughs": (lambda: _laughs(12), "CFT105"),
    "merging": (lambda: "a: &a {b: 1}\n" + "".join(f"k{n}: {{<<: *a}}\n" for n in range(9999)), "CFT107"),
    "flow lists": (lambda: "[" * 100_000, "CFT104"),
    "flow lists, closed": (lambda: "[" * 100_000 + "]" * 100_000, "CFT104"),
    "flow mappings": (lambda: "{a: " * 100_000, "CFT104"),
    "flow keys": (lambda: "{? " * 100_000, "CFT104"),
    "block lists": (lambda: "- " * 100_000, "CFT104"),
    "block keys": (lambda: "? " * 100_000, "CFT104"),
    "block mappings": (lambda: "\n".join(" " * n + "a:" for n in range(1400)), "CFT104"),
    "many parts": (lambda: "[" + "1," * 120_000 + "]", "CFT104"),
    "empty parts": (lambda: "-\n" * 120_000, "CFT104"),
    "50 MB, one scalar": (lambda: "a: " + "x" * (50 * MIB), "CFT104"),
    "50 MB, one key": (lambda: "k" * (50 * MIB) + ": 1", "CFT104"),
    "50 MB, many keys": (lambda: "".join(f"{n:07}: 1\n" for n in range(10**5)) * 48, "CFT104"),
    "50 MB, one line": (lambda: "[" + "1, " * (17 * MIB) + "1]", "CFT104"),
    "50 MB, comments": (lambda: "#\n" * (25 * MIB), "CFT104"),
    "1 MiB, one scalar": (lambda: "kind: " + "x" * (MIB - 99), "CFT201"),
    "1 MiB, one key": (lambda: "k" * (MIB - 99) + ": 1", "CFT103"),
    "1 MiB, one explicit key": (lambda: _HEAD + "? " + "k" * (MIB - 999) + "\n: 1", "CFT202"),
    "1 MiB, unknown keys": (lambda: _HEAD + "".join(f"key{n}: 1\n" for n in range(45_000)), "CFT202"),
    "1 MiB, comments": (lambda: "#\n" * (MIB // 2 - 1), "CFT111"),
    "1 MiB, a scalar without end": (lambda: 'a: "' + "\\n" * (MIB // 2 - 99), "CFT103"),
    "1 MiB, an integer": (lambda: "a: 1" + "0" * (MIB - 99), "CFT113"),
    "1 MiB, almost a number": (lambda: "a: 1." + "0" * (MIB - 99) + "e", "CFT201"),
    "1 MiB, anchors": (lambda: "a:\n" + "".join(f"- &{n} 1\n" for n in range(80_000)), "CFT105"),
    "1 MiB, equal keys": (lambda: "a: 1\n" * 49_000, "CFT108"),
    "1 MiB, wrong entries": (lambda: _HEAD + f"constraints: [{'1, ' * 49_000}]", "CFT204"),
}

_CHILD = f"""
    import json, re, resource, sys
    resource.setrlimit(resource.RLIMIT_AS, ({640 * MIB}, {640 * MIB}))
    from coherence_ft.authority.validate import validate
    print(json.dumps([[d.code for d in validate([path])] for path in sys.argv[1:]]))
    # ru_maxrss would count the test process that forked this one; VmHWM begins with the program.
    print(1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_hostile_files_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    """In one other process: a crash cannot take the tests with it, and memory that is kept adds up."""
    for number, (make, _) in enumerate(HOSTILE.values()):
        (tmp_path / f"{number}.yaml").write_text(make())
    files = [str(tmp_path / f"{number}.yaml") for number in range(len(HOSTILE))]
    child = [sys.executable, "-c", textwrap.dedent(_CHILD), *files]
    done = subprocess.run(child, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    codes, peak = done.stdout.splitlines()
    found = dict(zip(HOSTILE, json.loads(codes), strict=True))
    assert {name: code for name, (_, code) in HOSTILE.items() if code not in found[name]} == {}
    assert max(map(len, found.values())) <= MAX_SHOWN + 1
    assert int(peak) < 320 * MIB
    for file in files:
        Path(file).unlink()


def test_parser_is_asked_for_no_more_than_the_limit() -> None:
    """PyYAML's composer takes 100,000 levels as far as a crash; its parser makes one event at a time."""
    taken = 0
    for taken, event in enumerate(yaml.parse("[" * 100_000, Loader=yaml.CSafeLoader)):
        assert event
        if taken > DEFAULT.depth:
            break
    assert taken == DEFAULT.depth + 1
