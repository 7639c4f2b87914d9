"""The integrity loop: can the answers to a probe group all hold at once?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from coherence_ft.documents.constraint_set import Constraint
from coherence_ft.evidence.estimate import Estimate, Missing
from coherence_ft.evidence.intervals import share
from coherence_ft.loops.observation import GroupObservation


def _differ(choices: tuple[int, ...]) -> bool:
    return len(set(choices)) > 1


# Index 0 is the affirmative option.
_CONTRADICTS: dict[str, Callable[[tuple[int, ...]], bool]] = {
    "paraphrase": _differ,  # the same question in other words
    "symmetry": _differ,  # a relation asked from both sides, or options in another order
    "negation": lambda choices: not _differ(choices),  # a question and its opposite
    "implication": lambda choices: choices[0] == 0 and choices[1] != 0,  # the first demands the second
    "exclusion": lambda choices: choices.count(0) > 1,  # at most one can be so
}


def contradicts(group: GroupObservation) -> bool:
    """Whether the chosen options cannot all hold. Raises KeyError for an unknown relation."""
    return _CONTRADICTS[group.relation](group.choices)


def is_sound(group: GroupObservation) -> bool:
    """Whether the relation is known and the group has the members that it speaks of."""
    pairs_only = group.relation in ("negation", "implication")
    members = len(group.choices)
    return (
        group.relation in _CONTRADICTS
        and (members == 2 if pairs_only else members >= 2)
        and all(choice >= 0 for choice in group.choices)
    )


def counted(constraint: Constraint, groups: Iterable[GroupObservation]) -> list[GroupObservation]:
    """Those that the constraint is about, by id."""
    relation = constraint.relation
    return sorted(
        (
            g
            for g in groups
            if relation in (None, g.relation) and constraint.scope.admits(g.language, g.audience)
        ),
        key=lambda g: g.probe,
    )


def estimate(constraint: Constraint, groups: Sequence[GroupObservation]) -> Estimate | Missing:
    """`contradiction_rate`: the share of groups that contradict themselves; each group counts once."""
    seen = counted(constraint, groups)
    if not seen:
        return Missing(f"no {constraint.relation or 'probe'} group was answered")
    found = np.array([contradicts(group) for group in seen])
    return share(found, np.array([group.probe for group in seen]), constraint.confidence)
