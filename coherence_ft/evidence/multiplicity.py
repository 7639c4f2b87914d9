"""Several tests, one promise. Pure Python, so that `verify` can use it.

Constraints that must *all* pass need no correction. A derivative is promoted by mistake only if some
constraint that it breaks passes all the same, and each single gate lets that happen with at most alpha,
however many others there are (intersection-union test: Berger 1982, Technometrics 24). Two cases do need one:
"which of these cells pass?", where each cell is a chance to be wrong (`holm`), and several looks at one
certification split, where each look is (`look_confidence`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Cell = TypeVar("Cell", bound=Hashable)


def look_confidence(confidence: float, look: int) -> float:
    """The confidence at which look number `look` (1, 2, …) at one certification split is to be tested.

    Alpha is spent as alpha · 6 / (π² look²), which sums to alpha over looks without end. So the chance that
    any look at all passes a derivative that breaks the bound is at most 1 - `confidence`, however many looks
    are taken and whatever is the reason to stop (union bound). What it cannot undo is learning from the
    split: it holds where the next derivative was made knowing no more of earlier looks than that they did
    not pass. Whoever tuned on the figures of a look needs a fresh split.
    """
    if not 0 < confidence < 1 or look < 1:
        raise ValueError("confidence lies between 0 and 1, and looks are counted from 1")
    return 1 - (1 - confidence) * 6 / (math.pi**2 * look**2)


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
