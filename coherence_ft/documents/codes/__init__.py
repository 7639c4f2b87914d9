"""The catalogue of diagnostic codes: one module a family, one entry a code.

`coherence-ft explain CODE` and the docs page are printed from here. A code is never reused.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

REPOSITORY = "https://github.com/coherence-ft/coherence-ft"


@dataclass(frozen=True, slots=True)
class Code:
    """What a code means, why it matters, and a wrong and a right example."""

    id: str
    summary: str
    reason: str
    wrong: str
    right: str

    @property
    def link(self) -> str:
        """The entry's place on the page of diagnostics; its anchor stays when the summary is reworded."""
        return f"{REPOSITORY}/blob/main/docs/diagnostics.md#{self.id.lower()}"

    @property
    def markdown(self) -> str:
        """The reason and both examples."""
        return (
            f"{textwrap.fill(self.reason, 110)}\n\n"
            f"Wrong:\n\n{textwrap.indent(self.wrong, '    ')}\n\n"
            f"Right:\n\n{textwrap.indent(self.right, '    ')}\n"
        )


def catalogue() -> dict[str, Code]:
    """Every code by id, in order."""
    from coherence_ft.documents.codes import (
        authority,
        compatibility,
        constraints,
        evidence,
        keys,
        lineage,
        manifest,
        preflight,
        schema,
        syntax,
    )
    from coherence_ft.documents.rules import RULES
    from coherence_ft.documents.rules.probe_sets import PROBE_RULES, VERIFIER_RULES
    from coherence_ft.documents.rules.recipes import RECIPE_RULES

    families = (
        *(syntax, schema, authority, constraints, compatibility),
        *(manifest, keys, evidence, lineage, preflight),
    )
    found = [code for family in families for code in family.CODES]
    # A rule without a code of its own shares one that is raised elsewhere too, and is in a family.
    rules = (*RULES, *RECIPE_RULES, *PROBE_RULES, *VERIFIER_RULES)
    found += [rule.CODE for rule in rules if hasattr(rule, "CODE")]
    return {code.id: code for code in sorted(found, key=lambda code: code.id)}
