"""Waivers: the only thing that relaxes a constraint.

A waiver holds for one constraint in one domain until a date. Somebody other than the requester approves it,
with the power `waive` and a level at least as high as the constraint owner's, and never past a
`waiver_floor`: each layer's bound gives way only as far as that layer's floor says. An expired waiver is
absent: it relaxes nothing and blocks nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.constraint_set import Constraint, Origin
from coherence_ft.documents.diagnostics import Diagnostic, Severity
from coherence_ft.documents.tenant import Power, Tenant, Waiver


def expired(waiver: Waiver, today: date) -> bool:
    """`expires` is the last day on which the waiver holds."""
    return today > waiver.expires


def problems(waiver: Waiver, tenant: Tenant, constraint: Constraint | None, today: date) -> list[Diagnostic]:
    """What keeps the waiver from holding. Errors make it invalid; warnings say that it does nothing.

    `constraint` is the resolved one (strictest bound, highest owner), or None where the waiver's
    constraint does not exist in the domain. An expired waiver yields its warning alone.
    """
    found: list[Diagnostic] = []

    def report(
        code: str, message: str, help: str, *, severity: Severity = Severity.ERROR, **facts: str
    ) -> None:
        at = waiver.origin
        found.append(
            Diagnostic(code, message, at.path, at.line, at.column, severity=severity, help=help, **facts)
        )

    name = f"the waiver of `{waiver.constraint}` in `{waiver.domain}`"
    if expired(waiver, today):
        report(
            "CFT315",
            f"{name} expired on {waiver.expires}: it relaxes nothing any more",
            "remove it, or have it approved again with a new date",
            severity=Severity.WARNING,
        )
        return found

    approver = tenant.authority(waiver.approved_by)
    for role, id in (("requested_by", waiver.requested_by), ("approved_by", waiver.approved_by)):
        if tenant.authority(id) is None:
            report(
                "CFT301",
                f"{name}: `{role}` names an authority that the tenant does not know",
                "name an authority of the tenant document",
                found=id,
            )
    if waiver.requested_by == waiver.approved_by:
        report(
            "CFT311",
            f"{name} is approved by the one who requested it",
            "let another authority with the power `waive` approve it",
            found=f"{waiver.approved_by} twice",
        )
    if approver and Power.WAIVE not in approver.powers:
        report(
            "CFT302",
            f"{name}: `{approver.id}` lacks the power to approve it",
            "let an authority with the power `waive` approve it",
            found=", ".join(sorted(approver.powers)) or "no powers",
            expected="waive",
        )
    if not waiver.reason.strip():
        report("CFT314", f"{name} gives no reason", "say in one sentence why the exception is acceptable")
    if constraint is None:
        report(
            "CFT316",
            f"{name} has no effect: no layer states that constraint for this domain",
            "check the constraint's id, or remove the waiver",
            severity=Severity.WARNING,
        )
        return found

    owner = tenant.authority(constraint.owner)
    if owner is None:
        report(
            "CFT301",
            f"{name}: the constraint's owner is no authority of the tenant, so nobody ranks at least as high",
            "name an authority of the tenant document as the constraint's owner",
            found=constraint.owner,
        )
    elif approver and approver.level.rank > owner.level.rank:
        report(
            "CFT312",
            f"{name}: `{approver.id}` ranks below the constraint's owner `{owner.id}`",
            f"let an authority at level {owner.level} or above approve it",
            found=approver.level.value,
            expected=f"{owner.level.value} or higher",
        )
    if constraint.waiver_floor is None:
        report(
            "CFT313",
            f"{name}: the constraint cannot be waived",
            "the layer that states the strictest bound must give a `waiver_floor` for it",
            found="no waiver_floor",
        )
    elif constraint.direction.is_looser(waiver.bound, constraint.waiver_floor):
        report(
            "CFT313",
            f"{name} goes past the owner's waiver floor",
            "ask for a bound within the floor, or ask the owner to move the floor",
            found=decimal(waiver.bound),
            expected=f"{constraint.direction.value} {decimal(constraint.waiver_floor)}",
        )
    if not constraint.direction.is_looser(waiver.bound, constraint.bound):
        report(
            "CFT316",
            f"{name} has no effect: its bound {decimal(waiver.bound)} is not looser than the constraint's "
            f"{decimal(constraint.bound)}",
            "remove it",
            severity=Severity.WARNING,
        )
    return found


def choose(waivers: Iterable[Waiver], constraint: Constraint) -> Waiver | None:
    """The one that holds among several in force: the strictest bound, then the latest expiry."""
    return min(
        waivers,
        key=lambda w: (
            abs(w.bound - constraint.bound),
            -w.expires.toordinal(),
            (w.approved_by, w.requested_by, w.reason),
        ),
        default=None,
    )


def to_json(waiver: Waiver) -> dict[str, Any]:
    return {
        "constraint": waiver.constraint,
        "domain": waiver.domain,
        "bound": decimal(waiver.bound),
        "requested_by": waiver.requested_by,
        "approved_by": waiver.approved_by,
        "reason": waiver.reason,
        "expires": waiver.expires.isoformat(),
    }


def from_json(data: dict[str, Any]) -> Waiver:
    """Raises KeyError, TypeError or ValueError on malformed data."""
    return Waiver(
        data["constraint"],
        data["domain"],
        float(data["bound"]),
        data["requested_by"],
        data["approved_by"],
        data["reason"],
        date.fromisoformat(data["expires"]),
        Origin("", 0, 0),
    )
