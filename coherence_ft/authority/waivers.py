"""Waivers: the only thing that relaxes a constraint.

A waiver holds for one constraint in one domain until a date, and for one recipe if it names it. Others than
the requester approve it, as many as the constraint asks for, each with the power `waive` and a level at least
as high as the constraint owner's, and never past a `waiver_floor`: each layer's bound gives way only as far
as that layer's floor says. An expired waiver is absent: it relaxes nothing and blocks nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from coherence_ft.authority.delegation import Grants
from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.constraint_set import NOWHERE, Constraint, Origin
from coherence_ft.documents.diagnostics import Diagnostic, Severity
from coherence_ft.documents.schemas import suggestion
from coherence_ft.documents.tenant import Power, Tenant, Waiver

SOON = 30
"""Days before its last one from which a waiver is announced to expire."""


def expired(waiver: Waiver, today: date) -> bool:
    """`expires` is the last day on which the waiver holds."""
    return today > waiver.expires


def problems(
    waiver: Waiver, tenant: Tenant, constraint: Constraint | None, today: date, grants: Grants
) -> list[Diagnostic]:
    """What keeps the waiver from holding. Errors make it invalid; warnings say that it does nothing.

    `constraint` is the resolved one (strictest bound, highest owner), or None where the waiver's
    constraint does not exist in the domain. An expired waiver yields its warning alone.
    """
    found: list[Diagnostic] = []

    def report(
        code: str,
        at: Origin,
        message: str,
        help: str,
        *,
        severity: Severity = Severity.ERROR,
        **facts: str,
    ) -> None:
        found.append(at.diagnostic(code, message, severity=severity, help=help, **facts))

    name = f"the waiver of `{waiver.constraint}` in `{waiver.domain}`"
    written = waiver.origin.of
    if expired(waiver, today):
        report(
            "CFT315",
            written("expires"),
            f"{name} expired on {waiver.expires}: it relaxes nothing any more",
            "remove it, or have it approved again with a new date",
            severity=Severity.WARNING,
        )
        return found

    authorities = {a.id: a for a in tenant.authorities}
    ids = list(authorities)
    approved = {id: written("approved_by", n) for n, id in enumerate(waiver.approved_by)}
    for role, id, at in (
        ("requested_by", waiver.requested_by, written("requested_by")),
        *(("approved_by", id, at) for id, at in approved.items()),
    ):
        if id not in ids:
            report(
                "CFT301",
                at,
                f"{name}: `{role}` names an authority that the tenant does not know",
                suggestion(id, ids) or "name an authority of the tenant document",
                found=id,
            )
    if waiver.requested_by in waiver.approved_by:
        report(
            "CFT311",
            approved[waiver.requested_by],
            f"{name} is approved by the one who requested it",
            "let another authority with the power `waive` approve it",
            found=f"{waiver.requested_by} twice",
        )
    approvers = [id for id in waiver.approved_by if id in ids]
    for id in approvers:
        if Power.WAIVE not in (held := grants.powers(id, waiver.domain)):
            report(
                "CFT302",
                approved[id],
                f"{name}: `{id}` lacks the power to approve it",
                "let an authority with the power `waive` approve it",
                found=", ".join(sorted(held)) or "no powers",
                expected="waive",
            )
    if not waiver.reason.strip():
        report(
            "CFT314",
            written("reason"),
            f"{name} gives no reason",
            "say in one sentence why the exception is acceptable",
        )
    if constraint is None:
        stated = {c.id for layer in tenant.layers for c in layer.constraint_set.constraints}
        report(
            "CFT316",
            written("constraint"),
            f"{name} has no effect: no layer states that constraint for this domain",
            suggestion(waiver.constraint, sorted(stated))
            or "check the constraint's id, or remove the waiver",
            severity=Severity.WARNING,
        )
        return found

    owner = tenant.authority(constraint.owner)
    if owner is None:
        report(
            "CFT301",
            written("constraint"),
            f"{name}: the constraint's owner is no authority of the tenant, so nobody ranks at least as high",
            "name an authority of the tenant document as the constraint's owner",
            found=constraint.owner,
        )
    else:
        needed = grants.level(owner.id, (Power.SET, Power.TIGHTEN), waiver.domain) or owner.level
        for id in approvers:
            level = grants.level(id, (Power.WAIVE,), waiver.domain) or authorities[id].level
            if level.rank > needed.rank:
                report(
                    "CFT312",
                    approved[id],
                    f"{name}: `{id}` ranks below the constraint's owner `{owner.id}`",
                    f"let an authority at level {needed} or above approve it",
                    found=level.value,
                    expected=f"{needed.value} or higher",
                )
    if (approvals := len({*waiver.approved_by})) < constraint.waiver_approvals:
        report(
            "CFT335",
            written("approved_by"),
            f"{name} has too few approvals",
            f"let {constraint.waiver_approvals - approvals} more approve it",
            found=str(approvals),
            expected=f"at least {constraint.waiver_approvals}",
        )
    if constraint.waiver_floor is None:
        report(
            "CFT313",
            written("bound"),
            f"{name}: the constraint cannot be waived",
            "the layer that states the strictest bound must give a `waiver_floor` for it",
            found="no waiver_floor",
        )
    elif constraint.direction.is_looser(waiver.bound, constraint.waiver_floor):
        report(
            "CFT313",
            written("bound"),
            f"{name} goes past the owner's waiver floor",
            "ask for a bound within the floor, or ask the owner to move the floor",
            found=decimal(waiver.bound),
            expected=f"{constraint.direction.value} {decimal(constraint.waiver_floor)}",
        )
    if not constraint.direction.is_looser(waiver.bound, constraint.bound):
        report(
            "CFT316",
            written("bound"),
            f"{name} has no effect: its bound {decimal(waiver.bound)} is not looser than the constraint's "
            f"{decimal(constraint.bound)}",
            "remove it",
            severity=Severity.WARNING,
        )
    return found


def expiring(waiver: Waiver, today: date) -> list[Diagnostic]:
    """The warning that a waiver in force soon will not be (CFT336)."""
    left, at = (waiver.expires - today).days, waiver.origin.of("expires")
    if left >= SOON:
        return []
    return [
        at.diagnostic(
            "CFT336",
            f"the waiver of `{waiver.constraint}` in `{waiver.domain}` expires on {waiver.expires}, "
            + {0: "today", 1: "tomorrow"}.get(left, f"in {left} days"),
            severity=Severity.WARNING,
            help="meet the constraint until then, or have the waiver approved again",
        )
    ]


def choose(waivers: Iterable[Waiver], constraint: Constraint) -> Waiver | None:
    """The one that holds among several in force: the strictest bound, then the latest expiry."""
    return min(
        waivers,
        key=lambda w: (
            abs(w.bound - constraint.bound),
            -w.expires.toordinal(),
            (sorted(w.approved_by), w.requested_by, w.reason),
        ),
        default=None,
    )


def to_json(waiver: Waiver) -> dict[str, Any]:
    return {
        "constraint": waiver.constraint,
        "domain": waiver.domain,
        "bound": decimal(waiver.bound),
        "requested_by": waiver.requested_by,
        "approved_by": list(waiver.approved_by),
        "reason": waiver.reason,
        "expires": waiver.expires.isoformat(),
        "recipe": waiver.recipe,
    }


def from_json(data: dict[str, Any]) -> Waiver:
    """Raises KeyError, TypeError or ValueError on malformed data."""
    return Waiver(
        data["constraint"],
        data["domain"],
        float(data["bound"]),
        data["requested_by"],
        tuple(data["approved_by"]),
        data["reason"],
        date.fromisoformat(data["expires"]),
        NOWHERE,
        data["recipe"],
    )
