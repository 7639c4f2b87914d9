"""Which of two statements of a constraint is stricter, and what a lower one may not do."""

from __future__ import annotations

from collections.abc import Sequence

from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.constraint_set import Constraint, Enforcement, Origin
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.metrics import Direction

MERGED = ("bound", "confidence", "minimum_evidence", "enforcement", "waiver_floor", "waiver_approvals")
"""The fields of a constraint that layers tighten independently of each other."""

Stated = tuple[str, Constraint]
"""A statement of a constraint and the name of the layer or set that makes it."""


def strictness(constraint: Constraint, name: str) -> float:
    """Higher is stricter."""
    value = getattr(constraint, name)
    if name == "enforcement":
        return float(value is Enforcement.HARD)
    if value is None:  # no waiver floor: no waiver past the bound itself
        value = constraint.bound
    at_most = name in ("bound", "waiver_floor") and constraint.direction is Direction.AT_MOST
    return float(-value if at_most else value)


def conflicts(lower: Stated, above: Sequence[Stated], peers: Sequence[Stated] = ()) -> list[Diagnostic]:
    """How a statement contradicts those above it (CFT304, CFT305, CFT306). All are of one id.

    `peers` are on its own level: they may be stricter or looser, but must measure the same thing.
    """
    layer, c = lower
    found: list[Diagnostic] = []

    def report(code: str, at: Origin, message: str, help: str, values: tuple[str, str] = ("", "")) -> None:
        found.append(at.diagnostic(code, message, found=values[0], expected=values[1], help=help))

    other = next(((name, o) for name, o in (*above, *peers) if o.measure != c.measure), None)
    if other:
        report(
            "CFT304",
            c.origin.of("id"),
            f"`{c.id}` ({layer}) measures something else than `{c.id}` ({other[0]}) at {other[1].origin}",
            "the same id is the same constraint in every layer: give this one an id of its own",
            (_measure(c), _measure(other[1])),
        )
        return found
    locked = next(((name, o) for name, o in above if o.locked), None)
    if locked:
        report(
            "CFT306",
            c.origin.of("id"),
            f"`{c.id}` is locked by {locked[0]} at {locked[1].origin}: {layer} cannot state it again",
            "remove it here; even a tightening needs the lock to be lifted by its owner",
        )
        return found
    for name in MERGED:
        if name == "waiver_floor" and c.waiver_floor is None:
            continue  # claims nothing; its bound has been compared
        if name == "waiver_approvals" and c.waiver_approvals == 1:
            continue  # left out
        mine = strictness(c, name)
        higher = next(((n, o) for n, o in above if strictness(o, name) > mine), None)
        if higher:
            report(
                "CFT305",
                _written(c, name),
                f"`{name}` of `{c.id}` ({layer}) is looser than {higher[0]} demands "
                f"at {_written(higher[1], name)}",
                "a lower layer may only tighten; an exception needs a waiver in the tenant document",
                (shown(c, name), shown(higher[1], name)),
            )
    return found


def _written(constraint: Constraint, name: str) -> Origin:
    """Where a merged field was written."""
    return constraint.origin.of(constraint.direction.value if name == "bound" else name)


def _measure(constraint: Constraint) -> str:
    parts = [constraint.metric, *(f"{k}={v}" for k, v in constraint.parameters.items())]
    scope = constraint.scope.observed
    parts += [
        f"{name}={'|'.join(getattr(scope, name))}"
        for name in ("languages", "audiences", "routing_patterns")
        if getattr(scope, name)
    ]
    return " ".join(parts)


def shown(constraint: Constraint, name: str) -> str:
    """The value of a merged field as text: `at_most 0.05`."""
    value = getattr(constraint, name)
    if value is None:
        return "none: cannot be waived"
    text = decimal(value) if isinstance(value, float) else str(value)
    return f"{constraint.direction.value} {text}" if name == "bound" else text
