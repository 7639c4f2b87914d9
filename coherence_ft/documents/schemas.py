"""The published JSON Schemas and what they say about a document, as diagnostics at the exact place."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.reader import Document, JsonPath, dotted, get, read_yaml

if TYPE_CHECKING:
    import jsonschema_rs

API_VERSION = "coherence-ft/v1"
KINDS = ("constraint-set", "tenant", "recipe")
SCHEMAS = (*KINDS, "probe-set")
META_SCHEMA = "https://json-schema.org/draft/2020-12/schema"

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


def schema_root() -> Path:
    """The folder of the published schemas and sets: in the installed package, else in the checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "schema"
    return installed if installed.is_dir() else package.parent / "schema"


@cache
def load_schema(name: str) -> dict[str, Any]:
    """A published schema by name (`recipe`), as plain data."""
    data: dict[str, Any] = read_yaml(schema_root() / "v1" / f"{name}.schema.yaml").data
    return data


@cache
def validator(name: str) -> jsonschema_rs.Draft202012Validator:
    """The compiled schema, with `format` on."""
    import jsonschema_rs  # here: who only reads a manifest does not wait for it

    schema = load_schema(name)
    shared = load_schema("constraint-set")
    registry = jsonschema_rs.Registry([(shared["$id"], shared)])
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True, registry=registry)


def problems(name: str, document: Document, at: JsonPath = ()) -> list[Diagnostic]:
    """Every way in which a document is not what the schema asks, in the order of the file."""
    value = get(document.data, at)
    compiled = validator(name)
    if compiled.is_valid(value):
        return []
    found = dict.fromkeys(
        diagnostic for error in compiled.iter_errors(value) for diagnostic in _explain(error, document, at)
    )
    return sorted(found, key=lambda d: (d.path, d.line, d.column))


def check_schema(document: Document) -> list[Diagnostic]:
    """What the meta-schema says about a document that is a JSON Schema itself."""
    import jsonschema_rs

    compiled = jsonschema_rs.Draft202012Validator({"$ref": META_SCHEMA}, validate_formats=True)
    found = [
        document.diagnostic(
            "CFT210", f"not a valid JSON Schema: {_cut(error.message)}", tuple(error.instance_path)
        )
        for error in compiled.iter_errors(document.data)
    ]
    return list(dict.fromkeys(found))


def kind_of(document: Document, expected: str | None = None) -> str:
    """The kind of a document of ours. Raises CFT201 if it is none, or not the `expected` one."""
    data = document.data if isinstance(document.data, dict) else {}
    kind, version = data.get("kind"), data.get("apiVersion")
    wanted = [expected] if expected else list(KINDS)
    if kind not in wanted:
        raise CoherenceError(
            document.diagnostic(
                "CFT201",
                f"not a {expected}" if expected else "not a document of this program",
                ("kind",) if "kind" in data else (),
                found=f"kind: {show(kind)}" if "kind" in data else "no `kind`",
                expected=f"kind: {either(wanted)}",
                help=suggestion(kind, wanted),
            )
        )
    if version != API_VERSION:
        raise CoherenceError(
            document.diagnostic(
                "CFT201",
                "a version of the document format that this program does not know",
                ("apiVersion",) if "apiVersion" in data else (),
                found=f"apiVersion: {show(version)}" if "apiVersion" in data else "no `apiVersion`",
                expected=f"apiVersion: {API_VERSION}",
            )
        )
    return str(kind)


def check(document: Document, kind: str) -> None:
    """Raise `CoherenceError` unless the document is of this kind and its schema accepts it."""
    kind_of(document, kind)
    if found := problems(kind, document):
        raise CoherenceError(found)


def show(value: Any) -> str:
    """A value as it would stand in YAML, shortened."""
    if isinstance(value, str):
        return _cut(json.dumps(value, ensure_ascii=False))
    if isinstance(value, dict):
        return f"a mapping of {len(value)}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return _cut(json.dumps(value))


def either(values: Iterable[Any]) -> str:
    words = [str(v) for v in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def suggestion(word: Any, known: Iterable[Any]) -> str:
    """`did you mean x?`, or nothing where nothing is near."""
    names = [k for k in known if isinstance(k, str)]
    if not isinstance(word, str) or not names:
        return ""
    lowered = {name.lower().replace("_", "-"): name for name in names}
    near = difflib.get_close_matches(word.lower().replace("_", "-"), lowered, 1, 0.6)
    return f"did you mean `{lowered[near[0]]}`?" if near else ""


def _cut(text: str, width: int = 80) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _explain(error: Any, document: Document, root: JsonPath) -> Iterator[Diagnostic]:
    at: JsonPath = (*root, *error.instance_path)
    where = f"`{dotted(at)}`" if at else "the document"
    value = get(document.data, at)
    match error.kind.name:
        case "additionalProperties":
            known = list(_keyword(error, "properties") or {})
            for key in error.kind.unexpected:
                missing = [k for k in known if k not in value]
                near = suggestion(key, missing) or suggestion(key, known)
                yield document.diagnostic(
                    "CFT202",
                    f"unknown key `{key}`" + (f" in {where}" if at else ""),
                    (*at, key),
                    key=True,
                    expected="" if near or not known else either(missing or known),
                    help=near,
                )
        case "required":
            key = error.kind.property
            known = list(_keyword(error, "properties") or {})
            mistyped = [k for k in value if k not in known and suggestion(k, [key])]
            yield document.diagnostic(
                "CFT203",
                f"the key `{key}` is missing" + (f" in {where}" if at else ""),
                at,
                help=f"`{mistyped[0]}` may be a misspelling of it" if mistyped else "",
            )
        case "type":
            types = _keyword(error)
            names = [types] if isinstance(types, str) else types
            yield document.diagnostic(
                "CFT204",
                f"{where} has the wrong type",
                at,
                found=show(value),
                expected=either(_TYPES[n] for n in names),
                help=_type_help(value, names),
            )
        case "enum" | "const":
            options = _keyword(error)
            options = options if error.kind.name == "enum" else [options]
            yield document.diagnostic(
                "CFT205",
                f"{where} is not one of the values it may have",
                at,
                found=show(value),
                expected=either(map(str, options)),
                help=suggestion(value, options),
            )
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" as name:
            words = {
                "minimum": "at least",
                "maximum": "at most",
                "exclusiveMinimum": "more than",
                "exclusiveMaximum": "less than",
                "multipleOf": "a multiple of",
            }
            yield document.diagnostic(
                "CFT206",
                f"{where} is out of range",
                at,
                found=show(value),
                expected=f"{words[name]} {_keyword(error)}",
            )
        case "pattern" | "format" | "minLength" | "maxLength" as name:
            yield document.diagnostic(
                "CFT207",
                f"{where} is not text of the right form",
                at,
                found=show(value),
                expected=_form(name, _keyword(error)),
            )
        case "minItems" | "maxItems" | "minProperties" | "maxProperties" as name:
            words = {"min": "at least", "max": "at most"}
            things = "entry" if _keyword(error) == 1 else "entries"
            yield document.diagnostic(
                "CFT208",
                f"{where} has the wrong number of entries",
                at,
                found=str(len(value)),
                expected=f"{words[name[:3]]} {_keyword(error)} {things}",
            )
        case "uniqueItems":
            repeated = next((n for n, item in enumerate(value) if item in value[:n]), 0)
            yield document.diagnostic(
                "CFT208", f"{where} holds the same entry twice", (*at, repeated), found=show(value[repeated])
            )
        case _:
            yield _alternatives(error, document, at, where, value)


def _alternatives(error: Any, document: Document, at: JsonPath, where: str, value: Any) -> Diagnostic:
    """`oneOf` and the rest. Alternatives that only ask for keys are named; others speak for themselves."""
    branches = _keyword(error)
    if isinstance(branches, list) and all(set(b) == {"required"} for b in branches):
        keys = [key for branch in branches for key in branch["required"]]
        given = [key for key in keys if key in value]
        return document.diagnostic(
            "CFT209",
            f"{where} needs exactly one of {either(f'`{k}`' for k in keys)}",
            (*at, given[1]) if len(given) > 1 else at,
            key=True,
            found=either(given).replace(" or ", " and ") if given else "none of them",
        )
    return document.diagnostic("CFT209", f"{where}: {_cut(error.message, 200)}", at, found=show(value))


def _keyword(error: Any, sibling: str = "") -> Any:
    """The value of the schema keyword that failed, or of a `sibling` beside it; None where there is none."""
    address, _, pointer = str(error.absolute_keyword_location).partition("#")
    steps = [
        step.replace("%24", "$").replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]
    ]
    if sibling:
        steps[-1] = sibling
    schema: Any = load_schema(address.rpartition("/")[2].removesuffix(".schema.yaml"))
    for step in steps:
        schema = schema[int(step)] if isinstance(schema, list) else schema.get(step)
    return schema


def _type_help(value: Any, names: list[str]) -> str:
    if isinstance(value, str) and "boolean" in names and value.lower() in ("yes", "no", "on", "off"):
        return "write true or false"
    if isinstance(value, str) and {"number", "integer"} & set(names):
        return "write the number without quotes, underscores or units"
    if isinstance(value, int | float) and not isinstance(value, bool) and "string" in names:
        return f'quote it: "{value}"'
    if value is None:
        return "give a value, or leave the key out"
    if "array" in names and not isinstance(value, dict):
        return f"write it as a list: [{value}]"
    return ""


def _form(keyword: str, limit: Any) -> str:
    if keyword == "format":
        return {"date": "a date as YYYY-MM-DD"}.get(limit, f"a {limit}")
    if keyword == "minLength":
        return "text that is not empty" if limit == 1 else f"at least {limit} characters"
    if keyword == "maxLength":
        return f"at most {limit} characters"
    return {
        "\\S": "text that is not blank",
        "^[0-9a-f]{64}$": "64 lower-case hexadecimal digits",
        "^[a-z0-9]+([._-][a-z0-9]+)*$": "lower-case words joined by `-`, `_` or `.`",
    }.get(limit, f"text that matches {limit}")
