"""Role boundaries and named constraints held against one reply. Deterministic: no model is called."""

from __future__ import annotations

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.loops.verifiers import holds


def broken(resolved: ResolvedConstraints, asked: str, reply: str) -> list[str]:
    """What a reply breaks of the boundaries and restrictions in force, one plain sentence each.

    `asked`: the user's words. A boundary speaks only where one of its topics is in them.
    """
    found = []
    for each in resolved.role_boundaries:
        boundary = each.boundary
        if not any(holds(asked, topic) for topic in boundary.topics):
            continue
        name = f"the role boundary {boundary.id} ({each.layer})"
        if said := [phrase for phrase in boundary.forbidden if holds(reply, phrase)]:
            found.append(f"{name} forbids {said[0]!r}")
        if not any(holds(reply, phrase) for phrase in boundary.referral):
            found.append(f"{name} asks for a referral, such as {boundary.referral[0]!r}")
    for restriction in resolved.named_constraints:
        rule = restriction.restriction
        name = f"the named constraint {rule.id} ({restriction.layer})"
        if said := [phrase for phrase in rule.forbidden if holds(reply, phrase)]:
            found.append(f"{name} forbids {said[0]!r}")
        if missing := [phrase for phrase in rule.required if not holds(reply, phrase)]:
            found.append(f"{name} asks for {missing[0]!r}")
    return found
