"""What an estimator is given: nothing broken is counted, and nothing is dropped so that the rest can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal

Array = NDArray[Any]

_SHOWN = 5


def refuse_unsound(right: Array, groups: Array, *forecasts: Array) -> None:
    """Raise CFT452 unless outcomes are 0 or 1 and every forecast a probability, one of each a group label.

    All arrays are one-dimensional. What is wrong is counted over all of them; nothing is left out instead.
    """
    lengths = [len(a) for a in (right, groups, *forecasts)]
    if len(set(lengths)) > 1:
        raise refusal(
            "CFT452",
            "outcomes, groups and forecasts differ in number",
            found=", ".join(map(str, lengths)),
            expected="one of each an answer",
            help="Pair them by probe before they are given to an estimator.",
        )
    found = []
    if right.dtype != bool and (wrong := int(np.sum(~((right == 0) | (right == 1))))):
        found.append(f"{wrong} outcomes that are neither 0 nor 1")
    for forecast in forecasts:
        # NaN fails both comparisons
        if wrong := int(len(forecast) - np.sum((forecast >= 0) & (forecast <= 1))):
            found.append(f"{wrong} forecasts that are no probability")
    if groups.dtype.kind == "f" and (wrong := int(np.sum(~np.isfinite(groups)))):
        found.append(f"{wrong} group labels that are not finite")
    if found:
        raise refusal(
            "CFT452",
            f"of {lengths[0]} observations some are no evidence",
            found="; ".join(found),
            expected="outcomes of 0 or 1 and finite probabilities",
            help="Mend what wrote them: leaving rows out would measure something else.",
        )


def refuse_duplicates(probes: Sequence[str] | Array) -> None:
    """Raise CFT451 where a probe's id stands more than once."""
    ids, counts = np.unique(np.asarray(probes), return_counts=True)
    doubled = ids[counts > 1]
    if len(doubled):
        rest = len(doubled) - _SHOWN
        raise refusal(
            "CFT451",
            f"{len(doubled)} probes were observed more than once",
            found=", ".join(map(str, doubled[:_SHOWN])) + (f" and {rest} more" if rest > 0 else ""),
            expected="one observation a probe",
            help="Ids are unique within a probe set: look for rows that were appended twice.",
        )


def cell_rows(cells: Sequence[str] | Array, declared: Sequence[str]) -> dict[str, Array]:
    """Row numbers of every declared cell, empty ones too; together they are all rows, each once.

    A row of a cell that is not declared raises CFT473, a cell declared twice CFT451.
    """
    refuse_duplicates(declared)
    cells = np.asarray(cells, dtype=str)
    rows = {name: np.flatnonzero(cells == name) for name in declared}
    if sum(map(len, rows.values())) != len(cells):
        unknown, counts = np.unique(cells[~np.isin(cells, list(declared))], return_counts=True)
        raise CoherenceError(
            [
                Diagnostic(
                    "CFT473",
                    f"{count} observations lie in a cell that was not declared",
                    found=str(name),
                    expected=", ".join(declared),
                    help="Declare every cell before outcomes are looked at; `unknown` may be one of them.",
                )
                for name, count in zip(unknown, counts, strict=True)
            ]
        )
    return rows
