"""The tenant document: who may decide what, which constraint sets hold, which waivers are in force."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path

from coherence_ft.documents.constraint_set import DOMAINS, ConstraintSet, Level, Origin, read_constraint_set
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.reader import Document, JsonPath, get, read_yaml
from coherence_ft.documents.schemas import check, either, schema_root, suggestion

PUBLISHED = "published:"
"""Prefix of a constraint set that ships with this package."""


class Power(StrEnum):
    SET = "set"  # own constraints
    TIGHTEN = "tighten"  # narrow a bound that somebody else set
    WAIVE = "waive"  # approve a waiver
    ATTEST = "attest"  # sign manifests


@dataclass(frozen=True, slots=True)
class Authority:
    id: str
    title: str
    level: Level
    powers: frozenset[Power]
    public_keys: tuple[Path, ...]  # PEM files; a listed file that is missing simply verifies nothing
    origin: Origin


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
    approved_by: str
    reason: str
    expires: date  # the last day on which it holds
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

    def authority(self, id: str) -> Authority | None:
        return next((a for a in self.authorities if a.id == id), None)


def read_tenant(path: Path | str) -> Tenant:
    """Read a tenant document and the constraint sets of its layers.

    Raises `CoherenceError` with everything that is wrong in any of them (CFT1xx, 2xx, 307, 4xx). Whether the
    authorities may do what they do is asked when constraints are resolved.
    """
    document = read_yaml(path)
    check(document, "tenant")
    data = document.data
    problems = [*_repeated(document)]
    layers: list[Layer] = []
    for index in range(len(data["layers"])):
        try:
            layers.append(_layer(document, index))
        except CoherenceError as error:
            problems += error.diagnostics
    domains = tuple(dict.fromkeys((*DOMAINS, *data.get("domains", ()))))
    named: list[tuple[JsonPath, str | None]] = [
        (("layers", index, "set"), layer.constraint_set.domain) for index, layer in enumerate(layers)
    ]
    waivers = data.get("waivers") or ()
    if len(layers) < len(data["layers"]):
        named = []  # a set that cannot be read has no domain
    named += [(("waivers", index, "domain"), waiver["domain"]) for index, waiver in enumerate(waivers)]
    for at, domain in named:
        if domain is not None and domain not in domains:
            problems.append(unknown_domain(document, at, domain, domains))
    if problems:
        raise CoherenceError(problems)
    return Tenant(
        id=data["id"],
        title=data["title"],
        authorities=tuple(
            Authority(
                id=authority["id"],
                title=authority["title"],
                level=Level(authority["level"]),
                powers=frozenset(map(Power, authority["powers"])),
                public_keys=tuple(
                    document.file(("authorities", index, "public_keys", n))
                    for n in range(len(authority.get("public_keys", ())))
                ),
                origin=_origin(document, ("authorities", index)),
            )
            for index, authority in enumerate(data["authorities"])
        ),
        layers=tuple(layers),
        waivers=tuple(
            Waiver(
                constraint=waiver["constraint"],
                domain=waiver["domain"],
                bound=float(waiver["bound"]),
                requested_by=waiver["requested_by"],
                approved_by=waiver["approved_by"],
                reason=waiver["reason"],
                expires=date.fromisoformat(waiver["expires"]),
                origin=_origin(document, ("waivers", index)),
            )
            for index, waiver in enumerate(waivers)
        ),
        domains=domains,
        path=document.path,
    )


def unknown_domain(document: Document, at: JsonPath, domain: str, known: tuple[str, ...]) -> Diagnostic:
    return document.diagnostic(
        "CFT307",
        f"the tenant has no domain `{domain}`",
        at,
        found=domain,
        expected=either(known),
        help=suggestion(domain, known) or "a tenant adds its own under `domains`",
    )


def _layer(document: Document, index: int) -> Layer:
    at: JsonPath = ("layers", index)
    data = document.data["layers"][index]
    name: str = data["set"]
    if name.startswith(PUBLISHED):
        folder = schema_root() / "domains"
        published = sorted(p.stem for p in folder.glob("*.yaml"))
        if name.removeprefix(PUBLISHED) not in published:
            raise CoherenceError(
                document.diagnostic(
                    "CFT410",
                    "no constraint set of this name is published",
                    (*at, "set"),
                    found=name,
                    expected=either(PUBLISHED + p for p in published),
                    help=suggestion(name.removeprefix(PUBLISHED), published),
                )
            )
        path = folder / f"{name.removeprefix(PUBLISHED)}.yaml"
    else:
        path = document.file((*at, "set"))
        require_file(document, (*at, "set"), path)
    return Layer(
        level=Level(data["level"]),
        authority=data["authority"],
        constraint_set=read_constraint_set(path),
        origin=_origin(document, at),
    )


def require_file(document: Document, at: JsonPath, path: Path) -> None:
    """Raise CFT411 at the place that names it unless the file exists."""
    if path.is_file():
        return
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    raise CoherenceError(
        document.diagnostic(
            "CFT411",
            "the document names a file that does not exist",
            at,
            found=str(get(document.data, at)),
            help=suggestion(path.name, siblings) or "paths are relative to the document that names them",
        )
    )


def _repeated(document: Document) -> list[Diagnostic]:
    """Authorities given twice: it would be open whose powers and keys count."""
    seen: set[str] = set()
    problems = []
    for index, authority in enumerate(document.data["authorities"]):
        if authority["id"] in seen:
            problems.append(
                document.diagnostic(
                    "CFT406",
                    f"the authority `{authority['id']}` is given twice",
                    ("authorities", index, "id"),
                    help="give each its own id, or merge the two",
                )
            )
        seen.add(authority["id"])
    return problems


def _origin(document: Document, at: JsonPath) -> Origin:
    return Origin(document.path, *document.place(at))
