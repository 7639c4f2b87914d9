"""CFT417: bands of wording that leave confidence without words, or grow bolder as it falls."""

from __future__ import annotations

import string
from collections.abc import Iterator
from itertools import pairwise

from coherence_ft.documents.codes import Code
from coherence_ft.documents.constraint_set import Act, Band, ConstraintSet
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document, JsonPath

CODE = Code(
    "CFT417",
    "wording that does not fit its confidence",
    "Every confidence needs words, lower confidence never bolder ones, and a phrase that asserts or hedges "
    "must hold the answer: otherwise what is said would not be what was certified.",
    "bands: [{from: 0.5, act: assert, phrase: Yes.}]",
    'bands: [{from: 0.9, act: assert, phrase: "{answer}"}, {from: 0, act: defer, phrase: Ask a nurse.}]',
)


def check(constraint_set: ConstraintSet, document: Document) -> Iterator[Diagnostic]:
    audiences: dict[str | None, int] = {}
    for index, wording in enumerate(constraint_set.wording):
        at: JsonPath = ("wording", index)
        if (before := audiences.setdefault(wording.audience, index)) != index:
            yield document.diagnostic(
                CODE.id,
                f"a second wording for {wording.audience or 'everybody'}",
                at,
                help=f"the first is at line {document.place(('wording', before))[0]}; keep one of them",
            )
        yield from _order(wording.bands, document, (*at, "bands"))
        for n, band in enumerate(wording.bands):
            yield from _phrase(band, document, (*at, "bands", n))


def _order(bands: tuple[Band, ...], document: Document, at: JsonPath) -> Iterator[Diagnostic]:
    for n, (upper, lower) in enumerate(pairwise(bands), 1):
        if lower.confidence >= upper.confidence:
            yield document.diagnostic(
                CODE.id,
                "bands are written from the highest confidence down",
                (*at, n, "from"),
                found=f"{lower.confidence:g} after {upper.confidence:g}",
                help="sort the bands by `from`, the highest first",
            )
        elif lower.act.caution < upper.act.caution:
            yield document.diagnostic(
                CODE.id,
                f"a lower confidence gets a bolder act: {lower.act} below {upper.act}",
                (*at, n, "act"),
                found=lower.act.value,
                expected=" or ".join(act.value for act in Act if act.caution >= upper.act.caution),
            )
    if bands[-1].confidence > 0:
        yield document.diagnostic(
            CODE.id,
            f"confidence below {bands[-1].confidence:g} has no words",
            (*at, len(bands) - 1, "from"),
            found=f"{bands[-1].confidence:g}",
            expected="a last band with `from: 0`",
            help="add `- {from: 0, act: defer, phrase: …}` below it",
        )


def _phrase(band: Band, document: Document, at: JsonPath) -> Iterator[Diagnostic]:
    place = (*at, "phrase")
    try:
        parsed = [part for part in string.Formatter().parse(band.phrase) if part[1] is not None]
        names = {
            f"{name}{f'!{how}' if how else ''}{f':{form}' if form else ''}" for _, name, form, how in parsed
        }
    except ValueError as error:
        yield document.diagnostic(
            CODE.id, f"the phrase cannot be filled in: {error}", place, help="write a brace as {{ or }}"
        )
        return
    if unknown := names - {"answer", "confidence"}:
        yield document.diagnostic(
            CODE.id,
            "the phrase has a placeholder that nothing fills",
            place,
            found=f"{{{min(unknown)}}}",
            expected="{answer} or {confidence}",
            help="write a brace that is text as {{ or }}",
        )
    elif (band.act is not Act.DEFER) is not ("answer" in names):
        needs = band.act is not Act.DEFER
        yield document.diagnostic(
            CODE.id,
            f"`{band.act}` states {'the answer' if needs else 'no answer'}",
            place,
            found=band.phrase[:60],
            expected="a phrase with {answer}" if needs else "a phrase without {answer}",
        )
