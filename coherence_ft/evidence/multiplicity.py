"""Several tests, one promise. Pure Python, so that `verify` can use it.

Constraints that must *all* pass need no correction. A derivative is promoted by mistake only if some
constraint that it breaks passes all the same, and each single gate lets that happen with at most alpha,
however many others there are (intersection-union test: Berger 1982, Technometrics 24). Two cases do need one:
"which of these cells pass?", where each cell is a chance to be wrong (`holm`), and several looks at one
certification split, where each look is (documents/looks.py).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import TypeVar

from coherence_ft.documents.constraint_set import Constraint
from coherence_ft.documents.looks import look_confidence

Cell = TypeVar("Cell", bound=Hashable)


def at_look(constraint: Constraint, split: str, look: int) -> Constraint:
    """The constraint as it is tested on `split`: at the look's confidence where it is certified.

    The other splits certify nothing; there each limit holds alone, at the declared confidence.
    """
    if split != "certification":
        return constraint
    return replace(constraint, confidence=look_confidence(constraint.confidence, look))


def holm(gates: Mapping[Cell, Callable[[float], bool]], confidence: float) -> dict[Cell, bool]:
    """Which gates pass, so that with `confidence` none of those that do is a false pass (Holm 1979).

    Each gate says whether it passes at the confidence it is given; what passes at one confidence must pass
    at every lower one. Family-wise, for any dependence between the gates, and never weaker than Bonferroni:
    whatever passes at 1 - alpha / (number still open) is settled, then the rest is tried again. An empty
    cell is a gate that does not pass; leave it in, since what counts is how many were asked.
    """
    if not 0 < confidence < 1:
        raise ValueError("confidence lies between 0 and 1")
    still_open = dict(gates)
    while still_open:
        corrected = 1 - (1 - confidence) / len(still_open)
        passed = [cell for cell, gate in still_open.items() if gate(corrected)]
        if not passed:
            break
        for cell in passed:
            del still_open[cell]
    return {cell: cell not in still_open for cell in gates}
