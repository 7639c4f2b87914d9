"""What is generated from the schemas: right, up to date, and of the same opinion as the schemas."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from referencing import Registry, Resource

from coherence_ft.documents import publish
from coherence_ft.documents.codes import REPOSITORY
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.reader import read_yaml
from coherence_ft.documents.schemas import KINDS, load_schema, schema_root

ROOT = Path(__file__).parent.parent
COMMAND = "run: python -m coherence_ft.documents.publish"
SHIPPED = sorted(
    path
    for folder in ("recipes", "schema/domains", "examples")
    for path in (ROOT / folder).rglob("*.y*ml")
    if "data" not in path.relative_to(ROOT).parts
)
GOLDEN = sorted((ROOT / "tests" / "golden").rglob("*.yaml"))


def _documents() -> list[tuple[str, str, Any]]:
    """Every right and wrong document that can be read: its path, its kind, its data."""
    found = []
    for path in [*SHIPPED, *GOLDEN]:
        try:
            data = read_yaml(path).data
        except CoherenceError:
            continue
        kind = data.get("kind") if isinstance(data, dict) else None
        for each in [kind] if kind in KINDS else KINDS:
            found.append((str(path.relative_to(ROOT)), each, data))
    for path in sorted((ROOT / "tests" / "golden").rglob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                found.append((str(path.relative_to(ROOT)), "probe-set", json.loads(line)))
            except ValueError:
                continue
    return found


DOCUMENTS = _documents()


def _validators(name: str) -> tuple[Any, Any]:
    everything = [Resource.from_contents(load_schema(each)) for each in publish.names()]
    registry: Any = Registry().with_resources((r.id() or "", r) for r in everything)
    new, old = jsonschema.Draft202012Validator, jsonschema.Draft7Validator
    return (
        new(load_schema(name), registry=registry, format_checker=new.FORMAT_CHECKER),
        old(publish.draft07(name), format_checker=old.FORMAT_CHECKER),
    )


VALIDATORS = {name: _validators(name) for name in publish.names()}


@pytest.mark.parametrize("relative", publish.published())
def test_generated_files_are_up_to_date(relative: str) -> None:
    path = ROOT / relative
    assert path.is_file() and path.read_text(encoding="utf-8") == publish.published()[relative], COMMAND


def test_nothing_else_lies_among_the_generated_files() -> None:
    lying = {str(p.relative_to(ROOT)) for p in (schema_root() / "v1" / "draft-07").iterdir()}
    assert lying == {name for name in publish.published() if "draft-07" in name}, COMMAND


@pytest.mark.parametrize("name", publish.names())
def test_conversion_is_valid_and_stands_alone(name: str) -> None:
    schema = publish.draft07(name)
    jsonschema.Draft7Validator.check_schema(schema)
    text = json.dumps(schema)
    assert "$defs" not in text
    for reference in re.findall(r'"\$ref": "([^"]*)"', text):
        assert reference.startswith("#/definitions/")
        assert reference.removeprefix("#/definitions/") in schema["definitions"]


def _alone(schema: Any) -> bool:
    """Whether nothing stands beside a `$ref`: draft-07 would not see it."""
    if isinstance(schema, dict):
        return ("$ref" not in schema or len(schema) == 1) and all(map(_alone, schema.values()))
    return not isinstance(schema, list) or all(map(_alone, schema))


@pytest.mark.parametrize("name", publish.names())
def test_descriptions_survive_beside_references(name: str) -> None:
    schema = publish.draft07(name)
    assert _alone(schema)
    texts = set(re.findall(r'"description": "((?:[^"\\]|\\.)*)"', json.dumps(load_schema(name))))
    assert texts <= set(re.findall(r'"description": "((?:[^"\\]|\\.)*)"', json.dumps(schema)))


def test_both_drafts_judge_every_document_alike() -> None:
    verdicts = set()
    for path, kind, data in DOCUMENTS:
        new, old = VALIDATORS[kind]
        verdicts.add((kind, verdict := new.is_valid(data)))
        assert verdict == old.is_valid(data), path
    assert verdicts >= {(kind, right) for kind in KINDS for right in (True, False)}


@given(st.data())
def test_both_drafts_judge_changed_documents_alike(data: st.DataObject) -> None:
    _, kind, document = data.draw(st.sampled_from(DOCUMENTS))
    changed = container = copy.deepcopy(document)
    while isinstance(container, dict | list) and container:
        keys = list(container) if isinstance(container, dict) else list(range(len(container)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(container[key], dict | list) and data.draw(st.booleans()):
            container = container[key]
            continue
        change = data.draw(st.sampled_from(["set", "remove", "repeat", "none"]))
        if change == "set":
            values = [None, True, 0, 1.5, -1, "", " ", "none", "2027-02-30", [], {}, ["a", "a"]]
            container[key] = data.draw(st.sampled_from(values))
        elif change == "remove":
            del container[key]
        elif change == "repeat" and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        break
    new, old = VALIDATORS[kind]
    assert new.is_valid(changed) == old.is_valid(changed)


@pytest.mark.parametrize(
    "wrong",
    [
        {"unevaluatedProperties": False},
        {"prefixItems": [{}]},
        {"$dynamicRef": "#x"},
        {"properties": {"a": {"$anchor": "x"}}},
        {"$ref": "#"},
        {"$ref": "#/$defs/missing"},
    ],
)
def test_what_draft_07_cannot_say_is_refused(wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "load_schema", lambda name: wrong)
    with pytest.raises(ValueError, match=r"draft-07 has no keyword|a reference to something else"):
        publish.draft07("x")


def test_a_definition_may_refer_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = {"properties": {"tree": {"$ref": "#/$defs/tree"}}, "dependentRequired": {"a": ["b"]}}
    files = {"x": {"$ref": "y.schema.yaml#/$defs/tree"}, "y": {"$defs": {"tree": tree}}}
    monkeypatch.setattr(publish, "load_schema", files.__getitem__)
    schema = publish.draft07("x")
    validator = jsonschema.Draft7Validator(schema)
    assert validator.is_valid({"tree": {"tree": {"a": 1, "b": 2}}})
    assert not validator.is_valid({"tree": {"tree": {"a": 1}}})


def test_the_catalog_has_the_shape_of_schemastore() -> None:
    listed = publish.catalog()
    assert listed["version"] == 1
    matches = [pattern for entry in listed["schemas"] for pattern in entry["fileMatch"]]
    assert len(matches) == len(set(matches))
    for entry in listed["schemas"]:
        assert entry.keys() == {"name", "description", "fileMatch", "url"}
        raw = REPOSITORY.replace("github.com", "raw.githubusercontent.com") + "/main/"
        assert entry["url"].removeprefix(raw) in publish.published()
        assert publish.draft07(Path(entry["url"]).name.partition(".")[0])["$id"] == entry["url"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_shipped_document_names_its_schema(path: Path) -> None:
    """For editors: https://github.com/redhat-developer/yaml-language-server#using-inlined-schema."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    modeline = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert modeline, first
    schema = (path.parent / modeline[1]).resolve()
    assert schema.is_file()
    assert schema.parent.is_relative_to(ROOT / "schema" / "v1")
    assert schema.name.partition(".")[0] == read_yaml(path).data["kind"]


def test_every_link_of_the_reference_page_leads_somewhere() -> None:
    page = publish.published()["docs/schema.md"]
    anchors = re.findall(r'<a id="([^"]+)"></a>', page)
    assert len(anchors) == len(set(anchors))
    links = set(re.findall(r"\]\(#([^)]+)\)", page))
    assert links <= set(anchors)
    # Every object but the documents themselves is reached from one.
    assert set(anchors) - links <= {*publish.names(), *(f"probe-set-{k}" for k in _rows()), *_UNREFERENCED}


_UNREFERENCED = {"manifest-document", "manifest-resolvedConstraints"}  # extended in place; of another file


def _rows() -> list[str]:
    kinds: list[str] = load_schema("probe-set")["properties"]["kind"]["enum"]
    return kinds


@pytest.mark.parametrize("name", publish.names())
def test_the_reference_page_has_every_key(name: str) -> None:
    page = publish.published()["docs/schema.md"]
    keys = set()

    def collect(schema: Any) -> None:
        if isinstance(schema, dict):
            keys.update(schema.get("properties", {}) if isinstance(schema.get("properties"), dict) else {})
            for inner in schema.values():
                collect(inner)
        elif isinstance(schema, list):
            for inner in schema:
                collect(inner)

    collect(load_schema(name))
    assert {key for key in keys if f"\n| `{key}` |" not in page} == set()


def test_the_reference_page_says_the_defaults() -> None:
    page = publish.published()["docs/schema.md"]
    assert "| `target_modules` | list of text | " in page and '`["q_proj", "v_proj"]`' in page
    assert re.search(r"^\| `epochs` \| number \| > 0 \|  \| `1.0` \|", page, re.MULTILINE)
    assert re.search(r"^\| `locked` \| true or false \|  \|  \| `false` \|", page, re.MULTILINE)
    assert re.search(r"^\| `at_most` \| number \|  \| one of them \|", page, re.MULTILINE)
    assert re.search(r"^\| `expires` \| date \|  \| yes \|", page, re.MULTILINE)
    assert re.search(r"^\| `adapter` \| \[mapping\]\(#recipe-adapter\) or `none` \|", page, re.MULTILINE)
