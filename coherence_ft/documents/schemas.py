"""The published JSON Schemas and what they say about a document, as diagnostics at the exact place."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coherence_ft.documents import hints
from coherence_ft.documents.diagnostics import MAX_SHOWN, CoherenceError, Diagnostic, shortened
from coherence_ft.documents.limits import DEFAULT, reading_limits
from coherence_ft.documents.reader import Document, JsonPath, dotted, get, read_yaml

if TYPE_CHECKING:
    import jsonschema_rs

API_FAMILY = "coherence-ft/"
VERSIONS = ("v0", "v1")  # of the document format, oldest first; the last is the one that is read
API_VERSION = f"{API_FAMILY}{VERSIONS[-1]}"
KINDS = ("constraint-set", "tenant", "recipe", "portfolio")
SCHEMAS = (*KINDS, "probe-set", "outcome")
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
def load_schema(name: str, version: str = VERSIONS[-1]) -> dict[str, Any]:
    """A published schema by name (`recipe`), as plain data."""
    with reading_limits(DEFAULT):  # a project's limits are for its own documents
        data: dict[str, Any] = read_yaml(schema_root() / version / f"{name}.schema.yaml").data
    return data


@cache
def validator(name: str, version: str = VERSIONS[-1]) -> jsonschema_rs.Draft202012Validator:
    """The compiled schema, with `format` on."""
    import jsonschema_rs  # here: who only reads a manifest does not wait for it

    schema = load_schema(name, version)
    shared = load_schema("constraint-set", version)
    registry = jsonschema_rs.Registry([(shared["$id"], shared)])
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True, registry=registry)


def problems(
    name: str, document: Document, at: JsonPath = (), version: str = VERSIONS[-1]
) -> list[Diagnostic]:
    """Every way in which a document is not what the schema asks, in the order of the file."""
    value = get(document.data, at)
    compiled = validator(name, version)
    if compiled.is_valid(value):
        return []
    errors = sorted(compiled.iter_errors(value), key=lambda e: document.place((*at, *e.instance_path)))
    diagnostics = (diagnostic for error in errors for diagnostic in _explain(error, document, at))
    found = dict.fromkeys(islice(diagnostics, MAX_SHOWN))  # explaining a thousand takes seconds
    more = [Diagnostic("CFT449", "more problems in this file are not shown", document.path)]
    if next(diagnostics, None) is None:
        more = []
    return sorted(found, key=lambda d: (d.path, d.line, d.column)) + more


def check_schema(document: Document) -> list[Diagnostic]:
    """What the meta-schema says about a document that is a JSON Schema itself."""
    import jsonschema_rs

    compiled = jsonschema_rs.Draft202012Validator({"$ref": META_SCHEMA}, validate_formats=True)
    found = dict.fromkeys(
        document.diagnostic(
            "CFT210", f"not a valid JSON Schema: {_cut(error.message)}", tuple(error.instance_path)
        )
        for error in compiled.iter_errors(document.data)
    )
    return shortened(list(found), document.path)


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
                help=suggestion(kind, wanted) if "kind" in data else "add it as one of the first lines",
            )
        )
    if version in [f"{API_FAMILY}{earlier}" for earlier in VERSIONS[:-1]]:
        raise CoherenceError(
            document.diagnostic(
                "CFT201",
                "a document of an earlier version of the format",
                ("apiVersion",),
                found=f"apiVersion: {version}",
                expected=f"apiVersion: {API_VERSION}",
                help=f"run `coherence-ft migrate {document.path}`",
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
    if not isinstance(word, str) or len(word) > _LONGEST_WORD or not names:
        return ""
    lowered = {name.lower().replace("_", "-"): name for name in names}
    near = difflib.get_close_matches(word.lower().replace("_", "-"), lowered, 1, 0.6)
    return f"did you mean `{lowered[near[0]]}`?" if near else ""


_LONGEST_WORD = 100  # nobody misspells a longer one, and comparing takes time


def _cut(text: str, width: int = 80) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _explain(error: Any, document: Document, root: JsonPath) -> Iterator[Diagnostic]:
    at: JsonPath = (*root, *error.instance_path)
    where = f"`{_cut(dotted(at))}`" if at else "the document"
    value = get(document.data, at)
    schema, name, load = _failing(error)
    match error.kind.name:
        case "additionalProperties":
            known = list(schema.get("properties", {}))
            for key in error.kind.unexpected:
                missing = [k for k in known if k not in value]
                near = suggestion(key, missing) or suggestion(key, known) or _home(document, key, at, load)
                yield document.diagnostic(
                    "CFT202",
                    f"unknown key `{_cut(key)}`" + (f" in {where}" if at else ""),
                    (*at, key),
                    key=True,
                    expected="" if near or not known else either(missing or known),
                    help=near,
                )
        case "required":
            key = error.kind.property
            if _is_elsewhere(document, key, at, schema, load):
                return  # said of the key that is there
            meant, _ = hints.resolved(schema.get("properties", {}).get(key, {}), name, load)
            yield document.diagnostic(
                "CFT203",
                f"the key `{key}` is missing" + (f" in {where}" if at else ""),
                at,
                help=hints.to_add(key, meant),
            )
        case "type":
            types = schema["type"]
            items, _ = hints.resolved(schema.get("items", {}), name, load)
            names = [types] if isinstance(types, str) else types
            yield document.diagnostic(
                "CFT204",
                f"{where} has the wrong type",
                at,
                found=show(value),
                expected=either(_TYPES[n] for n in names),
                help=hints.for_type(value, names, schema, items),
            )
        case "enum" | "const":
            options = schema["enum"] if error.kind.name == "enum" else [schema["const"]]
            yield document.diagnostic(
                "CFT205",
                f"{where} is not one of the values it may have",
                at,
                found=show(value),
                expected=either(map(str, options)),
                help=hints.for_choice(value, options) or suggestion(value, options),
            )
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" as keyword:
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
                expected=f"{words[keyword]} {schema[keyword]}",
                help=hints.for_range(value, schema),
            )
        case "pattern" | "format" | "minLength" | "maxLength" as keyword:
            yield document.diagnostic(
                "CFT207",
                f"{where} is not text of the right form",
                at,
                found=show(value),
                expected=hints.form(schema, keyword),
                help=hints.for_form(value, schema),
            )
        case "minItems" | "maxItems" | "minProperties" | "maxProperties" as keyword:
            words = {"min": "at least", "max": "at most"}
            things = "entry" if schema[keyword] == 1 else "entries"
            yield document.diagnostic(
                "CFT208",
                f"{where} has the wrong number of entries",
                at,
                found=str(len(value)),
                expected=f"{words[keyword[:3]]} {schema[keyword]} {things}",
            )
        case "uniqueItems":
            written = [json.dumps(item, sort_keys=True) for item in value]
            first = {text: n for n, text in reversed([*enumerate(written)])}
            repeated = next((n for n, text in enumerate(written) if first[text] < n), 0)
            yield document.diagnostic(
                "CFT208",
                f"{where} holds the same entry twice",
                (*at, repeated),
                found=show(value[repeated]),
                help="remove one of the two",
            )
        case _:
            yield from _alternatives(error, document, at, where, value)


def _alternatives(
    error: Any, document: Document, at: JsonPath, where: str, value: Any
) -> Iterator[Diagnostic]:
    """`oneOf` and the rest. Alternatives that only ask for keys are named; others speak for themselves."""
    schema, name, load = _failing(error)
    branches = schema.get("oneOf", schema.get("anyOf"))
    if not (isinstance(branches, list) and all(set(b) == {"required"} for b in branches)):
        yield document.diagnostic("CFT209", f"{where}: {_cut(error.message, 200)}", at, found=show(value))
    elif isinstance(value, dict):  # of anything else, `type` says that it is no mapping
        properties = schema.get("properties", {})
        keys = [key for branch in branches for key in branch["required"]]
        given = sorted((k for k in keys if k in value), key=lambda k: document.place((*at, k), key=True))
        if not given and any(_is_elsewhere(document, key, at, schema, load) for key in keys):
            return  # said of the key that is there
        meant = [hints.to_add(k, hints.resolved(properties.get(k, {}), name, load)[0]) for k in keys]
        amount = "exactly" if "oneOf" in schema else "at least"
        yield document.diagnostic(
            "CFT209",
            f"{where} needs {amount} one of {either(f'`{k}`' for k in keys)}",
            (*at, given[1]) if len(given) > 1 else at,
            key=True,
            found=either(given).replace(" or ", " and ") if given else "none of them",
            help="remove one of them" if given else either(meant),
        )


def _failing(error: Any) -> tuple[dict[str, Any], str, Callable[[str], dict[str, Any]]]:
    """The schema with the keyword that failed, the name of its file, and what loads files of its version."""
    address, _, pointer = str(error.absolute_keyword_location).partition("#")
    version, file = address.split("/")[-2:]
    load, name = partial(load_schema, version=version), file.removesuffix(".schema.yaml")
    schema: Any = load(name)
    for step in pointer.split("/")[1:-1]:
        step = step.replace("%24", "$").replace("~1", "/").replace("~0", "~")
        schema = schema[int(step)] if isinstance(schema, list) else schema[step]
    return schema, name, load


def _known(document: Document, load: Callable[[str], dict[str, Any]]) -> dict[hints.Where, dict[str, Any]]:
    """The keys of every mapping that a document of this kind may hold."""
    kind = document.data.get("kind") if isinstance(document.data, dict) else None
    return hints.mappings(kind, load) if kind in KINDS else {}


def _home(document: Document, key: str, at: JsonPath, load: Callable[[str], dict[str, Any]]) -> str:
    return hints.home(key, hints.where(at), _known(document, load))


def _is_elsewhere(
    document: Document, key: str, at: JsonPath, schema: dict[str, Any], load: Callable[[str], dict[str, Any]]
) -> bool:
    """Whether a missing key is there, but misspelt or at the wrong depth: then it is reported as unknown."""
    if schema.get("additionalProperties") is not False:
        return False
    value, properties = get(document.data, at), schema["properties"]
    missing = [k for k in properties if k not in value]
    unknown = islice((k for k in value if k not in properties), MAX_SHOWN)
    if any(suggestion(k, missing) == f"did you mean `{key}`?" for k in unknown):
        return True
    known = _known(document, load)
    inside = [(*at, k) for k, inner in value.items() if isinstance(inner, dict)]
    return any(
        isinstance(mapping := get(document.data, place), dict)
        and key in mapping
        and key not in known.get(hints.where(place), {key})
        for place in (*inside, *(at[:n] for n in range(len(at))))
    )
