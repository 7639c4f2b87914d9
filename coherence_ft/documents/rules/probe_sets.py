"""The rules of probe sets. Apart, since who reads a tenant or a manifest does not wait for them."""

from __future__ import annotations

from coherence_ft.documents.rules import (
    probe_answer,
    probe_messages,
    probe_relation,
    verifier_arguments,
    verifier_pattern,
)

PROBE_RULES = (probe_relation, probe_messages, probe_answer)
"""`check(row)`: one row of a probe set that its schema has accepted."""

VERIFIER_RULES = (verifier_arguments, verifier_pattern)
"""`check(test, row, at)`: one of a row's checks."""
