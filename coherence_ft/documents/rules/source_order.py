"""CFT334: an order of sources that leaves one out, or trusts the model over something else."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document, get
from coherence_ft.documents.schemas import suggestion

CODE = Code(
    "CFT334",
    "an order of sources in which one has no place, or the model is not last",
    "Where two claims contradict each other, the order of their sources decides. A source without a place "
    "would be decided by nothing, and what the model says itself is the claim under test, which outranks "
    "nothing.",
    "sources: [{id: model, …}, {id: statute, …}]",
    "sources: [{id: statute, …}, {id: regulator-guidance, …}, {id: tenant-policy, …}, "
    "{id: retrieved-document, …}, {id: conversation, …}, {id: model, …}]",
)

NEEDED = ("statute", "regulator-guidance", "tenant-policy", "retrieved-document", "conversation", "model")
"""The sources that every claim may come from, in the order that holds where a tenant gives none."""


def check(document: Document) -> Iterator[Diagnostic]:
    sources = get(document.data, ("sources",))
    if sources is None:
        return
    ids = [source["id"] for source in sources]
    for name in NEEDED:
        if name not in ids:
            extra = next((i for i in ids if i not in NEEDED and suggestion(i, [name])), None)
            yield document.diagnostic(
                CODE.id,
                f"the source `{name}` has no place in the order",
                ("sources",) if extra is None else ("sources", ids.index(extra), "id"),
                key=extra is None,
                help=f"did you mean `{name}`?" if extra else f"add `- {{id: {name}, title: …}}` to the list",
            )
    if "model" in ids and ids[-1] != "model":
        yield document.diagnostic(
            CODE.id,
            "what the model says itself is not the last of the sources",
            ("sources", ids.index("model"), "id"),
            found=f"`model` above `{ids[ids.index('model') + 1]}`",
            help="move `model` to the end",
        )
