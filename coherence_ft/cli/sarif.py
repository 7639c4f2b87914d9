"""Diagnostics as SARIF 2.1.0, for code scanning."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from coherence_ft.cli.printing import described, dump, is_file_name, source_line
from coherence_ft.documents.codes import Code, catalogue
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.sarif import FINGERPRINT, log, plain


def as_sarif(diagnostics: Sequence[Diagnostic]) -> str:
    """One run, with the rules that were broken."""
    known = catalogue()
    rules = [known[id] for id in dict.fromkeys(d.code for d in diagnostics)]
    index = {rule.id: n for n, rule in enumerate(rules)}
    seen: Counter[str] = Counter()
    results = []
    for d in diagnostics:
        fingerprint = _fingerprint(d)
        seen[fingerprint] += 1
        results.append(
            {
                "ruleId": d.code,
                "ruleIndex": index[d.code],
                "level": d.severity.value,
                "message": {"text": plain(described(d))},
                "locations": [_location(d)],
                "partialFingerprints": {FINGERPRINT: f"{fingerprint}:{seen[fingerprint]}"},
            }
        )
    return dump(log([_rule(rule) for rule in rules], results))


def _rule(code: Code) -> dict[str, Any]:
    return {
        "id": code.id,
        "shortDescription": {"text": code.summary},
        "fullDescription": {"text": code.reason},
        "help": {"text": code.markdown, "markdown": code.markdown},
        "helpUri": code.link,
    }


def _location(diagnostic: Diagnostic) -> dict[str, Any]:
    """GitHub refuses a result without a place: one that has none gets the folder that was checked."""
    if not is_file_name(diagnostic):
        location: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": "."}}}
        if diagnostic.path:
            location["logicalLocations"] = [{"fullyQualifiedName": diagnostic.path, "kind": "parameter"}]
        return location
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(diagnostic.path)}}
    if diagnostic.line:
        column = {"startColumn": diagnostic.column} if diagnostic.column else {}
        physical["region"] = {"startLine": diagnostic.line, **column}
    return {"physicalLocation": physical}


def _uri(path: str) -> str:
    """Relative to the working directory; a `file:` URI where the path lies outside it."""
    text = os.path.normpath(path)
    outside = os.path.isabs(text) or text.startswith("..")
    return ("file://" if outside else "") + quote(os.fsencode(os.path.abspath(text) if outside else text))


def _fingerprint(diagnostic: Diagnostic) -> str:
    """The same while the line stays as it is, wherever it moves in its file."""
    line = " ".join(source_line(diagnostic.path, diagnostic.line).split())
    parts = (diagnostic.code, os.path.normpath(diagnostic.path), line)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:16]
