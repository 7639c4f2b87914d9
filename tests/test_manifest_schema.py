"""The published schema of the manifest: valid, agreed on by two validators, and without idle fields."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from derivatives import ESTIMATES, TODAY, TOO_RISKY, WAIVER, Signed, signed_derivative

from coherence_ft.cli.show import _clean, _facts
from coherence_ft.documents.codes import catalogue
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.schemas import load_schema
from coherence_ft.manifest.reading import constraints_violations, schema_violations
from coherence_ft.manifest.statement import CONSTRAINTS_FILE, PREDICATE_TYPE, SCHEMA_VERSION
from coherence_ft.manifest.verify import verify


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """With a waiver, so that every field of the schema occurs."""
    estimates = ESTIMATES | {"selective-risk": TOO_RISKY}
    return signed_derivative(tmp_path_factory.mktemp("signed"), waivers=(WAIVER,), estimates=estimates)


def statement_of(signed: Signed) -> Any:
    return json.loads(signed.manifest.read_bytes())


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not inner:
        yield at
    for key, each in inner:
        yield from leaves(each, (*at, key))


def test_the_schema_is_valid_and_both_validators_accept_what_is_written(signed: Signed) -> None:
    schema = load_schema("manifest")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(statement_of(signed), schema)
    assert schema_violations(statement_of(signed), "") == []
    constraints = json.loads((signed.folder / CONSTRAINTS_FILE).read_bytes())
    jsonschema.validate(constraints, {"$defs": schema["$defs"], "$ref": "#/$defs/resolvedConstraints"})
    assert constraints_violations(constraints, "") == []


@pytest.mark.parametrize("junk", [None, 7, "x", [], {}, True, 0.5])
def test_both_validators_refuse_the_same(signed: Signed, junk: Any) -> None:
    reference = jsonschema.Draft202012Validator(load_schema("manifest"))
    for place in leaves(statement_of(signed)):
        document = statement_of(signed)
        inner = document
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = junk
        assert bool(schema_violations(document, "")) != reference.is_valid(document), place


def test_every_field_that_is_required_is_missed(signed: Signed) -> None:
    for place in leaves(statement_of(signed)):
        document = statement_of(signed)
        inner = document
        for key in place[:-1]:
            inner = inner[key]
        # Members of lists and of free mappings may go; everything else is required.
        if isinstance(inner, list) or {"probes", "adapter", "quantization", "derivation"} & set(place[-2:-1]):
            continue
        del inner[place[-1]]
        assert schema_violations(document, ""), place


def test_no_field_name_holds_a_dot_or_a_dollar(signed: Signed) -> None:
    names = {key for place in leaves(statement_of(signed)) for key in place if isinstance(key, str)}
    assert not [name for name in names if re.search(r"[.$]", name)]


def test_every_field_of_the_schema_is_written_and_every_written_one_is_in_the_schema(signed: Signed) -> None:
    schema = load_schema("manifest")

    def fields(node: Any, at: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if not isinstance(node, dict):
            return
        if reference := node.get("$ref"):
            yield from fields(schema["$defs"][reference.rpartition("/")[2]], at)
        for branch in node.get("oneOf", ()):
            yield from fields(branch, at)
        yield from fields(node.get("items"), at)
        for name, inner in node.get("properties", {}).items():
            yield (*at, name)
            yield from fields(inner, (*at, name))

    free = {
        ("predicate", "probes"),
        ("predicate", "method", "adapter"),
        ("predicate", "method", "quantization"),
        ("predicate", "method", "derivation"),
    }
    written = set()
    for place in leaves(statement_of(signed)):
        named = tuple(key for key in place if isinstance(key, str))
        written |= {named[:n] for n in range(1, len(named) + 1) if named[: n - 1] not in free}
    assert written == set(fields(schema, ()))


def test_every_field_is_checked_by_verify_or_shown(signed: Signed, tmp_path: Path) -> None:
    """Change one field at a time under a good key: either it is refused, or `show` prints the change."""
    statement = statement_of(signed)
    shown_before = shown(statement)
    for place in leaves(statement):
        if place[0] != "predicate":
            continue
        changed = statement_of(signed)
        inner = changed
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = other_than(inner[place[-1]])
        assert shown(changed) != shown_before or refused(signed, statement, changed), place


def other_than(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return True if value is None else not value
    if isinstance(value, int):
        return value + 1
    if re.fullmatch(r"[0-9a-f]{64}", value):
        return "9" * 64
    if re.fullmatch(r"[0-9.]+", value):
        return value + "1"
    if re.match(r"\d{4}-\d\d-\d\dT", value):
        return "2020-01-01T00:00:00Z"
    return value + "x"


def shown(statement: Any) -> str:
    from rich.console import Console

    console = Console(width=400, record=True, quiet=True)
    try:
        table = _facts(_clean(statement), "0" * 64)
    except (TypeError, ValueError, KeyError):
        return ""  # a value of a kind that the schema refuses before anything is shown
    with console.capture() as capture:
        console.quiet = False
        console.print(table)
    return capture.get()


def refused(signed: Signed, before: Any, changed: Any) -> bool:
    signed.resign(lambda m: m.update(changed))
    try:
        verify(signed.folder, signed.tenant, today=TODAY)
    except CoherenceError:
        return True
    finally:
        signed.resign(lambda m: m.update(before))
    return False


def test_every_code_is_used_and_every_used_code_is_described() -> None:
    package = Path(__file__).parent.parent / "coherence_ft"
    sources = "".join(path.read_text() for path in package.rglob("*.py") if path.parent.name != "codes")
    used = set(re.findall(r'"(CFT6\d\d)"', sources))
    assert used == {code for code in catalogue() if code.startswith("CFT6")}


def test_the_page_explains_every_field_of_the_predicate() -> None:
    page = (Path(__file__).parent.parent / "docs" / "manifest.md").read_text(encoding="utf-8")
    rows = page.partition("## Fields of the predicate")[2].partition("\n## ")[0]
    first = [row.split("|")[1] for row in rows.splitlines() if row.startswith("| `")]
    explained = {name for cell in first for name in re.findall(r"`(\w+)`", cell)}
    assert explained == load_schema("manifest")["$defs"]["predicate"]["properties"].keys()
    assert SCHEMA_VERSION in page and PREDICATE_TYPE in page
