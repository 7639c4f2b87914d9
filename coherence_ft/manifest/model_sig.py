"""`model.sig`: the same files for verifiers of OpenSSF model-signing, v1.0, who know nothing of ours.

Sources: the OpenSSF Model Signing specification v1.0 and model_signing 1.1.1 (sigstore/model-transparency): a
Sigstore bundle v0.3 with a DSSE envelope over an in-toto statement whose predicate lists every file and its
digest. A verifier of the format honours the list of paths to ignore that the signer wrote, and the digest of
its subject does not bind file names: so here the statement must be exactly the one that the folder yields.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

from coherence_ft.authority.key_kinds import PublicKey, algorithm, key_id
from coherence_ft.authority.keyless import KeylessSigner
from coherence_ft.authority.keys import Signer, listed_keys
from coherence_ft.documents.canonical import canonical_json, file_digest
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.tenant import Tenant
from coherence_ft.manifest.countersignatures import POWERS, signed_since
from coherence_ft.manifest.files import (
    MODEL_SIGNATURE,
    OpenFolder,
    is_own,
    own_files,
    place,
    printable,
    unreadable,
)
from coherence_ft.manifest.reading import MAX_BYTES, parse_json
from coherence_ft.manifest.signing import (
    BUNDLE_MEDIA_TYPE,
    PAYLOAD_TYPE,
    Envelope,
    pre_authentication_encoding,
)
from coherence_ft.manifest.statement import STATEMENT_TYPE
from coherence_ft.manifest.write import write_whole

PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_SERIALIZATION = {
    "method": "files",
    "hash_type": "sha256",
    "allow_symlinks": False,
    "ignore_paths": [MODEL_SIGNATURE],
}


def model_signature(name: str, digests: Mapping[str, str], signer: Signer) -> bytes:
    """The content of `model.sig`. `name` is for people. `digests`: sha256 (hex) of every other file."""
    payload = canonical_json(_statement(name, digests))
    signature = signer.sign(pre_authentication_encoding(payload))
    return canonical_json(
        {
            "mediaType": BUNDLE_MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": _hint(signer.public)}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
            },
        }
    )


def write_model_signature(
    folder: Path,
    files: Mapping[str, str],
    signer: Signer | KeylessSigner,
    tenant: Tenant,
    *,
    name: str | None = None,
) -> str:
    """Write `model.sig`, or take an old one away and return why no new one can be made.

    `files`: sha256 (hex) of the manifest's subjects, as verified; the few files beside them are hashed here.
    `name`: of the model, by default the folder's. Raises OSError.
    """
    (folder / MODEL_SIGNATURE).unlink(missing_ok=True)
    if isinstance(signer, KeylessSigner):
        return "a keyless signature of it would need a login of its own"
    if why := _unfit(signer, tenant):
        return why
    digests = dict(files) | {name: file_digest(folder / name) for name in own_files(folder) if is_own(name)}
    write_whole(folder / MODEL_SIGNATURE, model_signature(name or folder.resolve().name, digests, signer))
    return ""


def _unfit(signer: Signer, tenant: Tenant) -> str:
    """Why this key can sign no `model.sig`; empty where it can."""
    if algorithm(signer.public) == "ed25519":
        return "its format takes keys on P-256 and P-384, not Ed25519"
    if signer.key_id not in _listed(tenant)[0].values():
        return "its format names a public key, and the tenant document lists a certificate"
    return ""


def problems(
    opened: OpenFolder, predicate: Mapping[str, Any], tenant: Tenant, today: date
) -> list[Diagnostic]:
    """What is wrong with the folder's `model.sig`, where there is one. Every file must be hashed by now.

    Diagnostics: CFT603 to CFT607 and CFT609 (not of the format), CFT625 and CFT626 (not over exactly the
    files of this folder), and those of `signed_by` for its signature.
    """
    if MODEL_SIGNATURE not in opened.files:
        return []
    where = place(opened.path, MODEL_SIGNATURE)
    try:
        payload, signature, hint = _read_bundle(opened.read(MODEL_SIGNATURE, MAX_BYTES), where)
        statement = parse_json(payload, where)
    except OSError as error:
        return [unreadable(opened.path, MODEL_SIGNATURE, error)]
    except ValueError as error:
        if isinstance(error, CoherenceError):
            return list(error.diagnostics)
        return [Diagnostic("CFT607", "not a bundle of model-signing", where, found=str(error)[:200])]
    found = _differences(statement, opened.hashed, where)
    keys, unread = _listed(tenant)
    if hint not in keys:
        unknown = Diagnostic(
            "CFT631",
            f"no authority of the tenant {tenant.id!r} has the key that signed",
            where,
            found=f"key {hint[:200]!r}, the sha256 of its PEM",
        )
        return [*found, unknown, *unread]
    envelope = Envelope(payload, signature, keys[hint])
    try:
        holders, refused = signed_since(envelope, tenant, predicate, today, where)
    except CoherenceError as error:
        return [*found, *error.diagnostics]
    if not refused and not any(holder.powers & POWERS for holder in holders):
        names = ", ".join(holder.id for holder in holders)
        refused = [Diagnostic("CFT632", f"the signer has no power to sign models: {names}", where)]
    return [*found, *refused]


def _statement(name: str, digests: Mapping[str, str]) -> dict[str, Any]:
    """The in-toto statement of the format. Resources are in the order that model_signing gives them."""
    names = sorted(digests, key=PurePosixPath)
    root = hashlib.sha256(b"".join(bytes.fromhex(digests[each]) for each in names)).hexdigest()
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": root}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": _SERIALIZATION,
            "resources": [{"name": each, "algorithm": "sha256", "digest": digests[each]} for each in names],
        },
    }


def _read_bundle(content: bytes, where: str) -> tuple[bytes, bytes, str]:
    """Payload, signature and key hint. Raises ValueError for a bundle that says anything else.

    No signature covers the bundle itself, so only two spellings are taken: ours and model_signing's.
    """
    bundle = parse_json(content, where)
    try:
        envelope = bundle["dsseEnvelope"]
        signature = envelope["signatures"][0]["sig"]
        hint = bundle["verificationMaterial"]["publicKey"]["hint"]
        read = (
            base64.b64decode(envelope["payload"], validate=True),
            base64.b64decode(signature, validate=True),
        )
        expected = {
            "mediaType": BUNDLE_MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(read[0]).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(read[1]).decode(), "keyid": ""}],
            },
        }
    except (KeyError, IndexError, TypeError, ValueError, binascii.Error) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if bundle != expected or not isinstance(hint, str):
        raise ValueError("not one signature with a public key, or a field that is not known here")
    if content not in (canonical_json(expected), json.dumps(expected, separators=(",", ":")).encode()):
        raise ValueError("another order, spacing or escaping than is written")
    return *read, hint


def _differences(statement: Any, digests: Mapping[str, str], where: str) -> list[Diagnostic]:
    """A good signature over anything but the whole of these files is none over this model."""
    files = {name: digest for name, digest in digests.items() if name != MODEL_SIGNATURE}
    kind = [statement.get(key) for key in ("_type", "predicateType")] if isinstance(statement, dict) else []
    if kind != [STATEMENT_TYPE, PREDICATE_TYPE]:
        known = f"{STATEMENT_TYPE}, {PREDICATE_TYPE}"
        return [
            Diagnostic(
                "CFT609", "not a signature of model-signing 1.0", where, found=str(kind)[:200], expected=known
            )
        ]
    try:
        predicate, name = statement["predicate"], statement["subject"][0]["name"]
        serialization = predicate["serialization"]
        resources = {each["name"]: each["digest"] for each in predicate["resources"]}
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        return [Diagnostic("CFT607", "not a statement of model-signing", where, found=repr(error)[:200])]
    if serialization != _SERIALIZATION or serialization["allow_symlinks"] is not False:  # 0 == False
        return [
            Diagnostic(
                "CFT625",
                "model.sig does not cover every file with sha256",
                where,
                found=str(serialization)[:300],
                expected=str(_SERIALIZATION),
                help="delete it, or sign with `model_signing sign key --no-ignore-git-paths`",
            )
        ]
    if statement != _statement(name, files):
        other = sorted(str(n) for n in files.keys() | resources.keys() if files.get(n) != resources.get(n))
        return [
            Diagnostic(
                "CFT626",
                "model.sig is not over the files of this folder",
                where,
                found=printable(", ".join(other)[:300]) or "another order, or another digest of the whole",
                help="if the rest verifies: `coherence-ft countersign` writes it again; or delete it",
            )
        ]
    return []


def _hint(public: PublicKey) -> str:
    """How the format names a key: sha256 (hex) of its PEM."""
    from cryptography.hazmat.primitives import serialization

    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _listed(tenant: Tenant) -> tuple[dict[str, str], list[Diagnostic]]:
    """The id of each of the tenant's keys by hint, and those that cannot be read."""
    keys: dict[str, str] = {}
    unreadable: list[Diagnostic] = []
    for authority in tenant.authorities:
        try:
            keys |= {_hint(public): key_id(public) for _, public in listed_keys(authority)}
        except CoherenceError as error:
            unreadable += error.diagnostics
    return keys, unreadable
