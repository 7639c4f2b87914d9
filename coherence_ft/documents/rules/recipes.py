"""The rules of recipes. Apart, since who reads a tenant or a manifest does not wait for them."""

from __future__ import annotations

from coherence_ft.documents.rules import (
    data_format,
    double_int8,
    epochs_and_steps,
    foreign_revision,
    foreign_setting,
    malformed_base,
    missing_chat_template,
    package_reference,
    quantization_without_adapter,
    shared_split,
    unpinned_base,
    unpinned_data,
)

RECIPE_RULES = (
    package_reference,
    malformed_base,
    unpinned_base,
    foreign_revision,
    missing_chat_template,
    unpinned_data,
    data_format,
    shared_split,
    quantization_without_adapter,
    double_int8,
    foreign_setting,
    epochs_and_steps,
)
"""`check(document)`: a recipe that its schema has accepted, without its tenant."""
