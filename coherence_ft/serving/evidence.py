"""The run-time evidence of a derivative: where it lies, what it is held against, how it grows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from coherence_ft.authority.trust import find_tenant
from coherence_ft.documents.canonical import canonical_digest
from coherence_ft.documents.diagnostics import refusal
from coherence_ft.documents.outcomes import Outcome, Read
from coherence_ft.evidence.drift import unreadable
from coherence_ft.evidence.routing_patterns import UNKNOWN, Codebook
from coherence_ft.ledger.events import Events, appending, digest_of, read_events
from coherence_ft.loops.admission import Admitted, Subject, admit
from coherence_ft.loops.drift import Adjustment, Change, DriftState, groundings, history_of, observe
from coherence_ft.loops.observation import DENSE
from coherence_ft.loops.promise import strictest_promise
from coherence_ft.manifest.statement import CALIBRATOR_FILE
from coherence_ft.manifest.verify import VerifiedManifest

CODEBOOK_FILE = "coherence/codebook.json"
"""The routing patterns that a mixture's calibrator was fitted with."""

STATE = "state"
"""The folder beside the tenant document that keeps what was learned at run time."""

_OUTCOMES, _ADJUSTED, _STATE = "outcomes", "confidence adjusted", "state"


def weights_of(files: Mapping[str, str]) -> str:
    """sha256 (hex) that names the weights: of the one weight file, or of all of them, joined.

    `files`: sha256 by name. Those in the folder itself: the reference of a preference run, in `ref/`, is not
    served.
    """
    own = (digest for name, digest in files.items() if name.endswith(".safetensors") and "/" not in name)
    return "+".join(sorted(own))


def document(folder: Path, manifest: VerifiedManifest, name: str) -> Any:
    """JSON of a file with the content that was verified, else CFT614."""
    content = (folder / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest.files.get(name):
        raise refusal("CFT614", "the file changed while the derivative was loaded", path=folder / name)
    return json.loads(content)


def state_path(manifest: VerifiedManifest, tenant: str | Path | None, folder: str | Path) -> Path:
    """Where the evidence of this derivative lies in its tenant's state folder.

    `tenant`: the tenant document, else the one that `find_tenant` finds. Named by weights and calibrator:
    what was learned about one calibrator says nothing about another.
    """
    root = find_tenant(None if tenant is None else Path(tenant), checked=Path(folder)).resolve().parent
    named = digest_of(weights_of(manifest.files), manifest.files.get(CALIBRATOR_FILE, ""))
    return root / STATE / manifest.tenant / f"{named}.jsonl"


def subject_of(folder: str | Path, manifest: VerifiedManifest) -> Subject:
    """What outcomes of this derivative are held against. Raises CFT488 where it states no confidence."""
    threshold = manifest.predicate["abstentionThreshold"]
    if manifest.calibrator is None or threshold is None:
        raise refusal(
            "CFT488",
            "the derivative states no confidence, so there is nothing to hold outcomes against",
            path=folder,
            help="Only a derivative with a calibrator and a certified threshold answers.",
        )
    patterns = {DENSE}
    if CODEBOOK_FILE in manifest.files:
        path = Path(folder) / CODEBOOK_FILE
        codebook = Codebook.from_json(document(Path(folder), manifest, CODEBOOK_FILE), path=path)
        patterns = {pattern.name for pattern in codebook.patterns} | {UNKNOWN}
    return Subject(
        manifest.digest,
        weights_of(manifest.files),
        manifest.files[CALIBRATOR_FILE],
        tuple((manifest.domain, pattern) for pattern in sorted(patterns)),  # it answers in its own domain
        float(threshold),
        *_promise(manifest),
    )


def _promise(manifest: VerifiedManifest) -> tuple[float | None, float]:
    """Bound and confidence of the selective risk that is promised to everybody."""
    promise = strictest_promise(manifest.constraints.constraints, manifest.assessment.results)
    return (None, 0.95) if promise is None else (promise.bound, promise.constraint.confidence)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a derivative. `state`: None before any outcome. `torn`: bytes of an unfinished
    batch.
    """

    state: DriftState | None
    used: tuple[Outcome, ...]
    ignored: frozenset[str]
    adjustments: tuple[dict[str, Any], ...]
    torn: int


def read_evidence(path: Path, subject: Subject) -> Evidence:
    """Everything that was added so far. Raises CFT485 where it cannot be read."""
    return _evidence(read_events(path), subject, path)


def _evidence(there: Events, subject: Subject, path: Path) -> Evidence:
    used: list[Outcome] = []
    ignored: set[str] = set()
    state: DriftState | None = None
    adjustments = []
    for event in there.events:
        try:
            if event.kind == _OUTCOMES:
                used += map(Outcome.from_json, event.data["used"])
                ignored |= set(event.data["ignored"])
            elif event.kind == _ADJUSTED:
                adjustments.append({"at": event.at, **event.data})
            elif event.kind == _STATE:
                state = DriftState.from_json(event.data, path=path)
            else:
                raise ValueError(f"an event of the kind {event.kind!r}")
        except (KeyError, TypeError, ValueError) as error:
            raise unreadable(error, path) from None
    fits = state is None or (
        (state.model, state.calibrator) == (subject.model, subject.calibrator)
        and {cell.key for cell in state.cells} == set(subject.cells)
        and sum(cell.n for cell in state.cells) == len(used)
    )
    if not fits or (state is None and there.events):
        raise unreadable(ValueError("the state is not that of this derivative and its outcomes"), path)
    return Evidence(state, tuple(used), frozenset(ignored), tuple(adjustments), there.torn)


def adjustment(folder: str | Path, manifest: VerifiedManifest, tenant: str | Path | None) -> Adjustment:
    """What run-time evidence makes of this derivative; nothing where there is none.

    Raises CFT485 where there is some that cannot be read.
    """
    if manifest.calibrator is None or manifest.predicate["abstentionThreshold"] is None:
        return Adjustment.of(None)
    path = state_path(manifest, tenant, folder)
    return Adjustment.of(read_evidence(path, subject_of(folder, manifest)).state)


@dataclass(frozen=True, slots=True)
class Addition:
    """What a file of outcomes brought. `torn`: bytes of an earlier batch that was interrupted, now cut
    off.
    """

    admitted: Admitted
    state: DriftState
    changes: tuple[Change, ...]
    torn: int


def add_outcomes(path: Path, subject: Subject, read: Read, now: datetime | None = None) -> Addition:
    """Add a file's outcomes to the evidence at `path`: all that count, in one batch, or none.

    Raises CFT485 where the evidence cannot be read, CFT486 where it cannot be written.
    """
    now = now or datetime.now(UTC)
    with appending(path) as (there, appender):
        before = _evidence(there, subject, path)
        admitted = admit(read, subject, {o.id for o in before.used}, before.ignored, now)
        state, changes = observe(
            before.state or DriftState.new(subject), history_of(before.used), admitted.used, subject
        )
        if admitted.used or admitted.ignored:
            origin = {
                "by": f"coherence-ft {version('coherence-ft')}, calibration loop",
                "derivative": subject.derivative,
                "outcomes": canonical_digest([outcome.to_json() for outcome in admitted.used]),
                "groundings": groundings(admitted.used),
            }
            events = [
                (
                    _OUTCOMES,
                    {
                        "used": [outcome.to_json() for outcome in admitted.used],
                        "ignored": [outcome.id for outcome in admitted.ignored],
                        "refused": admitted.reasons,
                    },
                ),
                *((_ADJUSTED, change.to_json() | origin) for change in changes),
                (_STATE, state.to_json()),
            ]
            appender.append(events, now)
        return Addition(admitted, state, changes, there.torn)
