"""Countersigning: an authority that did not make a derivative signs the same bytes of its manifest.

One file for each authority, whole or not at all. Whatever else happens, the derivative still verifies: an old
`model.sig`, which does not know the new file, goes before that is written, and a new one comes after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from coherence_ft.authority.keyless import KeylessSigner
from coherence_ft.authority.keys import Signer
from coherence_ft.documents.canonical import canonical_json
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.tenant import Authority, Tenant
from coherence_ft.manifest.countersignatures import (
    awaited,
    by_the_maker,
    countersigning_authority,
    problems,
)
from coherence_ft.manifest.files import (
    MANIFEST,
    MODEL_SIGNATURE,
    PARTIAL,
    countersignature,
    own_files,
    place,
)
from coherence_ft.manifest.model_sig import write_model_signature
from coherence_ft.manifest.signing import sign
from coherence_ft.manifest.statement import Stage
from coherence_ft.manifest.verify import VerifiedManifest, verify
from coherence_ft.manifest.write import write_whole


@dataclass(frozen=True, slots=True)
class Countersigned:
    """`made`: False where this authority's countersignature was there already. `awaited`: whose are still
    demanded. `without_model_signature`: why there is no `model.sig` now; empty where there is one.
    """

    path: Path
    made: bool
    manifest: VerifiedManifest
    awaited: tuple[str, ...]
    without_model_signature: str


def countersign(
    folder: Path,
    authority: str,
    tenant: Tenant,
    signer_of: Callable[[Authority], Signer | KeylessSigner],
    *,
    today: date | None = None,
) -> Countersigned:
    """Verify the certified derivative in `folder`, then sign its manifest as `authority`.

    `signer_of` gives the authority's key, asked for once everything verifies. A second call changes nothing.
    Raises CoherenceError for whatever does not verify, CFT301 and CFT632 for an authority that may not
    countersign, CFT624 for the maker, CFT617 where the folder cannot be written.
    """
    path = folder / countersignature(authority)
    who = countersigning_authority(tenant, authority, str(path))
    try:
        # A crash's remains are no part of the derivative, and nobody but us makes files of these names.
        for name in own_files(folder) if folder.is_dir() else ():
            if name.endswith(PARTIAL):
                (folder / name).unlink()
        verified = verify(
            folder,
            tenant,
            today=today,
            require_stage=Stage.CERTIFIED,
            countersigned=False,
            model_signed=False,
        )
        if verified.signer == authority:
            raise CoherenceError(by_the_maker(authority, str(path)))
        made = authority not in verified.countersigners
        if not made and verified.model_signed:
            return Countersigned(path, made, verified, verified.awaited, "")
        signer = signer_of(who)
        if made:
            _write(path, authority, verified, tenant, signer, today or datetime.now(UTC).date())
        signed = {*verified.countersigners, authority}
        without = write_model_signature(folder, verified.files, signer, tenant)
    except OSError as error:
        raise refusal(
            "CFT617",
            "the countersignature, or the model.sig that goes with it, cannot be written",
            path=folder,
            found=error.strerror or str(error),
            help="make room or mend the permissions, and countersign again",
        ) from error
    return Countersigned(path, made, verified, awaited(tenant, verified.predicate, signed), without)


def _write(
    path: Path,
    authority: str,
    verified: VerifiedManifest,
    tenant: Tenant,
    signer: Signer | KeylessSigner,
    today: date,
) -> None:
    folder = path.parent
    content = (folder / MANIFEST).read_bytes()
    if hashlib.sha256(content).hexdigest() != verified.digest:
        raise CoherenceError(
            Diagnostic("CFT629", "the manifest changed while it was countersigned", place(folder, MANIFEST))
        )
    envelope = sign(content, signer)
    # What would not count must not get into the folder: nothing verifies beside it.
    refused = problems(envelope, authority, verified.predicate, verified.key_id, tenant, today, str(path))
    if refused:
        raise CoherenceError(refused)
    (folder / MODEL_SIGNATURE).unlink(missing_ok=True)
    write_whole(path, canonical_json(envelope.to_json()))
