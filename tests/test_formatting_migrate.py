"""`coherence-ft migrate`: version 0 in terms of version 1 with its comments, meaning the same, or refused."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referencing import Registry, Resource

from coherence_ft.cli import main
from coherence_ft.documents.constraint_reader import parse_constraints
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.metrics import METRICS
from coherence_ft.documents.reader import parse_yaml
from coherence_ft.documents.schemas import (
    API_VERSION,
    VERSIONS,
    load_schema,
    problems,
    schema_root,
    validator,
)
from coherence_ft.formatting import migrate
from coherence_ft.formatting.draft import Draft
from coherence_ft.formatting.format import format_text, scalar_text
from coherence_ft.formatting.migrate import MIGRATIONS, migrate_text
from coherence_ft.formatting.tree import Scalar, comments
from coherence_ft.formatting.version_0 import FROM_VERSION_0

CASES = Path(__file__).parent / "golden" / "migrate"
RIGHT = [name for name in sorted(p.name for p in CASES.iterdir()) if not name.startswith("refused")]


@pytest.mark.parametrize("case", sorted(p.name for p in CASES.iterdir()))
def test_golden(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed and what stands in the file afterwards. COHERENCE_FT_UPDATE_GOLDEN=1 writes both."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(CASES / case / "input.yaml", "input.yaml")
    code = main._run(["migrate", "input.yaml"])
    printed = capsys.readouterr()
    assert code == (1 if case.startswith("refused") else 0)
    assert bool(printed.err) == bool(code)
    found = {"output.yaml": Path("input.yaml").read_text("utf-8"), "expected.txt": printed.out + printed.err}
    if code:
        assert found.pop("output.yaml") == (CASES / case / "input.yaml").read_text("utf-8")
    for file, text in found.items():
        if os.environ.get("COHERENCE_FT_UPDATE_GOLDEN"):
            (CASES / case / file).write_text(text, encoding="utf-8")
        assert text == (CASES / case / file).read_text("utf-8")


@pytest.mark.parametrize("case", RIGHT)
def test_the_result_is_right_formatted_and_final(case: str) -> None:
    before = (CASES / case / "input.yaml").read_text("utf-8")
    after = migrate_text(before, "input.yaml").text
    document = parse_yaml(after, "input.yaml")
    assert document.data["apiVersion"] == API_VERSION
    assert problems(document.data["kind"], document) == []
    assert format_text(after, "input.yaml") == after
    assert migrate_text(after, "input.yaml") == migrate.Migrated(after)
    kept = [text.replace("schema/v0/", "schema/v1/") for text in comments(before)]
    assert Counter(comments(after)) == Counter(kept)


def test_the_goldens_use_every_key_of_version_0() -> None:
    """So that each is translated or refused in some golden, and none is forgotten."""
    texts = "".join(path.read_text("utf-8") for path in CASES.glob("*/input.yaml"))
    for kind in FROM_VERSION_0:
        for key in _keys(load_schema(kind, "v0")):
            assert re.search(rf"\b{key}:", texts), f"{kind}: {key}"


def _keys(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(_keys, schema))
    if not isinstance(schema, dict):
        return set()
    own = set(schema.get("properties", ()))
    return own.union(*(_keys(inner) for key, inner in schema.items() if key not in ("enum", "required")))


def test_the_schemas_of_version_0_are_valid_and_closed() -> None:
    shared = load_schema("constraint-set", "v0")
    for kind in FROM_VERSION_0:
        schema = load_schema(kind, "v0")
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["$id"].endswith(f"/schema/v0/{kind}.schema.yaml")
        reference = jsonschema.Draft202012Validator(
            schema, registry=Registry().with_resource(shared["$id"], Resource.from_contents(shared))
        )
        for case in CASES.iterdir():
            data = parse_yaml((case / "input.yaml").read_text("utf-8"), "f").data
            assert reference.is_valid(data) == validator(kind, "v0").is_valid(data)


def test_migrations_lead_from_each_version_to_the_next() -> None:
    assert [(m.before, m.after) for m in MIGRATIONS] == list(pairwise(VERSIONS))
    for migration in MIGRATIONS:
        schemas = (schema_root() / migration.before).glob("*.schema.yaml")
        assert migration.translate.keys() == {path.name.removesuffix(".schema.yaml") for path in schemas}


# --- the meaning ------------------------------------------------------------------------------------------

_IDS = st.from_regex(r"[a-z0-9]{1,6}([._-][a-z0-9]{1,4}){0,2}", fullmatch=True)
_TEXT = st.text(min_size=1, max_size=30).filter(lambda text: re.search(r"\S", text))


@st.composite
def old_constraints(draw: st.DrawFn) -> dict[str, Any]:
    metric = draw(st.sampled_from([m for m in METRICS if m in _V0_METRICS]))
    constraint: dict[str, Any] = {
        "metric": metric,
        "threshold": draw(st.sampled_from([0, 1, 0.5, 0.05, 0.123456789])),
        "direction": {"at_most": "max", "at_least": "min"}[METRICS[metric].direction],
        "confidence": draw(st.sampled_from([50, 90, 95, 95.0, 97.5, 99.9, 99.99]) | st.floats(50, 99.9)),
        "min_samples": draw(st.integers(1, 10**6)),
        "rationale": draw(_TEXT),
    }
    optional = {
        "blocking": st.booleans(),
        "owner": _IDS,
        "final": st.booleans(),
        "waivable_to": st.floats(0, 1),
    }
    for key, values in optional.items():
        if draw(st.booleans()):
            constraint[key] = draw(values)
    return dict(draw(st.permutations(list(constraint.items()))))


_V0_METRICS = load_schema("constraint-set", "v0")["$defs"]["constraint"]["properties"]["metric"]["enum"]


@st.composite
def old_sets(draw: st.DrawFn) -> tuple[dict[str, dict[str, Any]], str]:
    """Constraints by id, and a document that holds them in some style."""
    constraints = draw(st.dictionaries(_IDS, old_constraints(), min_size=1, max_size=4))
    lines = [
        "# header",
        "apiVersion: coherence-ft/v0",
        "kind: constraint-set",
        "name: x",
        "title: X",
        "constraints:",
    ]
    for id, constraint in constraints.items():
        key = scalar_text(Scalar(id, '"'))
        pairs = [f"{name}: {_written(value)}" for name, value in constraint.items()]
        if draw(st.booleans()):
            lines += ["  # about it", f"  {key}: {{{', '.join(pairs)}}}  # behind it"]
        else:
            lines += [f"  {key}:  # behind it", *(f"    {pair}  # and it" for pair in pairs), ""]
    return constraints, "\n".join(lines)


def _written(value: Any) -> str:
    if isinstance(value, str):
        return scalar_text(Scalar(value, '"'), flow=True)
    return str(value).lower()


@settings(max_examples=100)
@given(old_sets())
def test_a_migrated_set_means_the_same(given_set: tuple[dict[str, dict[str, Any]], str]) -> None:
    constraints, text = given_set
    migrated = migrate_text(text, "f")
    document = parse_yaml(migrated.text, "f")
    assert problems("constraint-set", document) == []
    found, _ = parse_constraints(document, ("constraints",))
    assert [constraint.id for constraint in found] == list(constraints)
    for new, old in zip(found, constraints.values(), strict=True):
        assert new.metric == old["metric"]
        assert new.bound == old["threshold"]
        assert new.direction == {"max": "at_most", "min": "at_least"}[old["direction"]]
        assert new.confidence == float(Decimal(str(old["confidence"])) / 100)
        assert new.minimum_evidence == old["min_samples"]
        assert new.enforcement == ("hard" if old.get("blocking", True) else "report")
        assert new.owner == old.get("owner", "adopter")
        assert new.reason == old["rationale"]
        assert new.locked == old.get("final", False)
        assert new.waiver_floor == old.get("waivable_to")
    assert Counter(comments(migrated.text)) == Counter(comments(text))


@given(st.dates(min_value=date(1, 1, 2)))
def test_a_waiver_ends_on_the_same_day(first: date) -> None:
    """Version 0 names the first day out of force, version 1 the last one in force."""
    text = (CASES / "tenant" / "input.yaml").read_text("utf-8").replace("2028-03-01", first.isoformat())
    waiver = parse_yaml(migrate_text(text, "f").text, "f").data["waivers"][0]
    assert date.fromisoformat(waiver["expires"]) + timedelta(days=1) == first


@pytest.mark.parametrize("key", ["confidence", "min_samples", "rationale"])
def test_what_a_person_must_decide_is_never_made_up(key: str) -> None:
    text = (CASES / "constraint-set" / "input.yaml").read_text("utf-8")
    with pytest.raises(CoherenceError) as caught:
        migrate_text(re.sub(rf", {key}: [^,}}]+", "", text), "f")
    assert [(d.code, d.line) for d in caught.value.diagnostics] == [("CFT221", 46), ("CFT221", 50)]
    assert all(f"`{key}`" in d.message for d in caught.value.diagnostics)


def test_version_0_is_checked_by_its_own_schema_first() -> None:
    text = (CASES / "constraint-set" / "input.yaml").read_text("utf-8")
    wrong = text.replace("name: clinical", "name: Clinical").replace(
        "confidence: 95  #", "confidence: 0.95  #"
    )
    with pytest.raises(CoherenceError) as caught:
        migrate_text(wrong.replace("blocking: true", "blokcing: true"), "f")
    found = [(d.code, d.line, d.column) for d in caught.value.diagnostics]
    assert found == [("CFT207", 6, 7), ("CFT206", 19, 17), ("CFT202", 21, 5)]


# --- the command ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(CASES / "recipe-full" / "input.yaml", "old.yaml")
    shutil.copy(CASES / "recipe-full" / "output.yaml", "new.yaml")
    return tmp_path


def test_check_writes_nothing_and_a_new_file_stays_as_it_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "old.yaml").read_text()
    assert main._run(["migrate", "--check", "."]) == 1
    assert capsys.readouterr().out.startswith("would be migrated: old.yaml\n  line 1: ")
    assert main._run(["migrate", "--diff", "."]) == 1
    assert "+apiVersion: coherence-ft/v1\n" in capsys.readouterr().out
    assert (folder / "old.yaml").read_text() == before
    (folder / "new.yaml").write_text("kind:   tenant\napiVersion: coherence-ft/v1")
    assert main._run(["migrate", "new.yaml"]) == 0
    assert capsys.readouterr().out == "nothing to do in 1 file\n"
    assert (folder / "new.yaml").read_text() == "kind:   tenant\napiVersion: coherence-ft/v1"
    assert main._run(["migrate", "."]) == 0
    assert main._run(["migrate", "."]) == 0


@pytest.mark.parametrize("command", ["migrate", "fmt", "validate"])
def test_an_unknown_version_is_refused(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "apiVersion: coherence-ft/v9\nkind: tenant\n"
    (folder / "next.yaml").write_text(text)
    assert main._run([command, "next.yaml"]) == 1
    printed = capsys.readouterr()
    assert "CFT201" in printed.out + printed.err
    assert (folder / "next.yaml").read_text() == text


@pytest.mark.parametrize("text", ["kind: x\napiVersion: coherence-ft/v0", "- a", "a: 1", "kind: tenant"])
def test_what_is_no_document_is_refused(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "x.yaml").write_text(text)
    assert main._run(["migrate", "x.yaml"]) == 1
    assert "CFT201" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate", "fmt"])
def test_other_commands_say_how_to_migrate(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main._run([command, "old.yaml"]) == 1
    printed = capsys.readouterr()
    assert re.search(r"help: run `coherence-ft migrate \S*old.yaml`", printed.out + printed.err)


def test_a_defect_in_a_translation_cannot_change_a_document(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def careless(draft: Draft) -> None:
        del draft.root.entries[3:]

    wrong = migrate.Migration("v0", "v1", dict.fromkeys(FROM_VERSION_0, careless))
    monkeypatch.setattr(migrate, "MIGRATIONS", (wrong,))
    before = (folder / "old.yaml").read_text()
    assert main._run(["migrate", "old.yaml"]) == 1
    assert "CFT133" in capsys.readouterr().err
    assert (folder / "old.yaml").read_text() == before
