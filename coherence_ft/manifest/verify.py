"""Verifying a derivative: files, signature, authority, verdicts, and the tenant's constraints of today.

Nothing in the folder is trusted: limits hold before anything is parsed, no link is followed, and the tenant
document comes from the user's own place. Fails closed: missing, unreadable, unknown and expired are all no.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.authority.trust import find_tenant
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.tenant import Power, Tenant, read_tenant
from coherence_ft.evidence.assessment import Assessment
from coherence_ft.manifest import countersignatures, evidence, file_times, judgement, model_sig
from coherence_ft.manifest.countersignatures import countersigners
from coherence_ft.manifest.files import (
    BUNDLE,
    MANIFEST,
    MODEL_SIGNATURE,
    OpenFolder,
    open_folder,
    place,
    unreadable,
)
from coherence_ft.manifest.lineage import family
from coherence_ft.manifest.reading import MAX_BYTES, parse_envelope, parse_statement
from coherence_ft.manifest.signatures import created_at, signed_by
from coherence_ft.manifest.signing import Envelope
from coherence_ft.manifest.statement import Stage
from coherence_ft.manifest.subjects import compare


@dataclass(frozen=True, slots=True)
class VerifiedManifest:
    """What may be relied on after `verify`. Everything here was read from the verified bytes, once.

    `digest`: sha256 (hex) of the manifest file, by which children name their parent. `files`: sha256 by
    POSIX name. `recipe` and `calibrator` are the parsed documents; `calibrator` is None where there is none.
    `countersigners`: ids of authorities. `awaited`: whose countersignatures are still demanded, rule by rule.
    `model_signed`: whether there is a `model.sig`, and it fits.
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
    countersigners: tuple[str, ...] = ()
    awaited: tuple[str, ...] = ()
    model_signed: bool = False


def verify(
    folder: Path | str,
    tenant: Path | str | Tenant | None = None,
    *,
    today: date | None = None,
    require_stage: str | None = None,
    countersigned: bool = True,
    model_signed: bool = True,
    trust_file_times: bool = False,
) -> VerifiedManifest:
    """Check everything about the checkpoint or derivative in `folder`, and return what may be relied on.

    `tenant`: the document that says whose keys count; by default the one that `find_tenant` finds.
    `today` (UTC): for waivers. `require_stage`: `certified` before anything is loaded. `countersigned`: False
    while the countersignatures that the tenant demands are being gathered; `model_signed`: False when
    `model.sig` is about to be written anew. `trust_file_times`: do not hash again what has not changed by its
    file times since it was hashed with this option (see file_times.py).

    A `certified` manifest must also hold today: under the tenant's current constraints and waivers. A
    `monitoring` one gates nothing, so only its own consistency is checked.

    Raises CoherenceError with every finding (CFT6xx; CFT3xx where the tenant document itself is at fault).
    The folder must not be writable by anybody untrusted between this call and the use of its files.
    """
    folder = Path(folder)
    today = today or datetime.now(UTC).date()
    trusted = tenant if isinstance(tenant, Tenant) else trusted_tenant(tenant, checked=folder)
    with open_folder(folder) as opened:
        if trust_file_times:
            opened.trusted = file_times.recall(opened)
        verified = _verify(opened, trusted, today, require_stage, countersigned, model_signed)
        if trust_file_times:
            file_times.remember(opened)
        return verified


def trusted_tenant(path: Path | str | None, *, checked: Path) -> Tenant:
    """The tenant document to trust: `path`, else what `find_tenant` finds outside the folder `checked`."""
    return read_tenant(find_tenant(None if path is None else Path(path), checked=checked))


def _verify(
    opened: OpenFolder,
    tenant: Tenant,
    today: date,
    require_stage: str | None,
    countersigned: bool,
    model_signed: bool,
) -> VerifiedManifest:
    findings: list[Diagnostic] = []
    envelope: Envelope | None = None
    content: bytes | None = None
    statement: dict[str, Any] | None = None
    with _collecting(findings):
        envelope = parse_envelope(_read(opened, BUNDLE), place(opened.path, BUNDLE))
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
        with _collecting(findings):
            findings += _signer(envelope, predicate, tenant, where)
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
    contents, problems = compare(opened, subjects)
    findings += problems
    stated = {subject["name"]: subject["digest"]["sha256"] for subject in subjects}
    findings += evidence.problems(predicate, stated, where)
    findings += family(opened, hashlib.sha256(content).hexdigest(), predicate, tenant, today).findings
    maker_key = envelope.key_id if envelope else ""
    signed, problems = countersigners(opened, content, predicate, maker_key, tenant, today)
    findings += problems
    awaited = countersignatures.awaited(tenant, predicate, signed)
    if countersigned:
        findings += countersignatures.missing(awaited, predicate, where)
    misfits = model_sig.problems(opened, predicate, tenant, today)
    if model_signed:
        findings += misfits
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
        files=stated,
        predicate=predicate,
        countersigners=signed,
        awaited=awaited,
        model_signed=MODEL_SIGNATURE in opened.files and not misfits,
    )


def read_statement(opened: OpenFolder) -> tuple[bytes, dict[str, Any]]:
    """The manifest's bytes and what they say, valid under the schema and no more: nothing is verified yet.

    Raises CoherenceError: CFT602 to CFT606, CFT609 to CFT611, CFT620.
    """
    content = _read(opened, MANIFEST)
    return content, parse_statement(content, place(opened.path, MANIFEST))


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


def _signer(envelope: Envelope, predicate: Mapping[str, Any], tenant: Tenant, where: str) -> list[Diagnostic]:
    """An authority that may attest must have signed, and be the one that the manifest names."""
    holders, problems = signed_by(envelope, tenant, created_at(predicate, where), where)
    if problems:
        return problems
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
    evaluator = predicate["evaluation"]["evaluator"]
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
