"""Authorities that nothing in a tenant document uses (CFT331)."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.authority.layers import ADOPTER, Owned
from coherence_ft.documents.diagnostics import Diagnostic, Severity
from coherence_ft.documents.tenant import Power, Tenant

_ON_CALL = {Power.ATTEST, Power.COUNTERSIGN, Power.WAIVE}


def unused_authorities(tenant: Tenant) -> Iterator[Diagnostic]:
    """A warning for each. Who may sign or approve is used: keys and recipes of others name it."""
    named = {name for d in tenant.delegations for name in (d.lender, d.holder)}
    for waiver in tenant.waivers:
        named |= {waiver.requested_by, *waiver.approved_by}
    named |= {id for rule in tenant.countersignatures for id in rule.authorities}
    named |= {revocation.by for revocation in tenant.revocations}
    for layer in tenant.layers:
        named.add(layer.authority)
        for each in (layer.constraint_set, *layer.constraint_set.ancestors()):
            stated: tuple[Owned, ...] = (
                *each.constraints,
                *each.role_boundaries,
                *each.named_constraints,
                *each.wording,
            )
            named |= {s.owner for s in stated if s.owner != ADOPTER}
    for authority in tenant.authorities:
        if authority.id not in named and not authority.powers & _ON_CALL:
            at = authority.origin.of("id")
            yield at.diagnostic(
                "CFT331",
                f"nothing uses the authority `{authority.id}`",
                severity=Severity.WARNING,
                help="remove it, or name it in a layer, a constraint, a waiver or a delegation",
            )
