"""Where a derivative comes from: the manifests of its ancestors, carried in its folder, checked to the root.

A child names its parents by the sha256 of their manifest, and carries the manifest and the bundle of every
ancestor as files of its own. So whoever has the folder, and no other, can tell who signed each of them and
whether one was withdrawn. An ancestor's signature stands for its verdicts: they are not taken again here. A
constraint tightened or a waiver ended since says nothing of the child, which is judged itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.tenant import Power, Tenant
from coherence_ft.manifest.files import BUNDLE, MANIFEST, OpenFolder, open_folder, place
from coherence_ft.manifest.reading import MAX_BYTES, parse_envelope, parse_statement
from coherence_ft.manifest.signatures import created_at, signed_by
from coherence_ft.manifest.statement import Parent, Relation

if TYPE_CHECKING:
    from coherence_ft.manifest.verify import VerifiedManifest

FOLDER = "coherence/lineage"


def manifest_name(digest: str) -> str:
    """Where the manifest of an ancestor lies in a child's folder."""
    return f"{FOLDER}/{digest}.json"


def bundle_name(digest: str) -> str:
    return f"{FOLDER}/{digest}.sigstore.json"


@dataclass(frozen=True, slots=True)
class Carried:
    """The manifest and the bundle of an ancestor, byte for byte."""

    manifest: bytes
    bundle: bytes


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a child is sealed with. `carried`: every ancestor by the sha256 (hex) of its manifest."""

    relation: Relation = Relation.NONE
    parents: tuple[Parent, ...] = ()
    carried: Mapping[str, Carried] = field(default_factory=dict)

    @classmethod
    def from_parents(cls, relation: Relation, parents: Sequence[VerifiedManifest]) -> Lineage:
        """The lineage of a child of verified parents.

        Raises CoherenceError: CFT614 where a parent's files changed since they were verified, CFT690 where a
        parent of schema 1.0 does not carry its own parents.
        """
        carried: dict[str, Carried] = {}
        for parent in parents:
            with open_folder(parent.folder) as opened:
                carried[parent.digest] = Carried(
                    _unchanged(opened, MANIFEST, parent.digest), _read(opened, BUNDLE)
                )
            carried |= cls.of(parent).carried
        return cls(relation, tuple(Parent(parent.name, parent.digest) for parent in parents), carried)

    @classmethod
    def of(cls, manifest: VerifiedManifest) -> Lineage:
        """The lineage that a verified folder has itself: a promotion keeps it.

        Raises CoherenceError: CFT614, CFT690 as `from_parents`.
        """
        stated = manifest.predicate["lineage"]
        parents = tuple(Parent(p["name"], p["manifestDigest"]) for p in stated["parents"])
        if parents and "ancestors" not in stated:
            raise refusal(
                "CFT690",
                "this manifest of schema 1.0 names a parent and does not carry it",
                path=place(manifest.folder, MANIFEST),
                found=parents[0].manifest_digest,
                help="train it again from its parent; what is made of it could not be verified to the root",
            )
        with open_folder(manifest.folder) as opened:
            carried = {
                digest: Carried(
                    _unchanged(opened, manifest_name(digest), digest),
                    _unchanged(opened, bundle_name(digest), manifest.files[bundle_name(digest)]),
                )
                for digest in stated.get("ancestors", ())
            }
        return cls(Relation(stated.get("relation", Relation.NONE)), parents, carried)

    def write(self, folder: Path) -> None:
        """Put the carried files into `folder`."""
        if self.carried:
            (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        for digest, files in self.carried.items():
            (folder / manifest_name(digest)).write_bytes(files.manifest)
            (folder / bundle_name(digest)).write_bytes(files.bundle)


def _unchanged(opened: OpenFolder, name: str, digest: str) -> bytes:
    content = _read(opened, name)
    if hashlib.sha256(content).hexdigest() != digest:
        raise refusal("CFT614", "the file changed since it was verified", path=place(opened.path, name))
    return content


def _read(opened: OpenFolder, name: str) -> bytes:
    try:
        return opened.read(name, MAX_BYTES)
    except (KeyError, OSError) as error:
        raise refusal(
            "CFT614", "the file changed since it was verified", path=place(opened.path, name)
        ) from error


@dataclass(frozen=True, slots=True)
class Member:
    """One manifest of a family. `predicate`: None where it is not carried or cannot be read.

    `signers`: ids of the authorities that may attest and whose key, certificate or identity signed it.
    """

    digest: str
    predicate: Mapping[str, Any] | None
    signers: tuple[str, ...]
    problems: tuple[Diagnostic, ...]

    @property
    def parents(self) -> tuple[str, ...]:
        if self.predicate is None:
            return ()
        return tuple(p["manifestDigest"] for p in self.predicate["lineage"]["parents"])


@dataclass(frozen=True, slots=True)
class Family:
    """A manifest and its ancestors. `members`: by digest, the child first. `problems`: of their links."""

    child: str
    members: Mapping[str, Member]
    problems: tuple[Diagnostic, ...]

    def ancestors(self, digest: str) -> Mapping[str, str]:
        """Every ancestor of a member by digest, carried or not, and whose parent it is."""
        return _reached(self.members, digest)

    @property
    def findings(self) -> list[Diagnostic]:
        return [problem for member in self.members.values() for problem in member.problems] + list(
            self.problems
        )


def family(
    opened: OpenFolder, digest: str, predicate: Mapping[str, Any], tenant: Tenant, today: date
) -> Family:
    """The manifest of an open folder, `digest` and `predicate`, with the ancestors that the folder carries.

    The manifest itself is not verified here beyond its lineage. One of schema 1.0 carries nothing: its
    parents are known by name and digest only, and only a revocation can speak against them.
    """
    stated = predicate["lineage"]
    where = place(opened.path, MANIFEST)
    members = {digest: Member(digest, predicate, (), tuple(_revoked("CFT699", digest, where, tenant, today)))}
    if "ancestors" not in stated:
        for parent in members[digest].parents:
            members[parent] = Member(
                parent, None, (), tuple(_revoked("CFT698", parent, where, tenant, today))
            )
        return Family(digest, members, ())
    for ancestor in stated["ancestors"]:
        members[ancestor] = _member(opened, ancestor, predicate, tenant, today)
    return Family(digest, members, tuple(_links(opened, members, digest)))


def _revoked(code: str, digest: str, where: str, tenant: Tenant, today: date) -> Iterator[Diagnostic]:
    for revocation in tenant.revocations:
        if revocation.manifest == digest and revocation.since <= today:
            yield Diagnostic(
                code,
                f"{'the manifest' if code == 'CFT699' else 'an ancestor'} was revoked by {revocation.by} on "
                f"{revocation.since}: {revocation.reason}",
                where,
                found=f"sha256 {digest}",
                help=f"see revocations in {tenant.path}",
            )


def _member(opened: OpenFolder, digest: str, child: Mapping[str, Any], tenant: Tenant, today: date) -> Member:
    where = place(opened.path, manifest_name(digest))
    found = list(_revoked("CFT698", digest, where, tenant, today))
    predicate: Mapping[str, Any] | None = None
    signers: tuple[str, ...] = ()
    content = _file(opened, manifest_name(digest))
    if content is None:
        found.append(Diagnostic("CFT690", "the manifest of an ancestor is not in the folder", where))
        return Member(digest, None, (), tuple(found))
    if (actual := hashlib.sha256(content).hexdigest()) != digest:
        found.append(
            Diagnostic(
                "CFT691",
                "the manifest of an ancestor is not the one that is named",
                where,
                found=f"sha256 {actual}",
                expected=f"sha256 {digest}",
            )
        )
    try:
        predicate = parse_statement(content, where)["predicate"]
    except CoherenceError as error:
        found.append(_unreadable(error, where))
    else:
        signers, problems = _signers(opened, digest, content, predicate, tenant)
        found += problems
        if predicate["tenant"] != child["tenant"]:
            found.append(
                Diagnostic(
                    "CFT695",
                    "an ancestor was made under another tenant than its child",
                    where,
                    found=predicate["tenant"],
                    expected=child["tenant"],
                )
            )
    return Member(digest, predicate, signers, tuple(found))


def _unreadable(error: CoherenceError, where: str) -> Diagnostic:
    first = error.diagnostics[0]
    return Diagnostic(
        "CFT694",
        "the manifest of an ancestor cannot be read",
        where,
        found=f"{first.code}: {first.message}",
    )


def _signers(
    opened: OpenFolder, digest: str, content: bytes, predicate: Mapping[str, Any], tenant: Tenant
) -> tuple[tuple[str, ...], list[Diagnostic]]:
    where = place(opened.path, bundle_name(digest))
    try:
        bundle = _file(opened, bundle_name(digest))
        envelope = None if bundle is None else parse_envelope(bundle, where)
    except CoherenceError as error:
        return (), [
            Diagnostic(
                "CFT692",
                "the bundle of an ancestor cannot be read",
                where,
                found=error.diagnostics[0].message,
            )
        ]
    if envelope is None or envelope.payload != content:
        message = "is not in the folder" if envelope is None else "is not over its manifest"
        return (), [Diagnostic("CFT692", f"the bundle of an ancestor {message}", where)]
    try:
        made = created_at(predicate, place(opened.path, manifest_name(digest)))
    except CoherenceError as error:
        return (), [_unreadable(error, place(opened.path, manifest_name(digest)))]
    authorities, problems = signed_by(envelope, tenant, made, where)
    attesting = tuple(a.id for a in authorities if Power.ATTEST in a.powers)
    if predicate["evaluation"]["evaluator"] in attesting:
        return attesting, []
    names = ", ".join(authority.id for authority in authorities)
    why = "; ".join(problem.message for problem in problems) or (
        f"signed by {names}, evaluated by {predicate['evaluation']['evaluator']}"
    )
    return (), [
        Diagnostic(
            "CFT693",
            "an ancestor is not signed by its evaluator, with the power to attest",
            where,
            found=why,
            help=f"who may attest is said in {tenant.path}",
        )
    ]


def _links(opened: OpenFolder, members: Mapping[str, Member], child: str) -> Iterator[Diagnostic]:
    """Whether the members are the ones that parents lead to, and nothing leads round."""
    where = place(opened.path, MANIFEST)
    known = {file for digest in members for file in (manifest_name(digest), bundle_name(digest))}
    for name in sorted(opened.files):
        if name.startswith(f"{FOLDER}/") and name not in known:
            yield Diagnostic("CFT696", "a file that belongs to no ancestor listed", place(opened.path, name))
    try:
        TopologicalSorter({digest: member.parents for digest, member in members.items()}).prepare()
    except CycleError as error:
        circle = " of ".join(digest[:12] for digest in error.args[1])
        yield Diagnostic("CFT697", "the lineage goes round in a circle", where, found=circle)
        return
    for digest, member in members.items():
        if member.predicate is None:
            continue
        reached = _reached(members, digest)
        for named, by in reached.items():
            if named not in members:
                yield Diagnostic(
                    "CFT690" if _file(opened, manifest_name(named)) is None else "CFT696",
                    f"{named[:12]}… is a parent of {by[:12]}…, and is not among the ancestors listed",
                    where,
                    help="a manifest of schema 1.0 does not carry its parents: train again from the first",
                )
        stated = member.predicate["lineage"].get("ancestors")
        unread = any(members[d].predicate is None for d in reached if d in members)
        if stated is not None and not unread and (wrong := sorted(set(stated) ^ reached.keys())):
            yield Diagnostic(
                "CFT696",
                f"{'the manifest' if digest == child else digest[:12] + '…'} lists other ancestors than its "
                "parents lead to",
                where,
                found=", ".join(wrong),
            )


def _reached(members: Mapping[str, Member], digest: str) -> dict[str, str]:
    """Every ancestor of `digest`, and whose parent it is."""
    reached: dict[str, str] = {}
    waiting = [(parent, digest) for parent in members[digest].parents]
    while waiting:
        named, by = waiting.pop()
        if named not in reached:
            reached[named] = by
            waiting += [(parent, named) for parent in members[named].parents] if named in members else []
    return reached


def _file(opened: OpenFolder, name: str) -> bytes | None:
    """The content, None where there is none that can be read; `subjects` says why."""
    try:
        return opened.read(name, MAX_BYTES)
    except (KeyError, OSError):
        return None
