"""CFT668: a rule on countersignatures that nobody can meet. CFT301, CFT302: its authorities."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document, JsonPath, get
from coherence_ft.documents.schemas import either, suggestion

CODE = Code(
    "CFT668",
    "more countersignatures than there are authorities to give them",
    "A rule that nobody can meet lets no derivative through, and looks like a strict one until it is needed.",
    "countersignatures: [{authorities: [risk, board], at_least: 3, …}]",
    "countersignatures: [{authorities: [risk, board], at_least: 2, …}]",
)


def check(document: Document) -> Iterator[Diagnostic]:
    for n, rule in enumerate(get(document.data, ("countersignatures",)) or ()):
        most = len(rule["authorities"])
        if rule.get("at_least", most) > most:
            yield document.diagnostic(
                CODE.id,
                "more countersignatures are asked for than authorities are named",
                ("countersignatures", n, "at_least"),
                found=str(rule["at_least"]),
                expected=f"at most {most}",
                help="name more authorities, or ask for fewer; left out, all of them must sign",
            )
        for index, id in enumerate(rule["authorities"]):
            at = ("countersignatures", n, "authorities", index)
            yield from signer(document, at, id, "countersign")


def signer(document: Document, at: JsonPath, id: str, what: str) -> Iterator[Diagnostic]:
    """An authority named at `at` that the document does not have, or that signs nothing."""
    authorities = {a["id"]: a["powers"] for a in document.data["authorities"]}
    able = [name for name, held in authorities.items() if {"countersign", "attest"} & {*held}]
    if id not in authorities:
        yield document.diagnostic(
            "CFT301",
            f"the tenant knows no authority `{id}`",
            at,
            found=id,
            expected=either(able) if able else "",
            help=suggestion(id, able) or "add it to the tenant document",
        )
    elif id not in able:
        yield document.diagnostic(
            "CFT302",
            f"`{id}` may not {what}",
            at,
            found=f"powers: {', '.join(sorted(authorities[id])) or 'none'}",
            expected="the power countersign or attest" + (f", as {either(able)}" if able else ""),
        )
