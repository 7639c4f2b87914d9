"""The published schemas for editors, and their reference page: `python -m coherence_ft.documents.publish`.

Editors understand draft-07 of JSON Schema (https://json-schema.org/draft-07/schema) in one file without
references to others. The schemas themselves are written in 2020-12, in schema/v1/*.schema.yaml.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from coherence_ft.documents.codes import REPOSITORY
from coherence_ft.documents.schema_page import schema_page
from coherence_ft.documents.schemas import load_schema, schema_root

RAW = REPOSITORY.replace("github.com", "raw.githubusercontent.com") + "/main/schema/v1/draft-07"
FILE_NAMES = {
    "constraint-set": ["*.constraint-set.yaml", "*.constraint-set.yml"],
    "tenant": ["*.tenant.yaml", "*.tenant.yml"],
    "portfolio": ["*.portfolio.yaml", "*.portfolio.yml"],
    "recipe": ["*.recipe.yaml", "*.recipe.yml"],
    "manifest": ["coherence_manifest.json"],
}
"""Names by which an editor recognizes a document without a modeline. Probe sets are JSONL: none does."""

_ONE = frozenset(
    ("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"),
)
_MANY = frozenset(("$defs", "patternProperties", "properties"))
_LISTS = frozenset(("allOf", "anyOf", "oneOf"))
_DATA = frozenset(
    (
        *("$comment", "const", "default", "dependentRequired", "description", "enum", "examples", "format"),
        *("exclusiveMaximum", "exclusiveMinimum", "maxItems", "maxLength", "maxProperties", "maximum"),
        *("minItems", "minLength", "minProperties", "minimum", "multipleOf", "pattern", "required", "title"),
        *("type", "uniqueItems"),
    )
)
_RENAMED = {"$defs": "definitions", "dependentRequired": "dependencies"}


def names() -> list[str]:
    """Every published schema."""
    found = (schema_root() / "v1").glob("*.schema.yaml")
    return sorted(path.name.removesuffix(".schema.yaml") for path in found)


def published() -> dict[str, str]:
    """Every generated file, by its path from the root of the repository."""
    files = {f"schema/v1/draft-07/{name}.schema.json": _json(draft07(name)) for name in names()}
    return files | {"schema/catalog.json": _json(catalog()), "docs/schema.md": schema_page(names(), RAW)}


def catalog() -> dict[str, Any]:
    """What SchemaStore lists: https://github.com/SchemaStore/schemastore/blob/master/CONTRIBUTING.md."""
    entries = [
        {
            "name": f"coherence-ft {name.replace('-', ' ')}",
            "description": load_schema(name)["description"],
            "fileMatch": matches,
            "url": f"{RAW}/{name}.schema.json",
        }
        for name, matches in FILE_NAMES.items()
    ]
    return {"$schema": "https://json.schemastore.org/schema-catalog.json", "version": 1, "schemas": entries}


def draft07(name: str) -> dict[str, Any]:
    """A published schema as draft-07, with what it refers to in other files.

    Raises `ValueError` for what draft-07 cannot say.
    """
    bundled: dict[str, Any] = {}
    schema = {key: value for key, value in load_schema(name).items() if key not in ("$schema", "$id")}
    converted = _convert(schema, name, name, bundled)
    converted["definitions"] = converted.pop("definitions", {}) | bundled
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "$id": f"{RAW}/{name}.schema.json"}
    return head | converted


def _convert(schema: Any, home: str, root: str, bundled: dict[str, Any]) -> Any:
    """One schema of the file `home` for the bundle of `root`; what it needs of others goes into `bundled`."""
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "$ref":
            continue
        name: str = _RENAMED.get(key) or key
        if key in _ONE:
            found[key] = _convert(value, home, root, bundled)
        elif key in _MANY:
            found[name] = {n: _convert(s, home, root, bundled) for n, s in value.items()}
        elif key in _LISTS:
            found[key] = [_convert(each, home, root, bundled) for each in value]
        elif key in _DATA:
            found[name] = value
        else:
            raise ValueError(f"{home}: draft-07 has no keyword `{key}`")
    if "$ref" in schema:
        reference = {"$ref": _bundle(schema["$ref"], home, root, bundled)}
        # Draft-07 ignores whatever stands beside a reference.
        found = found | {"allOf": [*found.get("allOf", ()), reference]} if found else reference
    return found


def _bundle(reference: str, home: str, root: str, bundled: dict[str, Any]) -> str:
    file, _, pointer = reference.partition("#/$defs/")
    file = file.removesuffix(".schema.yaml") or home
    definition: Mapping[str, Any] | None = load_schema(file).get("$defs", {}).get(pointer)
    if definition is None:
        raise ValueError(f"{home}: a reference to something else than a definition: {reference}")
    if file == root:
        return f"#/definitions/{pointer}"
    target = f"{file}.{pointer}"
    if target not in bundled:
        bundled[target] = {}  # before its content: a definition may refer to itself
        bundled[target] = _convert(definition, file, root, bundled)
    return f"#/definitions/{target}"


def _json(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for relative, text in published().items():
        path = schema_root().parent / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(relative)
