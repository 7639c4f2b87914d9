"""JSON from a folder that nobody trusts yet: limits first, then one strict reading."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import cache, reduce
from itertools import islice
from pathlib import Path
from typing import Any

from coherence_ft.documents.canonical import canonical_json
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.schemas import load_schema, validator
from coherence_ft.manifest.signing import Envelope
from coherence_ft.manifest.statement import PREDICATE_TYPE, SCHEMA_VERSION, STATEMENT_TYPE

MAX_BYTES = 32 * 2**20  # a manifest of 100,000 files takes 15 MB, its bundle a third more
MAX_DEPTH = 32
_MOST_TOKENS = 4_000_000  # quotes, commas and opening brackets; a manifest of 100,000 files has 1,400,000
_MOST_VIOLATIONS = 20

SINCE_1_1: dict[tuple[str, ...], tuple[str, ...]] = {
    (): ("evidence",),
    ("lineage",): ("relation", "ancestors"),
    ("method",): ("derivation",),
}
"""Fields of the predicate that 1.1 brought, by the object that they are in."""
_FOLDERS_SINCE_1_1 = ("coherence/evidence/", "coherence/lineage/")

# A string, closed or not, or one bracket. Possessive, so that no input makes the search go back.
_NESTING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{\]}]', re.DOTALL)


class _DuplicateKey(ValueError):
    pass


class _AmbiguousNumber(ValueError):
    pass


def parse_json(content: bytes, place: str | Path, *, fractions: bool = False) -> Any:
    """Parse `content`, at most `MAX_BYTES` long, `MAX_DEPTH` levels deep, UTF-8, no key twice, no NaN.

    A number is an integer in its plain form, since two readers may take `1.0`, `1e2` or `-0` for different
    things. `fractions` allows what else fits a float, for documents that their own digest binds.

    Raises CoherenceError: CFT603 too large, CFT604 not JSON, CFT605 a key twice, CFT606 too deep, CFT600 a
    number that is not plain.
    """
    if len(content) > MAX_BYTES:
        raise refusal("CFT603", "the file is too large", path=place, expected=f"at most {MAX_BYTES} bytes")
    if (tokens := sum(map(content.count, (b'"', b",", b"[", b"{")))) > _MOST_TOKENS:
        raise refusal(
            "CFT603",
            "the file holds too much",
            path=place,
            found=f"{tokens} quotes, commas and brackets",
            expected=f"at most {_MOST_TOKENS}",
        )
    depth = 0
    for token in _NESTING.finditer(content):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token[0], 0)
        if depth > MAX_DEPTH:
            raise refusal(
                "CFT606", "the JSON is nested too deeply", path=place, expected=f"at most {MAX_DEPTH} levels"
            )
    try:
        data = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float if fractions else _no_float,
            parse_int=_integer,
        )
        if b"\\u" in content:
            json.dumps(data, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except _DuplicateKey as error:
        raise refusal("CFT605", f"the key {error} is there twice", path=place) from error
    except _AmbiguousNumber as error:
        raise refusal(
            "CFT600",
            "a number that two readers may take for different ones",
            path=place,
            found=_short(str(error)),
            expected="a finite number"
            if fractions
            else "an integer in digits; fractions are decimal strings",
        ) from error
    except json.JSONDecodeError as error:
        raise refusal(
            "CFT604", f"not JSON: {error.msg}", path=place, line=error.lineno, column=error.colno
        ) from error
    except ValueError as error:
        raise refusal("CFT604", f"not JSON: {error}", path=place) from error
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        seen: set[str] = set()
        raise _DuplicateKey(repr(next(key for key, _ in pairs if key in seen or seen.add(key))))  # type: ignore[func-returns-value]
    return data


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _integer(text: str) -> int:
    if text == "-0":
        raise _AmbiguousNumber(text)
    return int(text)


def _float(text: str) -> float:
    if math.isinf(number := float(text)):
        raise _AmbiguousNumber(text)
    return number


def _no_float(text: str) -> float:
    raise _AmbiguousNumber(text)


def parse_envelope(content: bytes, place: str | Path) -> Envelope:
    """The bundle's envelope; its signature is not checked yet.

    No signature covers the bundle itself, so only one spelling of it is taken: canonical JSON.
    Raises CoherenceError: CFT600, CFT603 to CFT607.
    """
    try:
        bundle = parse_json(content, place)
        envelope = Envelope.from_json(bundle)
        if canonical_json(bundle) != content:
            raise ValueError("another order, spacing or escaping than this version writes")
    except ValueError as error:
        raise refusal(
            "CFT607", "not a Sigstore bundle of ours", path=place, found=str(error)[:200]
        ) from error
    return envelope


def parse_statement(content: bytes, place: str | Path) -> dict[str, Any]:
    """The statement, of a version that is known here and valid under its schema.

    Raises CoherenceError: CFT600, CFT603 to CFT606, CFT609, CFT620, CFT628.
    """
    statement = parse_json(content, place)
    if not isinstance(statement, dict):
        raise refusal("CFT609", "not an in-toto statement", path=place)
    predicate = statement.get("predicate")
    version = predicate.get("schemaVersion") if isinstance(predicate, dict) else None
    for label, found, known in (
        ("_type", statement.get("_type"), STATEMENT_TYPE),
        ("predicateType", statement.get("predicateType"), PREDICATE_TYPE),
        ("schemaVersion", version, SCHEMA_VERSION),
    ):
        major = found.partition(".")[0] if label == "schemaVersion" and isinstance(found, str) else found
        if major != (known.partition(".")[0] if label == "schemaVersion" else known):
            raise refusal(
                "CFT609",
                f"this version does not know the manifest's {label}",
                path=place,
                found=repr(found)[:100],
                expected=known,
                help="a newer coherence-ft may know it",
            )
    if violations := schema_violations(statement, place):
        raise CoherenceError(violations)
    if later := _later_than_stated(statement):
        raise refusal(
            "CFT628",
            "the manifest states an older version than it was written in",
            path=place,
            found=f"{later} in version {version}",
            expected=f"version {SCHEMA_VERSION}",
        )
    return statement


def _later_than_stated(statement: Mapping[str, Any]) -> str:
    """What a manifest of version 1.0 holds that 1.1 brought; empty where nothing.

    As unknown fields they would be ignored, and what 1.1 asks of them never checked.
    """
    predicate = statement["predicate"]
    if predicate["schemaVersion"] != "1.0":
        return ""
    fields = [(*at, name) for at, names in SINCE_1_1.items() for name in names]
    for *at, name in fields:
        holder = reduce(lambda inner, key: inner[key], at, predicate)
        if name in holder:
            return "/".join((*at, name))
    names = (subject["name"] for subject in statement["subject"])
    return next((name for name in names if name.startswith(_FOLDERS_SINCE_1_1)), "")


def schema_violations(statement: Any, place: str | Path) -> list[Diagnostic]:
    """Where a statement departs from the published schema (CFT620), at most the first 20 places."""
    return violations(validator("manifest"), statement, place)


def constraints_violations(document: Any, place: str | Path) -> list[Diagnostic]:
    """Where coherence/constraints.json departs from `resolvedConstraints` of the same schema (CFT620)."""
    return violations(_constraints_validator(), document, place)


def violations(compiled: Any, data: Any, place: str | Path) -> list[Diagnostic]:
    return [
        Diagnostic(
            "CFT620",
            f"{_short('/'.join(map(str, error.instance_path))) or 'the whole document'}: "
            f"{_short(error.message)}",
            str(place),
        )
        for error in islice(compiled.iter_errors(data), _MOST_VIOLATIONS)
    ]


@cache
def _constraints_validator() -> Any:
    import jsonschema_rs

    schema = {"$defs": load_schema("manifest")["$defs"], "$ref": "#/$defs/resolvedConstraints"}
    return jsonschema_rs.Draft202012Validator(schema)


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"
