"""Verifying a derivative: files, signature, authority, verdicts, and the tenant's constraints of today.

Nothing in the folder is trusted: limits hold before anything is parsed, no link is followed, and the tenant
document comes from the user's own place. Fails closed: missing, unreadable, unknown and expired are all no.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from coherence_ft.authority.keys import known_keys
from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.authority.trust import find_tenant
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.tenant import Authority, Power, Tenant, read_tenant
from coherence_ft.evidence.assessment import Assessment
from coherence_ft.manifest import judgement
from coherence_ft.manifest.files import (
    BUNDLE,
    MANIFEST,
    OpenFolder,
    open_folder,
    place,
    unreadable,
    unsafe_names,
)
from coherence_ft.manifest.reading import MAX_BYTES, parse_json, schema_violations
from coherence_ft.manifest.signing import Envelope
from coherence_ft.manifest.statement import PREDICATE_TYPE, SCHEMA_VERSION, STATEMENT_TYPE, Stage


@dataclass(frozen=True, slots=True)
class VerifiedManifest:
    """What may be relied on after `verify`. Everything here was read from the verified bytes, once.

    `digest`: sha256 (hex) of the manifest file, by which children name their parent. `files`: sha256 by
    POSIX name. `recipe` and `calibrator` are the parsed documents; `calibrator` is None where there is none.
    """

    folder: Path
    digest: str
    key_id: str
    signer: str  # id of the authority
    stage: Stage
    name: str
    tenant: str
    domain: str
    constraints: ResolvedConstraints
    assessment: Assessment
    recipe: Mapping[str, Any]
    calibrator: Mapping[str, Any] | None
    files: Mapping[str, str]
    predicate: Mapping[str, Any]


def verify(
    folder: Path | str,
    tenant: Path | str | Tenant | None = None,
    *,
    today: date | None = None,
    require_stage: str | None = None,
) -> VerifiedManifest:
    """Check everything about the checkpoint or derivative in `folder`, and return what may be relied on.

    `tenant`: the document that says whose keys count; by default the one that `find_tenant` finds.
    `today` (UTC): for waivers. `require_stage`: `certified` before anything is loaded.

    A `certified` manifest must also hold today: under the tenant's current constraints and waivers. A
    `monitoring` one gates nothing, so only its own consistency is checked.

    Raises CoherenceError with every finding (CFT6xx; CFT3xx where the tenant document itself is at fault).
    The folder must not be writable by anybody untrusted between this call and the use of its files.
    """
    folder = Path(folder)
    today = today or datetime.now(UTC).date()
    trusted = tenant if isinstance(tenant, Tenant) else trusted_tenant(tenant, checked=folder)
    with open_folder(folder) as opened:
        return _verify(opened, trusted, today, require_stage)


def trusted_tenant(path: Path | str | None, *, checked: Path) -> Tenant:
    """The tenant document to trust: `path`, else what `find_tenant` finds outside the folder `checked`."""
    return read_tenant(find_tenant(None if path is None else Path(path), checked=checked))


def _verify(opened: OpenFolder, tenant: Tenant, today: date, require_stage: str | None) -> VerifiedManifest:
    findings: list[Diagnostic] = []
    envelope: Envelope | None = None
    content: bytes | None = None
    statement: dict[str, Any] | None = None
    with _collecting(findings):
        envelope = _envelope(_read(opened, BUNDLE), place(opened.path, BUNDLE))
    with _collecting(findings):
        content, statement = read_statement(opened)
    if statement is None or content is None:
        raise CoherenceError(findings)

    subjects, predicate = statement["subject"], statement["predicate"]
    where = place(opened.path, MANIFEST)
    if envelope:
        if envelope.payload != content:
            findings.append(
                Diagnostic(
                    "CFT608",
                    "the signed bytes are not those of the manifest file",
                    where,
                    help="the manifest or its bundle was edited after signing",
                )
            )
        findings += _signer(envelope, predicate["evaluation"]["evaluator"], tenant, where)
    stage = Stage(predicate["stage"])
    if require_stage is not None and stage != require_stage:
        findings.append(
            Diagnostic(
                "CFT647",
                f"the manifest is of stage {stage.value}",
                where,
                expected=require_stage,
                help="`coherence-ft promote` certifies a checkpoint",
            )
        )
    contents, problems = _files(opened, subjects)
    findings += problems
    resolved: ResolvedConstraints | None = None
    assessment: Assessment | None = None
    documents: dict[str, Any] = {}
    with _collecting(findings):
        documents = judgement.documents(predicate, contents, opened.path)
        resolved = judgement.resolved_constraints(documents["constraints"], predicate, where)
        assessment = judgement.assessment(predicate, where)
        findings += judgement.problems(predicate, resolved, assessment, tenant, today, where)
        findings += judgement.other_calibrator(documents["calibrator"], resolved, where)
    if findings or envelope is None or resolved is None or assessment is None:
        raise CoherenceError(findings)
    return VerifiedManifest(
        folder=opened.path,
        digest=hashlib.sha256(content).hexdigest(),
        key_id=envelope.key_id,
        signer=predicate["evaluation"]["evaluator"],
        stage=stage,
        name=predicate["name"],
        tenant=predicate["tenant"],
        domain=predicate["domain"],
        constraints=resolved,
        assessment=assessment,
        recipe=documents["recipe"],
        calibrator=documents["calibrator"],
        files={subject["name"]: subject["digest"]["sha256"] for subject in subjects},
        predicate=predicate,
    )


def read_statement(opened: OpenFolder) -> tuple[bytes, dict[str, Any]]:
    """The manifest's bytes and what they say, valid under the schema and no more: nothing is verified yet.

    Raises CoherenceError: CFT602 to CFT606, CFT609 to CFT611, CFT620.
    """
    content = _read(opened, MANIFEST)
    return content, _statement(content, place(opened.path, MANIFEST))


@contextmanager
def _collecting(findings: list[Diagnostic]) -> Iterator[None]:
    """A refusal ends the step, not the whole: every finding is to be seen at once."""
    try:
        yield
    except CoherenceError as error:
        findings += error.diagnostics


def _read(opened: OpenFolder, name: str) -> bytes:
    if name in opened.refused:
        raise CoherenceError(opened.refused[name])
    if name not in opened.files:
        raise refusal(
            "CFT602",
            f"there is no {name}",
            path=opened.path,
            help="only a folder that `train` or `promote` has signed can be verified",
        )
    try:
        return opened.read(name, MAX_BYTES)
    except OSError as error:
        raise CoherenceError(unreadable(opened.path, name, error)) from error


def _envelope(content: bytes, where: str) -> Envelope:
    try:
        return Envelope.from_json(parse_json(content, where))
    except ValueError as error:
        raise refusal(
            "CFT607", "not a Sigstore bundle of ours", path=where, found=str(error)[:200]
        ) from error


def _statement(content: bytes, where: str) -> dict[str, Any]:
    """The statement, of a version that is known here and valid under its schema."""
    statement = parse_json(content, where)
    if not isinstance(statement, dict):
        raise refusal("CFT609", "not an in-toto statement", path=where)
    predicate = statement.get("predicate")
    version = predicate.get("schemaVersion") if isinstance(predicate, dict) else None
    for label, found, known in (
        ("_type", statement.get("_type"), STATEMENT_TYPE),
        ("predicateType", statement.get("predicateType"), PREDICATE_TYPE),
        ("schemaVersion", version, SCHEMA_VERSION),
    ):
        major = found.partition(".")[0] if label == "schemaVersion" and isinstance(found, str) else found
        if major != (known.partition(".")[0] if label == "schemaVersion" else known):
            raise refusal(
                "CFT609",
                f"this version does not know the manifest's {label}",
                path=where,
                found=repr(found)[:100],
                expected=known,
                help="a newer coherence-ft may know it",
            )
    if violations := schema_violations(statement, where):
        raise CoherenceError(violations)
    return statement


def _signer(envelope: Envelope, evaluator: str, tenant: Tenant, where: str) -> list[Diagnostic]:
    """The key must be listed by the tenant for an authority that may attest, and be the one that signed."""
    findings: list[Diagnostic] = []
    holders: list[Authority] = []
    for authority in tenant.authorities:
        with _collecting(findings):
            if public := known_keys(authority).get(envelope.key_id):
                holders.append(authority)
                key = public
    if not holders:
        unknown = Diagnostic(
            "CFT631",
            f"no authority of the tenant {tenant.id!r} has the key that signed",
            where,
            found=f"key {envelope.key_id[:200]!r}",
            help=f"its public half must be listed under an authority in {tenant.path}",
        )
        return [unknown, *findings]
    if not envelope.verifies(key):
        return [Diagnostic("CFT630", "the signature does not fit the signed bytes", where)]
    attesting = [authority for authority in holders if Power.ATTEST in authority.powers]
    names = ", ".join(authority.id for authority in attesting or holders)
    if not attesting:
        return [
            Diagnostic(
                "CFT632",
                f"the signer has no power to attest: {names}",
                where,
                help=f"an authority whose powers in {tenant.path} include `attest` must sign",
            )
        ]
    if evaluator not in {authority.id for authority in attesting}:
        return [
            Diagnostic(
                "CFT633",
                "the manifest names another evaluator than the authority that signed",
                where,
                found=evaluator,
                expected=names,
            )
        ]
    return []


def _files(opened: OpenFolder, subjects: list[dict[str, Any]]) -> tuple[dict[str, bytes], list[Diagnostic]]:
    """Every file of the folder against the subjects. Returns the bytes of our own documents among them."""
    names = [subject["name"] for subject in subjects]
    stated = {subject["name"]: subject["digest"]["sha256"] for subject in subjects}
    findings = list(opened.refused.values())

    def find(code: str, message: str, name: str, **facts: Any) -> None:
        findings.append(Diagnostic(code, message, place(opened.path, name), **facts))

    unsafe = unsafe_names(stated) | {
        name: "the manifest cannot state its own digest" for name in (MANIFEST, BUNDLE) if name in stated
    }
    if len(stated) != len(names):
        unsafe |= {name: "it is listed twice" for name, count in Counter(names).items() if count > 1}
    for name, reason in unsafe.items():
        find("CFT612", f"the manifest lists a name that it must not: {reason}", name)

    contents: dict[str, bytes] = {}
    found: dict[str, str | OSError] = {}
    for name in judgement.DOCUMENTS.values():
        if name in stated and name in opened.files:
            try:
                contents[name] = opened.read(name, MAX_BYTES)
                found[name] = hashlib.sha256(contents[name]).hexdigest()
            except OSError as error:
                found[name] = error
    found |= opened.digests(stated.keys() & opened.files.keys() - found.keys())
    for name in sorted(stated.keys() | opened.files.keys()):
        if name in unsafe or name in opened.refused or name in (MANIFEST, BUNDLE):
            continue
        if name not in opened.files:
            find("CFT615", "the manifest lists a file that is not there", name)
        elif name not in stated:
            find(
                "CFT616",
                "a file that the manifest does not list",
                name,
                help="move it out of the folder",
            )
        elif isinstance(digest := found[name], OSError):
            findings.append(unreadable(opened.path, name, digest))
        elif digest != stated[name]:
            find(
                "CFT614",
                "the file is not the one that was signed",
                name,
                found=f"sha256 {digest}",
                expected=f"sha256 {stated[name]}",
            )
    return contents, findings
