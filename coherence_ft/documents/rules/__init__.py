"""The rules of the documents: one module a rule, with its code and its check.

A rule's module holds `CODE`, from which `explain`, docs/diagnostics.md and SARIF are printed, and `check`,
which yields diagnostics of that code. The lists below, and those in `recipes.py` and `probe_sets.py`, say
what a rule looks at.
"""

from __future__ import annotations

from coherence_ft.documents.rules import (
    bound_out_of_range,
    competing_bounds,
    countersigners,
    foreign_parameter,
    key_validity,
    missing_parameter,
    missing_probe_set,
    repeated_derivative,
    repeated_id,
    source_order,
    unknown_domain,
    unreachable_evidence,
    useless_confidence,
    waiver_floor,
    withdrawer,
    wording_bands,
    wrong_direction,
)

CONSTRAINT_RULES = (
    foreign_parameter,
    missing_parameter,
    bound_out_of_range,
    waiver_floor,
    unreachable_evidence,
)
"""`check(constraint, document, at)`: one constraint whose direction is right, and its place."""

SET_RULES = (competing_bounds, wording_bands)
"""`check(constraint_set, document)`: one set as written, without what it extends."""

DOCUMENT_RULES = (repeated_id, source_order, key_validity, countersigners, withdrawer)
"""`check(document)`: any document that its schema has accepted, without what it names."""

RULES = (
    wrong_direction,
    *CONSTRAINT_RULES,
    *SET_RULES,
    *DOCUMENT_RULES,
    unknown_domain,
    useless_confidence,
    missing_probe_set,
    repeated_derivative,
)
"""Every rule of the above that has a code of its own."""
