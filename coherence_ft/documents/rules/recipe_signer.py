"""CFT301, CFT302: a recipe's signer that the tenant does not know, or that may not sign manifests.

The codes are in documents/codes/authority.py: `authority/` raises them too. In no list, since it looks at the
tenant as well.
"""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document
from coherence_ft.documents.schemas import either, suggestion
from coherence_ft.documents.tenant import Power, Tenant


def check(document: Document, tenant: Tenant) -> Iterator[Diagnostic]:
    signer = document.data["signer"]
    authority = tenant.authority(signer)
    able = [a.id for a in tenant.authorities if Power.ATTEST in a.powers]
    if authority is None:
        yield document.diagnostic(
            "CFT301",
            f"the tenant knows no authority `{signer}`",
            ("signer",),
            found=signer,
            expected=either(able) if able else "",
            help=suggestion(signer, able),
        )
    elif Power.ATTEST not in authority.powers:
        yield document.diagnostic(
            "CFT302",
            f"`{signer}` may not sign manifests",
            ("signer",),
            found=f"powers: {', '.join(sorted(authority.powers)) or 'none'}",
            expected="the power attest" + (f", as {either(able)}" if able else ""),
        )
