"""The tenant document: who may decide what, which constraint sets hold, which waivers are in force."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path

from coherence_ft.documents.constraint_reader import origin, read_constraint_set
from coherence_ft.documents.constraint_set import DOMAINS, ConstraintSet, Level, Origin
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.extends import locate
from coherence_ft.documents.reader import Document, JsonPath, get, read_yaml
from coherence_ft.documents.rules import DOCUMENT_RULES, unknown_domain
from coherence_ft.documents.schemas import check

SOURCES = (
    "statute",
    "regulator-guidance",
    "tenant-policy",
    "retrieved-document",
    "conversation",
    "model",
)
"""Where claims come from, the most trusted first, where a tenant gives no order of its own."""


class Power(StrEnum):
    SET = "set"  # own constraints
    TIGHTEN = "tighten"  # narrow a bound that somebody else set
    WAIVE = "waive"  # approve a waiver
    ATTEST = "attest"  # make signed manifests
    COUNTERSIGN = "countersign"  # sign beside the maker
    DELEGATE = "delegate"  # lend `set`, `tighten` and `waive`


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A public key (PEM) and the days on which a manifest may have been made that it signed.

    Both days are included and compared with the manifest's own `createdAt`. A revoked key verifies nothing,
    whatever the day; a listed file that is missing neither.
    """

    path: Path
    valid_from: date | None = None
    valid_until: date | None = None
    revoked: date | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ListedCertificate:
    """Certificates that chain to `root` (PEM) and whose leaf carries each of the names that are given."""

    root: Path
    subject: str | None = None  # RFC 4514
    san: str | None = None


@dataclass(frozen=True, slots=True)
class ListedIdentity:
    """An OpenID Connect identity, as a Sigstore certificate names it."""

    issuer: str
    identity: str


@dataclass(frozen=True, slots=True)
class Authority:
    id: str
    title: str
    level: Level
    powers: frozenset[Power]
    public_keys: tuple[ListedKey, ...]
    origin: Origin
    certificates: tuple[ListedCertificate, ...] = ()
    identities: tuple[ListedIdentity, ...] = ()


@dataclass(frozen=True, slots=True)
class Layer:
    """A constraint set adopted at a level. Higher levels bind lower ones."""

    level: Level
    authority: str  # who adopted it
    constraint_set: ConstraintSet
    origin: Origin


@dataclass(frozen=True, slots=True)
class Waiver:
    """The only thing that relaxes: one constraint, one domain, dated, approved by somebody else."""

    constraint: str
    domain: str
    bound: float
    requested_by: str
    approved_by: tuple[str, ...]
    reason: str
    expires: date  # the last day on which it holds
    origin: Origin
    recipe: str | None = None  # None: every recipe of the domain


@dataclass(frozen=True, slots=True)
class Delegation:
    """Powers lent until a date. Who holds them acts at the lender's level."""

    lender: str
    holder: str
    powers: frozenset[Power]
    domains: tuple[str, ...]  # empty: all
    depth: int  # how many times they may be passed on
    reason: str
    expires: date  # the last day on which it holds
    origin: Origin


@dataclass(frozen=True, slots=True)
class Countersigning:
    """Whose signatures a certified derivative needs beside its maker's before it may be loaded."""

    authorities: tuple[str, ...]
    at_least: int  # of them
    domains: tuple[str, ...]  # empty: all
    reason: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Revocation:
    """A manifest that was withdrawn, by the sha256 (hex) of its file."""

    manifest: str
    by: str
    since: date
    reason: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Tenant:
    id: str
    title: str
    authorities: tuple[Authority, ...]
    layers: tuple[Layer, ...]
    waivers: tuple[Waiver, ...]
    domains: tuple[str, ...]  # published ones and the tenant's own
    path: str
    delegations: tuple[Delegation, ...] = ()
    sources: tuple[str, ...] = SOURCES  # of claims, the most trusted first
    countersignatures: tuple[Countersigning, ...] = ()
    revocations: tuple[Revocation, ...] = ()
    sigstore_trusted_root: Path | None = None  # None: that of the public instance

    def authority(self, id: str) -> Authority | None:
        return next((a for a in self.authorities if a.id == id), None)


def read_tenant(path: Path | str, document: Document | None = None) -> Tenant:
    """Read a tenant document and the constraint sets of its layers.

    Raises `CoherenceError` with everything that is wrong in any of them (CFT1xx, 2xx, 307, 4xx). Whether the
    authorities may do what they do is asked when constraints are resolved. `document` is the file's content
    where it has been read already.
    """
    document = document or read_yaml(path)
    check(document, "tenant")
    data = document.data
    problems: list[Diagnostic] = []
    for rule in DOCUMENT_RULES:
        problems += rule.check(document)
    layers: list[Layer] = []
    for index in range(len(data["layers"])):
        try:
            layers.append(_layer(document, index))
        except CoherenceError as error:
            problems += error.diagnostics
    domains = tuple(dict.fromkeys((*DOMAINS, *data.get("domains", ()))))
    problems += unknown_domain.check(document, layers, domains)
    if problems:
        raise CoherenceError(problems)
    return Tenant(
        id=data["id"],
        title=data["title"],
        authorities=tuple(_authority(document, n) for n in range(len(data["authorities"]))),
        layers=tuple(layers),
        waivers=tuple(_waiver(document, n) for n in range(len(data.get("waivers", ())))),
        domains=domains,
        path=document.path,
        delegations=tuple(_delegation(document, n) for n in range(len(data.get("delegations", ())))),
        sources=tuple(source["id"] for source in data["sources"]) if "sources" in data else SOURCES,
        countersignatures=tuple(
            _countersigning(document, n) for n in range(len(data.get("countersignatures", ())))
        ),
        revocations=tuple(_revocation(document, n) for n in range(len(data.get("revocations", ())))),
        sigstore_trusted_root=document.file(("sigstore_trusted_root",))
        if "sigstore_trusted_root" in data
        else None,
    )


def _authority(document: Document, index: int) -> Authority:
    at: JsonPath = ("authorities", index)
    data = document.data["authorities"][index]
    return Authority(
        id=data["id"],
        title=data["title"],
        level=Level(data["level"]),
        powers=frozenset(map(Power, data["powers"])),
        public_keys=tuple(
            _listed_key(document, (*at, "public_keys", n)) for n in range(len(data.get("public_keys", ())))
        ),
        origin=origin(document, at),
        certificates=tuple(
            ListedCertificate(
                document.file((*at, "certificates", n, "root")), each.get("subject"), each.get("san")
            )
            for n, each in enumerate(data.get("certificates", ()))
        ),
        identities=tuple(
            ListedIdentity(each["issuer"], each["identity"]) for each in data.get("identities", ())
        ),
    )


def _listed_key(document: Document, at: JsonPath) -> ListedKey:
    data = get(document.data, at)
    if isinstance(data, str):
        return ListedKey(document.file(at))
    days = {name: date.fromisoformat(data[name]) for name in ("from", "until", "revoked") if name in data}
    return ListedKey(
        document.file((*at, "file")),
        valid_from=days.get("from"),
        valid_until=days.get("until"),
        revoked=days.get("revoked"),
        reason=data.get("reason"),
    )


def _layer(document: Document, index: int) -> Layer:
    at: JsonPath = ("layers", index)
    data = document.data["layers"][index]
    return Layer(
        level=Level(data["level"]),
        authority=data["authority"],
        constraint_set=read_constraint_set(locate(document, (*at, "set"), data["set"])),
        origin=origin(document, at),
    )


def _waiver(document: Document, index: int) -> Waiver:
    at: JsonPath = ("waivers", index)
    data = document.data["waivers"][index]
    return Waiver(
        constraint=data["constraint"],
        domain=data["domain"],
        bound=float(data["bound"]),
        requested_by=data["requested_by"],
        approved_by=tuple(data["approved_by"]),
        reason=data["reason"],
        expires=date.fromisoformat(data["expires"]),
        origin=origin(document, at),
        recipe=data.get("recipe"),
    )


def _delegation(document: Document, index: int) -> Delegation:
    at: JsonPath = ("delegations", index)
    data = document.data["delegations"][index]
    return Delegation(
        lender=data["from"],
        holder=data["to"],
        powers=frozenset(map(Power, data["powers"])),
        domains=tuple(data.get("domains", ())),
        depth=data.get("depth", 0),
        reason=data["reason"],
        expires=date.fromisoformat(data["expires"]),
        origin=origin(document, at),
    )


def _countersigning(document: Document, index: int) -> Countersigning:
    at: JsonPath = ("countersignatures", index)
    data = document.data["countersignatures"][index]
    return Countersigning(
        authorities=tuple(data["authorities"]),
        at_least=data.get("at_least", len(data["authorities"])),
        domains=tuple(data.get("domains", ())),
        reason=data["reason"],
        origin=origin(document, at),
    )


def _revocation(document: Document, index: int) -> Revocation:
    at: JsonPath = ("revocations", index)
    data = document.data["revocations"][index]
    return Revocation(
        manifest=data["manifest"],
        by=data["by"],
        since=date.fromisoformat(data["since"]),
        reason=data["reason"],
        origin=origin(document, at),
    )
