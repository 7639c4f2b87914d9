"""The confidence of each look at a certification split, so that the declared one holds over all looks."""

from __future__ import annotations

import math


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
    alpha = (1 - confidence) * 6 / (math.pi**2 * look**2)
    # Four digits, rounded to the strict side: a manifest prints it, and every machine finds the same.
    digits = 3 - math.floor(math.log10(alpha))
    return round(1 - math.floor(alpha * 10**digits) / 10**digits, digits)
