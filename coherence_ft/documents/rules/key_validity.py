"""CFT669: a key whose last day is before its first."""

from __future__ import annotations

from collections.abc import Iterator

from coherence_ft.documents.codes import Code
from coherence_ft.documents.diagnostics import Diagnostic
from coherence_ft.documents.reader import Document, get

CODE = Code(
    "CFT669",
    "a key whose last day is before its first",
    "Such a key would verify nothing at all. Whoever meant that says `revoked`, so that its signatures are "
    "refused with the reason.",
    "public_keys: [{file: keys/risk.pub.pem, from: 2026-01-01, until: 2025-12-31}]",
    "public_keys: [{file: keys/risk.pub.pem, from: 2025-01-01, until: 2025-12-31}]",
)


def check(document: Document) -> Iterator[Diagnostic]:
    for n, authority in enumerate(get(document.data, ("authorities",)) or ()):
        for index, key in enumerate(authority.get("public_keys", ())):
            # Dates as YYYY-MM-DD order as text.
            if isinstance(key, dict) and key.get("until", "9999-12-31") < key.get("from", ""):
                yield document.diagnostic(
                    CODE.id,
                    f"a key of `{authority['id']}` ends before it begins",
                    ("authorities", n, "public_keys", index, "until"),
                    found=f"from {key['from']} until {key['until']}",
                    help="exchange the two days, or write `revoked` if it must not count at all",
                )
