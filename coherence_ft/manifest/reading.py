"""JSON from a folder that nobody trusts yet: limits first, then one strict reading."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from coherence_ft.documents.diagnostics import Diagnostic, refusal
from coherence_ft.documents.schemas import load_schema, validator

MAX_BYTES = 32 * 2**20  # a manifest of 100,000 files takes 15 MB, its bundle a third more
MAX_DEPTH = 32
_MOST_VIOLATIONS = 20

# A string, closed or not, or one bracket. Possessive, so that no input makes the search go back.
_NESTING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{\]}]', re.DOTALL)


class _DuplicateKey(ValueError):
    pass


def parse_json(content: bytes, place: str | Path) -> Any:
    """Parse `content`, at most `MAX_BYTES` long, `MAX_DEPTH` levels deep, UTF-8, no key twice, no NaN.

    Raises CoherenceError: CFT603 too large, CFT604 not JSON, CFT605 a key twice, CFT606 too deep.
    """
    if len(content) > MAX_BYTES:
        raise refusal("CFT603", "the file is too large", path=place, expected=f"at most {MAX_BYTES} bytes")
    depth = 0
    for token in _NESTING.finditer(content):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token[0], 0)
        if depth > MAX_DEPTH:
            raise refusal(
                "CFT606", "the JSON is nested too deeply", path=place, expected=f"at most {MAX_DEPTH} levels"
            )
    try:
        data = json.loads(content.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
        if b"\\u" in content:
            json.dumps(data, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except _DuplicateKey as error:
        raise refusal("CFT605", f"the key {error} is there twice", path=place) from error
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


def schema_violations(statement: Any, place: str | Path) -> list[Diagnostic]:
    """Where a statement departs from the published schema (CFT620), at most the first 20 places."""
    return _violations(validator("manifest"), statement, place)


def constraints_violations(document: Any, place: str | Path) -> list[Diagnostic]:
    """Where coherence/constraints.json departs from `resolvedConstraints` of the same schema (CFT620)."""
    return _violations(_constraints_validator(), document, place)


def _violations(compiled: Any, data: Any, place: str | Path) -> list[Diagnostic]:
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
