"""Who signed: the authorities of a tenant whose key made the signature of an envelope."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from coherence_ft.authority import keyless
from coherence_ft.authority.key_kinds import PublicKey, key_id
from coherence_ft.authority.keys import listed_keys, load_public, out_of_use
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.tenant import Authority, ListedKey, Tenant
from coherence_ft.manifest.signing import PAYLOAD_TYPE, Envelope


def signed_by(
    envelope: Envelope, tenant: Tenant, signed_at: datetime, where: str
) -> tuple[tuple[Authority, ...], list[Diagnostic]]:
    """The authorities whose listed key, certificate or identity signed the envelope, or why there are none.

    `signed_at` (UTC): when the signer says that it was made, as the manifest's `createdAt`. `where`: the
    place that diagnostics name. What the authorities may do with their signature is for the caller to ask.

    Diagnostics: CFT630 (the signature does not fit), CFT631 (nobody's key), CFT635, CFT636 (the key did not
    count then), CFT667 (revoked), CFT676 (perhaps revoked), and with CFT631 those of listed keys that cannot
    be read (CFT662, CFT663).
    Of certificates CFT680 to CFT685; of keyless signatures CFT637 and CFT687 to CFT689.
    """
    if envelope.log is not None:
        return keyless.holders(envelope.to_json(), envelope.payload, PAYLOAD_TYPE, tenant, where)
    if envelope.certificate is not None:
        return _by_certificate(envelope, envelope.certificate, tenant, signed_at, where)
    return _by_listed_key(envelope, tenant, signed_at, where)


def created_at(predicate: Mapping[str, Any], where: str) -> datetime:
    """When a manifest says that it was made. Raises CoherenceError (CFT620) for no moment of any calendar."""
    return moment(predicate["createdAt"], where)


def moment(text: str, where: str) -> datetime:
    """A timestamp of the manifest. Raises CoherenceError (CFT620) for no moment of any calendar."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise refusal("CFT620", f"no moment of any calendar: {error}", path=where) from error


def _by_certificate(
    envelope: Envelope, certificate: bytes, tenant: Tenant, signed_at: datetime, where: str
) -> tuple[tuple[Authority, ...], list[Diagnostic]]:
    # Only here: most signatures carry no certificate, and cryptography.x509 takes its time to import.
    from cryptography.x509 import load_der_x509_certificate

    from coherence_ft.authority.certificates import certified_key, holders

    leaf = load_der_x509_certificate(certificate)  # parsed once before, or there were no envelope
    try:
        if not envelope.verifies(certified_key(leaf, where)):
            return (), [Diagnostic("CFT630", "the signature does not fit the signed bytes", where)]
    except CoherenceError as error:
        return (), list(error.diagnostics)
    # No CRL is asked: that the key is lost, the tenant says by listing it as revoked.
    if problems := _revoked(envelope, tenant, signed_at, where):
        return (), problems
    return holders(leaf, tenant.authorities, signed_at, where)


def _revoked(envelope: Envelope, tenant: Tenant, signed_at: datetime, where: str) -> list[Diagnostic]:
    """Why the key that signed is a revoked one, or may be: one whose file is missing could be any."""
    found: list[Diagnostic] = []
    lost: list[Diagnostic] = []
    for listing in (key for authority in tenant.authorities for key in authority.public_keys if key.revoked):
        try:
            if key_id(load_public(listing.path)) == envelope.key_id:
                found += out_of_use([listing], signed_at.astimezone(UTC).date(), where)
        except CoherenceError as error:
            lost.append(
                Diagnostic(
                    "CFT676",
                    "a revoked key cannot be read, so nothing shows that it is not the one that signed",
                    str(listing.path),
                    found=error.diagnostics[0].found or error.diagnostics[0].message,
                    help=f"put the public half back where {tenant.path} lists it",
                )
            )
    return found or lost


def _by_listed_key(
    envelope: Envelope, tenant: Tenant, signed_at: datetime, where: str
) -> tuple[tuple[Authority, ...], list[Diagnostic]]:
    unreadable: list[Diagnostic] = []
    holders: dict[str, list[ListedKey]] = {}  # by the id of the authority
    public: PublicKey | None = None
    for authority in tenant.authorities:
        try:
            for listing, key in listed_keys(authority):
                if key_id(key) == envelope.key_id:
                    holders.setdefault(authority.id, []).append(listing)
                    public = key
        except CoherenceError as error:
            unreadable += error.diagnostics
    if public is None:
        unknown = Diagnostic(
            "CFT631",
            f"no authority of the tenant {tenant.id!r} has the key that signed",
            where,
            found=f"key {envelope.key_id[:200]!r}",
            help=f"its public half must be listed under an authority in {tenant.path}",
        )
        return (), [unknown, *unreadable]
    if not envelope.verifies(public):
        return (), [Diagnostic("CFT630", "the signature does not fit the signed bytes", where)]
    if problems := _revoked(envelope, tenant, signed_at, where):
        return (), problems
    day = signed_at.astimezone(UTC).date()
    every = [key for listings in holders.values() for key in listings]
    if problems := out_of_use(every, day, where):
        return (), problems
    counting = {id for id, listings in holders.items() if not out_of_use(listings, day, where)}
    return tuple(a for a in tenant.authorities if a.id in counting), []
