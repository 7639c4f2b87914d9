"""The alignment loop: does a reply keep what the conversation asked for?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coherence_ft.documents.constraint_set import Constraint
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.intervals import share
from coherence_ft.loops.observation import ReplyObservation


def estimate(constraint: Constraint, replies: Sequence[ReplyObservation]) -> Estimate | Missing:
    """`violation_rate`: the share of conversations with a failed check; each conversation counts once."""
    category = constraint.category
    seen = sorted(
        (
            r
            for r in replies
            if category in (None, r.category) and constraint.scope.admits(r.language, r.audience)
        ),
        key=lambda r: r.probe,
    )
    if not seen:
        return Missing(f"no conversation{f' on {category}' if category else ''} was held")
    violated = np.array([reply.violated for reply in seen])
    return share(violated, np.array([reply.probe for reply in seen]), constraint.confidence)
