"""CFT307: a domain that the tenant does not have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document, JsonPath, get
from coherence_ft.documents.schemas import either, suggestion

if TYPE_CHECKING:
    from coherence_ft.documents.tenant import Layer

CODE = Code(
    "CFT307",
    "a domain that the tenant does not have",
    "Which constraints apply follows from the domain. A misspelt one would silently select too few.",
    "domain: clinial",
    "domain: clinical",
)


def check(document: Document, layers: Sequence[Layer], domains: Sequence[str]) -> Iterator[Diagnostic]:
    """Domains that a tenant's sets, waivers, delegations and rules on countersignatures name.

    `layers` are those that could be read.
    """
    for name in ("waivers", "delegations", "countersignatures"):
        for index, entry in enumerate(get(document.data, (name,)) or ()):
            if name == "waivers":
                yield from unknown(document, (name, index, "domain"), entry["domain"], domains)
            for n, domain in enumerate(entry.get("domains", ())):
                yield from unknown(document, (name, index, "domains", n), domain, domains)
    if len(layers) < len(document.data["layers"]):
        return  # a set that cannot be read has no domain
    for index, layer in enumerate(layers):
        own = layer.constraint_set
        for each in (own, *own.ancestors()):
            if each.domain is not None:
                yield from unknown(document, ("layers", index, "set"), each.domain, domains)
            for constraint in each.constraints:
                for n, domain in enumerate(constraint.scope.domains):
                    if domain not in domains:
                        at = constraint.origin.of("scope", "domains", n)
                        yield at.diagnostic(
                            CODE.id,
                            f"the scope of `{constraint.id}` names a domain that the tenant does not have",
                            found=domain,
                            expected=either(domains),
                            help=suggestion(domain, domains) or "a tenant adds its own under `domains`",
                        )


def unknown(document: Document, at: JsonPath, domain: str, known: Sequence[str]) -> Iterator[Diagnostic]:
    if domain not in known:
        yield document.diagnostic(
            CODE.id,
            f"the tenant has no domain `{domain}`",
            at,
            found=domain,
            expected=either(known),
            help=suggestion(domain, known) or "a tenant adds its own under `domains`",
        )


def of_row(row: Document, known: Collection[str]) -> Iterator[Diagnostic]:
    """`row` is one of a probe set."""
    domain = row.data["domain"]
    if domain not in known:
        yield row.diagnostic(
            CODE.id,
            "the row's domain is neither a published one nor the tenant's",
            found=domain,
            expected=either(known),
            help=suggestion(domain, known),
        )
