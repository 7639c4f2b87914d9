"""CFT406: an id that is given twice."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document, get

CODE = Code(
    "CFT406",
    "an id that is given twice",
    "An id names one thing: with two under the same id it would be open which bound or whose key counts.",
    "constraints: [{id: risk, …}, {id: risk, …}]",
    "constraints: [{id: risk-60, …}, {id: risk-80, …}]",
)

_NOUNS = {
    "constraints": "constraint",
    "role_boundaries": "role boundary",
    "named_constraints": "named constraint",
    "authorities": "authority",
    "sources": "source",
}


def check(document: Document) -> Iterator[Diagnostic]:
    """Entries of a document's lists whose id an earlier entry of the list has."""
    for name, noun in _NOUNS.items():
        first: dict[str, int] = {}
        for index, entry in enumerate(get(document.data, (name,)) or ()):
            if (before := first.setdefault(entry["id"], index)) != index:
                line = document.place((name, before))[0]
                yield document.diagnostic(
                    CODE.id,
                    f"the {noun} `{entry['id']}` is given twice",
                    (name, index, "id"),
                    help=f"the first is at line {line}; give each its own id, or remove one",
                )
