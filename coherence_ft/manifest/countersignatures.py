"""Countersignatures: further bundles over exactly the manifest's bytes, each named for its authority."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, time
from typing import Any

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.tenant import Authority, Power, Tenant
from coherence_ft.manifest.files import OpenFolder, countersigner, place, unreadable
from coherence_ft.manifest.reading import MAX_BYTES, parse_envelope
from coherence_ft.manifest.signatures import created_at, signed_by
from coherence_ft.manifest.signing import Envelope
from coherence_ft.manifest.statement import Stage

POWERS = frozenset({Power.COUNTERSIGN, Power.ATTEST})
"""Either lets an authority sign beside the maker."""


def countersigners(
    opened: OpenFolder,
    content: bytes,
    predicate: Mapping[str, Any],
    maker_key: str,
    tenant: Tenant,
    today: date,
) -> tuple[tuple[str, ...], list[Diagnostic]]:
    """The authorities that countersigned, in order, and what is wrong with the folder's countersignatures.

    `content`: the manifest's bytes. `maker_key`: the id of the key of its first signature. One that does not
    count is never passed over: CFT301, CFT6xx.
    """
    signed: list[str] = []
    found: list[Diagnostic] = []
    for name in sorted(opened.files):
        if (id := countersigner(name)) is None:
            continue
        try:
            found += _problems(opened, name, id, content, predicate, maker_key, tenant, today)
            signed.append(id)
        except CoherenceError as error:
            found += error.diagnostics
    return tuple(signed), found


def _problems(
    opened: OpenFolder,
    name: str,
    id: str,
    content: bytes,
    predicate: Mapping[str, Any],
    maker_key: str,
    tenant: Tenant,
    today: date,
) -> list[Diagnostic]:
    where = place(opened.path, name)
    countersigning_authority(tenant, id, where)
    try:
        envelope = parse_envelope(opened.read(name, MAX_BYTES), where)
    except OSError as error:
        return [unreadable(opened.path, name, error)]
    if envelope.payload != content:
        return [Diagnostic("CFT608", "the countersigned bytes are not those of the manifest file", where)]
    return problems(envelope, id, predicate, maker_key, tenant, today, where)


def problems(
    envelope: Envelope,
    id: str,
    predicate: Mapping[str, Any],
    maker_key: str,
    tenant: Tenant,
    today: date,
    where: str,
) -> list[Diagnostic]:
    """Why this signature does not count as a countersignature by the authority `id`."""
    holders, refused = signed_since(envelope, tenant, predicate, today, where)
    if refused:
        return refused
    if id not in {holder.id for holder in holders}:
        return [
            Diagnostic(
                "CFT623",
                "the countersignature is named for another authority than the one that signed",
                where,
                found=", ".join(holder.id for holder in holders),
                expected=id,
            )
        ]
    if id == predicate["evaluation"]["evaluator"] or envelope.key_id == maker_key:
        return [by_the_maker(id, where)]
    if len(holders) > 1:
        return [
            Diagnostic(
                "CFT675",
                "the key that countersigned is listed under several authorities, so it is nobody's own",
                where,
                found=", ".join(holder.id for holder in holders),
                expected=id,
                help=f"each authority in {tenant.path} that is to countersign needs a key of its own",
            )
        ]
    return []


def countersigning_authority(tenant: Tenant, id: str, where: str) -> Authority:
    """Raises CoherenceError: CFT301 for an authority that the tenant does not know, CFT632 for one that may
    not countersign."""
    authority = tenant.authority(id)
    if authority is None:
        able = sorted(a.id for a in tenant.authorities if a.powers & POWERS)
        raise refusal(
            "CFT301",
            "a countersignature in the name of an authority that the tenant does not know",
            path=where,
            found=id,
            expected=", ".join(able),
        )
    if not authority.powers & POWERS:
        raise refusal(
            "CFT632",
            f"the signer has no power to countersign: {id}",
            path=where,
            help=f"an authority whose powers in {tenant.path} include `countersign` must sign",
        )
    return authority


def by_the_maker(id: str, where: str) -> Diagnostic:
    return Diagnostic(
        "CFT624",
        "whoever made the manifest cannot countersign it",
        where,
        found=f"{id}, or the key that made it",
        help="a countersignature is another authority's, with a key of its own",
    )


def signed_since(
    envelope: Envelope, tenant: Tenant, predicate: Mapping[str, Any], today: date, where: str
) -> tuple[tuple[Authority, ...], list[Diagnostic]]:
    """As `signed_by`, for a signature made at some time since the manifest was: nothing says when.

    So a key or a certificate counts if it was valid at any moment from the manifest's `createdAt` to today.
    """
    made = created_at(predicate, where)
    days = {
        key.valid_from
        for authority in tenant.authorities
        for key in authority.public_keys
        if key.valid_from and made.date() < key.valid_from <= today
    }
    moments = {datetime.combine(day, time(), UTC) for day in days | {today}}
    if envelope.certificate is not None:
        from coherence_ft.authority.certificates import begins  # costs time, and few bundles need it

        moments |= {
            start for start in (begins(envelope.certificate),) if made < start and start.date() <= today
        }
    then = signed_by(envelope, tenant, made, where)
    for moment in sorted(moments) if then[1] else ():
        later = signed_by(envelope, tenant, moment, where)
        if not later[1]:
            return later
    return then


def awaited(tenant: Tenant, predicate: Mapping[str, Any], signed: Collection[str]) -> tuple[str, ...]:
    """Whose countersignatures the tenant still demands, rule by rule; empty for what is not certified."""
    if predicate["stage"] != Stage.CERTIFIED:
        return ()
    texts: list[str] = []
    for rule in tenant.countersignatures:
        if rule.domains and predicate["domain"] not in rule.domains:
            continue
        open_ = [id for id in dict.fromkeys(rule.authorities) if id not in signed]
        still = rule.at_least - len(set(rule.authorities) & set(signed))
        if still > 0:
            texts.append(", ".join(open_) if still == len(open_) else f"{still} of {', '.join(open_)}")
    return tuple(texts)


def missing(texts: tuple[str, ...], predicate: Mapping[str, Any], where: str) -> list[Diagnostic]:
    """CFT622 for each rule that `awaited` found open."""
    maker = predicate["evaluation"]["evaluator"]
    return [
        Diagnostic(
            "CFT622",
            f"countersignatures that the tenant demands are missing: {text}",
            where,
            found=f"made by {maker}, who cannot countersign" if maker in text.split(", ") else "",
            help="`coherence-ft countersign DIR --authority ID`, by each of them",
        )
        for text in texts
    ]
