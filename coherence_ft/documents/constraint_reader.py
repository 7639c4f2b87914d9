"""Reading constraint sets: YAML to frozen objects, and everything that is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coherence_ft.documents.constraint_set import (
    EVERYWHERE,
    NOWHERE,
    Act,
    Band,
    Constraint,
    ConstraintSet,
    Enforcement,
    Measurement,
    NamedConstraint,
    Origin,
    RoleBoundary,
    Scope,
    Wording,
)
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.extends import Extending, read_extensions
from coherence_ft.documents.metrics import METRICS, Direction
from coherence_ft.documents.reader import Document, JsonPath, get, read_yaml
from coherence_ft.documents.rules import CONSTRAINT_RULES, DOCUMENT_RULES, SET_RULES, wrong_direction
from coherence_ft.documents.schemas import check


def read_constraint_set(
    path: Path | str, document: Document | None = None, *, _extended_by: Extending | None = None
) -> ConstraintSet:
    """Read a constraint set and the sets that it extends.

    `document` is the file's content where it has been read already. Raises `CoherenceError` with everything
    that is wrong (CFT1xx, 2xx, 3xx where the set loosens one that it extends, 4xx).
    """
    document = document or read_yaml(path)
    check(document, "constraint-set")
    data = document.data
    constraints, problems = parse_constraints(document, ("constraints",))
    own = ConstraintSet(
        id=data["id"],
        title=data["title"],
        domain=data.get("domain"),
        constraints=constraints,
        path=document.path,
        role_boundaries=tuple(
            RoleBoundary(
                b["id"],
                tuple(b["topics"]),
                tuple(b["referral"]),
                tuple(b.get("forbidden", ())),
                b["owner"],
                b["reason"],
                origin(document, ("role_boundaries", n)),
            )
            for n, b in enumerate(data.get("role_boundaries", ()))
        ),
        named_constraints=tuple(
            NamedConstraint(
                c["id"],
                tuple(c.get("forbidden", ())),
                tuple(c.get("required", ())),
                c["owner"],
                c["reason"],
                origin(document, ("named_constraints", n)),
            )
            for n, c in enumerate(data.get("named_constraints", ()))
        ),
        wording=tuple(_wording(document, n, w) for n, w in enumerate(data.get("wording", ()))),
        measurement=Measurement(
            **data.get("measurement", {}),
            origin=origin(document, ("measurement",)) if "measurement" in data else NOWHERE,
        ),
    )
    for rule in DOCUMENT_RULES:
        problems += rule.check(document)
    for rule in SET_RULES:
        problems += rule.check(own, document)
    if "extends" not in data:
        if problems:
            raise CoherenceError(problems)
        return own
    extended, wrong = read_extensions(own, document, read_constraint_set, _extended_by or Extending())
    if problems or wrong:
        raise CoherenceError([*problems, *wrong])
    return extended


def parse_constraints(document: Document, at: JsonPath) -> tuple[tuple[Constraint, ...], list[Diagnostic]]:
    """The constraints in a list that its schema has accepted, and what is wrong with each of them."""
    constraints: list[Constraint] = []
    problems: list[Diagnostic] = []
    for index, data in enumerate(get(document.data, at) or ()):
        place = (*at, index)
        metric = METRICS[data["metric"]]
        given = Direction.AT_MOST if "at_most" in data else Direction.AT_LEAST
        constraint = Constraint(
            id=data["id"],
            metric=metric.name,
            direction=metric.direction,
            bound=float(data[given.value]),
            confidence=float(data["confidence"]),
            minimum_evidence=int(data["minimum_evidence"]),
            enforcement=Enforcement(data["enforcement"]),
            owner=data["owner"],
            reason=data["reason"],
            locked=data.get("locked", False),
            waiver_floor=_float(data.get("waiver_floor")),
            waiver_approvals=int(data.get("waiver_approvals", 1)),
            coverage=_float(data.get("coverage")),
            relation=data.get("relation"),
            category=data.get("category"),
            scope=_scope(data["scope"]) if "scope" in data else EVERYWHERE,
            origin=origin(document, place),
        )
        constraints.append(constraint)
        wrong = list(wrong_direction.check(metric, given, document, place))
        if not wrong:
            for rule in CONSTRAINT_RULES:
                wrong += rule.check(constraint, document, place)
        problems += wrong
    return tuple(constraints), problems


def origin(document: Document, at: JsonPath) -> Origin:
    return Origin(document.path, *document.place(at), document, at)


def _wording(document: Document, index: int, data: dict[str, Any]) -> Wording:
    at: JsonPath = ("wording", index)
    bands = tuple(
        Band(float(b["from"]), Act(b["act"]), b["phrase"], origin(document, (*at, "bands", n)))
        for n, b in enumerate(data["bands"])
    )
    return Wording(data.get("audience"), bands, data["owner"], data["reason"], origin(document, at))


def _scope(data: dict[str, list[str]]) -> Scope:
    return Scope(**{name: tuple(values) for name, values in data.items()})


def _float(value: Any) -> float | None:
    return None if value is None else float(value)
