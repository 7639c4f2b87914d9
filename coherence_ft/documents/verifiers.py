"""The verifiers that a probe set's checks may name; `loops/verifiers.py` runs them."""

from __future__ import annotations

VERIFIERS: dict[str, frozenset[str]] = {
    name: frozenset(arguments.split())
    for name, arguments in {
        "contains": "text",
        "not_contains": "text",
        "regex": "pattern",
        "not_regex": "pattern",
        "starts_with": "text",
        "ends_with": "text",
        "max_words": "words",
        "min_words": "words",
        "max_sentences": "sentences",
        "max_characters": "characters",
        "lowercase": "",
        "uppercase": "",
        "no_digits": "",
        "json": "",
        "bullets": "count",
        "language": "code",
        "role_boundary": "forbidden referral",
        "named_constraint": "name forbidden required",
    }.items()
}
"""The arguments of every verifier. All are needed, but `named_constraint` may leave out one of its lists."""
