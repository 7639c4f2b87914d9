"""CFT443: a probe group that its relation does not fit."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document

CODE = Code(
    "CFT443",
    "a probe group that its relation does not fit",
    "A negation holds between two yes-or-no questions, an implication between two questions; "
    "otherwise it is not defined what contradicts what.",
    '"relation": "negation", "members": [m1, m2, m3]',
    '"relation": "negation", "members": [m1, m2]',
)


def check(row: Document) -> Iterator[Diagnostic]:
    if row.data["kind"] != "group":
        return
    relation, members = row.data["relation"], row.data["members"]
    counts = {len(m["options"]) for m in members}
    if relation in ("negation", "implication") and len(members) != 2:
        yield row.diagnostic(
            CODE.id, f"{relation} holds between two members", found=str(len(members)), expected="2"
        )
    if relation == "negation" and counts != {2}:
        yield row.diagnostic(CODE.id, "negation needs members with two options each")
    if relation in ("paraphrase", "symmetry") and len(counts) != 1:
        yield row.diagnostic(CODE.id, f"{relation} needs members with the same number of options")
