"""The published schemas: valid, described, consumed, and judged alike by two validators."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from referencing import Registry, Resource

from coherence_ft.documents import (
    constraint_reader,
    constraint_set,
    metrics,
    outcomes,
    portfolio,
    probe_set,
    recipe,
    tenant,
    verifiers,
)
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.reader import Document, read_yaml
from coherence_ft.documents.schemas import KINDS, SCHEMAS, load_schema, problems, schema_root, validator

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*(ROOT / "recipes").glob("*.yaml"), *(ROOT / "schema/domains").glob("*.yaml")])
DOCUMENTS += sorted((ROOT / "examples/tenant").rglob("*.yaml"))


def _reference(name: str) -> jsonschema.Draft202012Validator:
    """The same schema in the reference implementation."""
    shared = load_schema("constraint-set")
    registry = Registry().with_resource(shared["$id"], Resource.from_contents(shared))
    return jsonschema.Draft202012Validator(
        load_schema(name), registry=registry, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


REFERENCE = {name: _reference(name) for name in SCHEMAS}


@pytest.mark.parametrize("path", sorted((schema_root() / "v1").glob("*.yaml")), ids=lambda p: p.name)
def test_schema_is_valid_and_its_id_is_its_place(path: Path) -> None:
    schema = read_yaml(path).data
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].endswith(f"/schema/v1/{path.name}")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_object_is_closed_and_every_property_described(name: str) -> None:
    for at, schema in _schemas(load_schema(name)):
        if schema.get("type") == "object" and at:
            assert schema.get("additionalProperties") is False, f"{name}: {at}"
        for key, inner in schema.get("properties", {}).items():
            if "if" not in at:
                assert inner.get("description"), f"{name}: {at}.{key}"


def _schemas(schema: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        yield at, schema
        for key, inner in schema.items():
            if key not in ("enum", "const", "required"):
                yield from _schemas(inner, f"{at}.{key}")
    elif isinstance(schema, list):
        for inner in schema:
            yield from _schemas(inner, at)


def _properties(name: str, *definitions: str) -> set[str]:
    schema = load_schema(name)
    for definition in definitions:
        schema = schema["$defs"][definition]
    return set(schema["properties"]) - {"apiVersion", "kind"}


def _fields(cls: type[Any]) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}


def test_every_schema_field_has_a_field_that_receives_it() -> None:
    """And the other way round: nothing is read that the schema does not allow to be written."""
    bounds = {"at_most", "at_least"}
    read = {
        ("recipe",): _fields(recipe.Recipe) - {"path", "document"},
        ("recipe", "base"): _fields(recipe.BaseModel),
        ("recipe", "data"): _fields(recipe.Data),
        ("recipe", "probes"): _fields(recipe.Probes),
        ("recipe", "adapter"): _fields(recipe.Adapter),
        ("recipe", "quantization"): _fields(recipe.Quantization),
        ("recipe", "training"): _fields(recipe.Training),
        ("constraint-set",): _fields(constraint_set.ConstraintSet) - {"path"},
        ("constraint-set", "constraint"): (
            _fields(constraint_set.Constraint) - {"origin", "direction", "bound"} | bounds
        ),
        ("constraint-set", "scope"): _fields(constraint_set.Scope),
        ("constraint-set", "role_boundary"): _fields(constraint_set.RoleBoundary) - {"origin"},
        ("constraint-set", "named_constraint"): _fields(constraint_set.NamedConstraint) - {"origin"},
        ("constraint-set", "wording"): _fields(constraint_set.Wording) - {"origin"},
        ("constraint-set", "band"): _fields(constraint_set.Band) - {"origin", "confidence"} | {"from"},
        ("tenant", "delegation"): (
            _fields(tenant.Delegation) - {"origin", "lender", "holder"} | {"from", "to"}
        ),
        ("tenant",): _fields(tenant.Tenant) - {"path"},
        ("tenant", "authority"): _fields(tenant.Authority) - {"origin"},
        ("tenant", "listed_key"): (
            _fields(tenant.ListedKey) - {"path", "valid_from", "valid_until"} | {"file", "from", "until"}
        ),
        ("tenant", "listed_certificate"): _fields(tenant.ListedCertificate),
        ("tenant", "listed_identity"): _fields(tenant.ListedIdentity),
        ("tenant", "countersigning"): _fields(tenant.Countersigning) - {"origin"},
        ("tenant", "revocation"): _fields(tenant.Revocation) - {"origin"},
        ("tenant", "layer"): _fields(tenant.Layer) - {"origin", "constraint_set"} | {"set"},
        ("tenant", "waiver"): _fields(tenant.Waiver) - {"origin"},
        ("outcome",): _fields(outcomes.Outcome),
        ("probe-set", "question"): _fields(probe_set.Question),
        ("probe-set", "group"): _fields(probe_set.ProbeGroup),
        ("probe-set", "conversation"): _fields(probe_set.Conversation),
        ("probe-set", "check"): frozenset({"verifier"}).union(*verifiers.VERIFIERS.values()),
    }
    for place, fields in read.items():
        assert _properties(*place) == fields, place


def test_enumerations_are_those_of_the_code() -> None:
    constraint = load_schema("constraint-set")["$defs"]["constraint"]["properties"]
    assert constraint["metric"]["enum"] == list(metrics.METRICS)
    assert constraint["relation"]["enum"] == list(metrics.RELATIONS)
    assert constraint["category"]["enum"] == list(metrics.CATEGORIES)
    assert constraint["enforcement"]["enum"] == list(constraint_set.Enforcement)
    assert load_schema("tenant")["$defs"]["level"]["enum"] == list(constraint_set.Level)
    powers = load_schema("tenant")["$defs"]["authority"]["properties"]["powers"]
    assert powers["items"]["enum"] == list(tenant.Power)
    rows = load_schema("probe-set")["$defs"]
    assert rows["check"]["properties"]["verifier"]["enum"] == list(verifiers.VERIFIERS)
    assert rows["group"]["properties"]["relation"]["enum"] == list(metrics.RELATIONS)
    assert rows["conversation"]["properties"]["category"]["enum"] == list(metrics.CATEGORIES)


def test_values_left_out_take_the_defaults_of_the_dataclass() -> None:
    """Every required field of the recipe's parts is required by the schema, and no other is."""
    schema = load_schema("recipe")
    for name, cls in (("base", recipe.BaseModel), ("data", recipe.Data), ("probes", recipe.Probes)):
        needed = {f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING}
        assert set(schema["$defs"][name]["required"]) == needed


def _rows() -> list[dict[str, Any]]:
    message = [{"role": "user", "content": "Is it?"}]
    member = {"messages": message, "options": ["yes", "no"]}
    head = {"id": "q", "domain": "legal"}
    return [
        {"kind": "question", **head, "group": "g", **member, "answer": "yes"},
        {"kind": "group", **head, "relation": "negation", "members": [member, member]},
        {
            "kind": "conversation",
            **head,
            "category": "format",
            "messages": message,
            "checks": [{"verifier": "max_words", "words": 4}],
            "max_new_tokens": 9,
        },
    ]


OUTCOME = {
    "id": "a-1",
    "domain": "legal",
    "routing_pattern": "dense",
    "confidence": 0.9,
    "delivered": True,
    "correct": False,
    "grounding": "human",
    "observed_at": "2026-05-20T12:00:00Z",
    "model": "a" * 64,
    "calibrator": "b" * 64,
    "split": "served",
}
RIGHT = [(d.data["kind"], d.data) for d in map(read_yaml, DOCUMENTS)] + [("probe-set", r) for r in _rows()]
RIGHT.append(("outcome", OUTCOME))


def test_right_documents_are_right_for_both() -> None:
    assert {kind for kind, _ in RIGHT} == set(SCHEMAS)
    for kind, data in RIGHT:
        assert validator(kind).is_valid(data)
        assert REFERENCE[kind].is_valid(data)


_VALUES = st.sampled_from(
    [
        *(None, True, 0, -1, 1.0, 1.5, 2, 0.5, 10**19, "", " ", "x", "Ü", "none", "hard"),
        *("2027-02-30", "2027-02-28", [], ["a", "a"], [1], {}, {"x": 1}, {"bits": "nf4"}),
    ]
)


@given(st.data())
def test_changed_documents_are_judged_alike_and_every_verdict_is_explained(data: st.DataObject) -> None:
    """jsonschema-rs is fast; jsonschema is the reference it is held to."""
    kind, right = data.draw(st.sampled_from(RIGHT))
    changed = copy.deepcopy(right)
    for _ in range(data.draw(st.integers(1, 3))):
        container: Any = changed
        while True:
            keys = list(container) if isinstance(container, dict) else list(range(len(container)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(container[key], dict | list) and container[key] and data.draw(st.booleans()):
                container = container[key]
                continue
            change = data.draw(st.sampled_from(["set", "remove", "add", "repeat"]))
            if change == "set":
                container[key] = data.draw(_VALUES)
            elif change == "remove":
                del container[key]
            elif isinstance(container, dict):
                container[data.draw(st.sampled_from(["extra", f"{key}s", "at_most", "at_least"]))] = (
                    data.draw(_VALUES)
                )
            else:
                container.append(copy.deepcopy(container[key]) if change == "repeat" else data.draw(_VALUES))
            break
    verdict = validator(kind).is_valid(changed)
    assert verdict == REFERENCE[kind].is_valid(changed)
    found = problems(kind, Document("f", changed))
    assert bool(found) != verdict
    assert all(d.code.startswith("CFT2") for d in found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_of_another_kind_is_refused(kind: str) -> None:
    readers = {
        "constraint-set": constraint_reader.read_constraint_set,
        "tenant": tenant.read_tenant,
        "recipe": recipe.read_recipe,
        "portfolio": portfolio.read_portfolio,
    }
    for path in DOCUMENTS:
        if read_yaml(path).data["kind"] != kind:
            with pytest.raises(CoherenceError) as caught:
                readers[kind](path)
            assert caught.value.codes == ("CFT201",)


def test_did_you_mean_survives_case_and_separator() -> None:
    data = json.loads(json.dumps(_rows()[2]))
    data["checks"][0]["verifier"] = "Max-Words"
    (found,) = problems("probe-set", Document("f", data))
    assert found.help == "did you mean `max_words`?"
