"""CFT407: a waiver floor stricter than the bound."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.constraint_set import Constraint
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.metrics import Direction
from coherence_ft.documents.reader import Document, JsonPath
from coherence_ft.documents.rules.bound_out_of_range import is_possible

CODE = Code(
    "CFT407",
    "a waiver floor stricter than the bound",
    "The floor is the loosest bound that a waiver may grant; no waiver fits between a bound and a "
    "floor that is stricter.",
    "{at_most: 0.1, waiver_floor: 0.05}",
    "{at_most: 0.1, waiver_floor: 0.15}",
)


def check(constraint: Constraint, document: Document, at: JsonPath) -> Iterator[Diagnostic]:
    floor, bound = constraint.waiver_floor, constraint.bound
    if floor is None or not (is_possible(constraint, floor) and is_possible(constraint, bound)):
        return
    if constraint.direction.is_looser(bound, floor):
        yield document.diagnostic(
            CODE.id,
            "the waiver floor is stricter than the bound, so no waiver could relax anything",
            (*at, "waiver_floor"),
            found=f"{floor:g}",
            expected=f"{bound:g} or {'more' if constraint.direction is Direction.AT_MOST else 'less'}",
        )
