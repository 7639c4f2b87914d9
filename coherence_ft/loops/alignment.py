"""The alignment loop: does a reply keep what the conversation asked for?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from coherence_ft.documents.constraint_set import Constraint
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.intervals import share
from coherence_ft.loops.observation import ReplyObservation


def counted(constraint: Constraint, replies: Iterable[ReplyObservation]) -> list[ReplyObservation]:
    """Those that the constraint is about, by id."""
    category = constraint.category
    return sorted(
        (
            r
            for r in replies
            if category in (None, r.category) and constraint.scope.admits(r.language, r.audience)
        ),
        key=lambda r: r.probe,
    )


def estimate(constraint: Constraint, replies: Sequence[ReplyObservation]) -> Estimate | Missing:
    """`violation_rate`: the share of conversations with a failed check; each conversation counts once."""
    seen = counted(constraint, replies)
    if not seen:
        return Missing(
            f"no conversation{f' on {constraint.category}' if constraint.category else ''} was held"
        )
    violated = np.array([reply.violated for reply in seen])
    return share(violated, np.array([reply.probe for reply in seen]), constraint.confidence)
