"""The catalogue of diagnostic codes: one module a family, one entry a code.

`coherence-ft explain CODE` and the docs page are printed from here. A code is never reused.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """What a code means, why it matters, and a wrong and a right example."""

    id: str
    summary: str
    reason: str
    wrong: str
    right: str


def catalogue() -> dict[str, Code]:
    """Every code by id, in order."""
    from coherence_ft.documents.codes import (
        authority,
        compatibility,
        constraints,
        manifest,
        preflight,
        schema,
        syntax,
    )

    families = (syntax, schema, authority, constraints, compatibility, manifest, preflight)
    return {code.id: code for family in families for code in family.CODES}
