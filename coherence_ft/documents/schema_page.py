"""The reference page docs/schema.md, from the published schemas and the defaults of the dataclasses."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from coherence_ft.documents import constraint_set, recipe
from coherence_ft.documents.schemas import load_schema

_DEFAULTS = {
    "recipe": recipe.Recipe,
    "recipe-adapter": recipe.Adapter,
    "recipe-quantization": recipe.Quantization,
    "recipe-training": recipe.Training,
    "constraint-set-constraint": constraint_set.Constraint,
}
_LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
    "pattern": "`{}`",
}
_TYPES = {"string": "text", "integer": "whole number", "boolean": "true or false", "null": "nothing"}
_HEAD = """\
# Documents

Generated: `python -m coherence_ft.documents.publish`. Every YAML document is read by the core schema of YAML
1.2, without anchors, tags, merge keys or repeated keys. `coherence-ft validate` checks more than these tables
say: see [diagnostics](diagnostics.md).

An editor with a YAML language server checks while you type, if a document names its schema in the first line:

    # yaml-language-server: $schema={address}/recipe.schema.json

`schema/v1/draft-07/` holds the schemas for editors, each in one file, and `schema/catalog.json` the names by
which an editor may recognize a document without that line: `NAME.constraint-set.yaml`, `NAME.tenant.yaml`,
`NAME.recipe.yaml`.
"""


def schema_page(names: Iterable[str], address: str) -> str:
    """Markdown: a section for each document kind, a table for each object in it.

    `address` is where the schemas for editors are published.
    """
    sections = (section for name in names for section in _sections(name))
    return "".join([_HEAD.format(address=address), *sections])


def _sections(name: str) -> Iterator[str]:
    root = _load(name)
    yield _section(f"## {root['title']}", name, root)
    waiting = [(name, "", root)]
    for key, definition in root.get("$defs", {}).items():
        if nested := _nested(definition):
            waiting.append((f"{name}-{key}", f"{key}.", nested))
            yield _section(f"### {key}", f"{name}-{key}", nested)
    for anchor, prefix, schema in waiting:  # grows while it is walked: objects in objects
        for key, inner in schema["properties"].items():
            if nested := _nested(inner):
                waiting.append((f"{anchor}-{key}", f"{prefix}{key}.", nested))
                yield _section(f"### {prefix}{key}", f"{anchor}-{key}", nested)


def _nested(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The object that a schema describes: itself, as the entries of a list, or instead of nothing."""
    if _has_keys(schema):
        return _whole(schema)
    inner = [schema["items"]] if "items" in schema else schema.get("oneOf", ())
    return next((_whole(each) for each in inner if _has_keys(each)), None)


def _has_keys(schema: dict[str, Any]) -> bool:
    return "properties" in schema


def _section(heading: str, anchor: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    choices = {key for each in schema.get("oneOf", ()) for key in each.get("required", ())}
    defaults = _defaults(anchor)
    rows = ["| key | type | values | required | default | description |", "|---|---|---|---|---|---|"]
    for key, inner in schema["properties"].items():
        whole = _whole(inner)
        needed = "yes" if key in required else "one of them" if key in choices else ""
        default = "" if key in required else _literal(whole.get("default", defaults.get(key)))
        cells = (
            f"`{key}`",
            _type(inner, f"{anchor}-{key}"),
            _values(whole),
            needed,
            default,
            whole.get("description", ""),
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|").strip() for cell in cells) + " |")
    about = [textwrap.fill(schema["description"], 110)] if "description" in schema else []
    return "\n" + "\n\n".join([f'<a id="{anchor}"></a>', heading, *about, "\n".join(rows)]) + "\n"


def _load(name: str) -> Any:
    """A published schema in which every reference names its file."""

    def absolute(schema: Any) -> Any:
        if isinstance(schema, list):
            return [absolute(each) for each in schema]
        if not isinstance(schema, dict):
            return schema
        found = {key: absolute(value) for key, value in schema.items()}
        if str(found.get("$ref", "")).startswith("#"):
            found["$ref"] = f"{name}.schema.yaml{found['$ref']}"
        return found

    return absolute(load_schema(name))


def _definition(reference: str) -> tuple[str, dict[str, Any]]:
    """Anchor and content of what a `$ref` points to."""
    file, _, key = reference.partition(".schema.yaml#/$defs/")
    return f"{file}-{key}", _load(file)["$defs"][key]


def _whole(schema: dict[str, Any]) -> dict[str, Any]:
    """A property with what it refers to; its own words come first."""
    if "$ref" not in schema:
        return schema
    target = _whole(_definition(schema["$ref"])[1])
    found = target | {key: value for key, value in schema.items() if key != "$ref"}
    if _has_keys(target):
        found["properties"] = target["properties"] | schema.get("properties", {})
        found["required"] = [*target.get("required", ()), *schema.get("required", ())]
    return found


def _type(schema: dict[str, Any], anchor: str) -> str:
    if _has_keys(schema):
        return f"[mapping](#{anchor})"
    if "$ref" in schema:
        place, target = _definition(schema["$ref"])
        return _type(target, place)
    if "if" in schema:
        return f"{_type(schema['else'], anchor)} or {_type(schema['then'], anchor)}"
    if "oneOf" in schema:
        return " or ".join(_type(each, anchor) for each in schema["oneOf"])
    if "const" in schema:
        return _literal(schema["const"])
    if "items" in schema:
        return f"list of {_type(schema['items'], anchor)}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"mapping to {_type(schema['additionalProperties'], anchor)}"
    if schema.get("format") == "date":
        return "date"
    types = schema.get("type", "string" if "enum" in schema else "anything")
    return " or ".join(_TYPES.get(each, each) for each in ([types] if isinstance(types, str) else types))


def _values(schema: dict[str, Any]) -> str:
    """What is allowed beyond the type, of a list's entries too."""
    found = [", ".join(_literal(each) for each in schema["enum"])] if "enum" in schema else []
    if schema.get("pattern") == r"\S":
        return "not blank"
    for key, words in _LIMITS.items():
        if key in schema:
            not_empty = schema[key] == 1 and key in ("minLength", "minItems", "minProperties")
            found.append("not empty" if not_empty else words.format(schema[key]))
    found += ["no entry twice"] if schema.get("uniqueItems") else []
    if isinstance(schema.get("items"), dict) and not _has_keys(schema["items"]):
        found.append(_values(_whole(schema["items"])))
    return "; ".join(filter(None, found))


def _defaults(anchor: str) -> dict[str, Any]:
    fields = dataclasses.fields(_DEFAULTS[anchor]) if anchor in _DEFAULTS else ()
    # A default that is an object of ours has its own table.
    return {f.name: f.default for f in fields if isinstance(f.default, str | int | float | tuple)}


def _literal(value: Any) -> str:
    """A value as in YAML; nothing for one that says nothing."""
    if value is None or value in ((), ""):
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"
