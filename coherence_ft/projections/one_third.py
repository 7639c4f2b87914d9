"""Whether a modification uses so much compute that whoever makes it becomes the model's provider.

European Commission, Guidelines on the scope of the obligations for general-purpose AI models established by
Regulation (EU) 2024/1689, C(2025) 5045 final of 18 July 2025, paragraphs 63 and 64 (60 and 61 of the version
adopted as C(2025) 7719 final on 19 November 2025). They bind nobody, and each case is assessed by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from coherence_ft.manifest.statement import UNKNOWN, Relation
from coherence_ft.projections.source import Source

GUIDELINES = (
    "European Commission, Guidelines on the scope of the obligations for general-purpose AI models "
    "established by Regulation (EU) 2024/1689, C(2025) 5045 final, 18 July 2025"
)
_CRITERION = f"{GUIDELINES}, paragraph 63 (paragraph 60 of C(2025) 7719 final, 19 November 2025)"
_SUBSTITUTE = f"{GUIDELINES}, paragraph 64 (paragraph 61 of C(2025) 7719 final, 19 November 2025)"

_UNTRAINED = frozenset({Relation.MERGED, Relation.MERGED_INTO_BASE, Relation.QUANTIZED})

# Article 51(2) of the Act, and paragraph 17 of the guidelines: floating-point operations.
_THRESHOLDS = {
    "the base is a general-purpose AI model with systemic risk": 10**25,
    "the base is another general-purpose AI model": 10**23,
}


def one_third(source: Source) -> dict[str, Any]:
    """The facts and what follows from them: `exceeds` is true, false or `unknown`, which is never a no.

    A manifest counts the compute of its own training; a modification that was made in several steps used that
    of every ancestor too. Where one of them is unknown, the sum of the others can only show a yes.
    """
    modifier = source.predicate["downstreamModifier"]
    known, complete = _compute(m.predicate for m in source.family.members.values())
    base = modifier["baseCompute"]
    found: dict[str, Any] = {
        "criterion": "The training compute of the modification is greater than a third of the training "
        "compute of the original model.",
        "citation": _CRITERION,
        "trainingCompute": str(known) if complete else UNKNOWN,
        "baseCompute": base,
        "exceeds": UNKNOWN if base == UNKNOWN else _beyond(known, complete, int(base)),
        "counted": "Floating-point operations of this training and of every ancestor's, as the trainer "
        "counts them: 6 x input tokens, padding included, x parameters without embeddings; frozen weights "
        "count as if they were trained.",
        "source": "/predicate/downstreamModifier",
    }
    if base == UNKNOWN:
        found["substitute"] = {
            "applies": "Only where the compute of the original model has not been communicated and cannot be "
            "estimated; which kind of model the base is, the manifest does not say.",
            "citation": _SUBSTITUTE,
            "thresholds": [
                {
                    "where": where,
                    "threshold": f"a third of 10^{len(str(limit)) - 1} floating-point operations",
                    "exceeds": _beyond(known, complete, limit),
                }
                for where, limit in _THRESHOLDS.items()
            ],
        }
    return found


def _compute(predicates: Iterable[Mapping[str, Any] | None]) -> tuple[int, bool]:
    """The known compute in floating-point operations, and whether all of it is known.

    What was merged or quantized repeats the sum of its parents, which are counted themselves.
    """
    stated = [
        UNKNOWN if p is None else p["downstreamModifier"]["trainingCompute"]
        for p in predicates
        if p is None or p["lineage"].get("relation") not in _UNTRAINED
    ]
    return sum(int(s) for s in stated if s != UNKNOWN), UNKNOWN not in stated


def _beyond(known: int, complete: bool, limit: int) -> bool | str:
    if 3 * known > limit:
        return True
    return False if complete else UNKNOWN
