"""The coherence manifest: an in-toto Statement v1 about every file of one checkpoint.

The predicate is our own (`PREDICATE_TYPE`, schema/v1/manifest.schema.yaml). Numbers that matter are decimal
strings. What decides a verdict lies beside the manifest as canonical JSON, and is a subject like any file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.documents.canonical import canonical_digest, decimal
from coherence_ft.evidence.assessment import Assessment, ConstraintResult, Verdict

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://coherence-ft.dev/manifest/v1"
SCHEMA_VERSION = "1.1"
ENGINE_VERSION = 1
"""What a derivative needs at run time; raised when a derivative asks something new of the engine."""
LOOPS = ("calibration", "alignment")
"""What an engine of that version attaches at run time (serving/attachment.py)."""

RECIPE_FILE = "coherence/recipe.json"
CONSTRAINTS_FILE = "coherence/constraints.json"
CALIBRATOR_FILE = "coherence/calibrator.json"
UNKNOWN = "unknown"


class Stage(StrEnum):
    MONITORING = "monitoring"  # a checkpoint seen on the calibration split: gates nothing
    CERTIFIED = "certified"  # promoted on the certification split: may be loaded


@dataclass(frozen=True, slots=True)
class Base:
    """The base model. `digest` (sha256, hex) is of what `digest_of` says: `model.gguf`, `weight files`, …"""

    model: str
    revision: str | None
    digest: str
    digest_of: str
    license: str | None


@dataclass(frozen=True, slots=True)
class Method:
    """How it was trained: `adapter` and `quantization` repeat the recipe's, None for none."""

    regime: str
    adapter: Mapping[str, Any] | None = None  # rank, alpha, dropout, targetModules, adaptRouter
    quantization: Mapping[str, Any] | None = None  # bits, double
    derivation: Mapping[str, Any] | None = None  # what a merge or an export did, None where it was trained


@dataclass(frozen=True, slots=True)
class DataSet:
    """Training data. `digest`: sha256 (hex) of the content; `rows`: how many were trained on."""

    name: str
    digest: str
    rows: int
    license: str | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The evidence: `look` counts how often this probe split has been looked at for this recipe, from 1.

    The verdicts must have been decided with `today` equal to the date of `evaluated_at` in UTC.
    """

    assessment: Assessment
    evaluated_at: datetime
    evaluator: str  # authority of the tenant, the one that signs
    look: int = 1


@dataclass(frozen=True, slots=True)
class StoredPass:
    """Where the observations of one pass are kept (loops/stored.py): one model over one probe split.

    `file`: POSIX name in the folder; None where they are kept elsewhere and found by `digest` (sha256, hex,
    of the file as stored). `observations`: how many.
    """

    model: str  # `derivative` or `base`
    split: str
    file: str | None
    digest: str
    bytes: int
    observations: int

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "split": self.split,
            "file": self.file,
            "digest": self.digest,
            "bytes": self.bytes,
            "observations": self.observations,
        }


class Relation(StrEnum):
    """How a derivative came from its parents."""

    NONE = "none"  # trained from a base model, no parents
    CONTINUED = "continued"  # trained further
    MERGED = "merged"  # several adapters made one
    MERGED_INTO_BASE = "merged-into-base"  # an adapter and its base made full weights
    QUANTIZED = "quantized"
    MIXTURE = "mixture"  # trained on a mixture of experts that was built from them


@dataclass(frozen=True, slots=True)
class Parent:
    """A derivative that this one came from; `manifest_digest` is `VerifiedManifest.digest`."""

    name: str
    manifest_digest: str


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """How far training went. Compute in floating-point operations; None where it is not known."""

    steps: int
    epoch: float
    trained_tokens: int | None = None
    training_compute: int | None = None
    base_compute: int | None = None


@dataclass(frozen=True, slots=True)
class ManifestFacts:
    """All that a manifest says beyond the digests of the files. Digests are sha256, hex."""

    stage: Stage
    name: str
    recipe: Mapping[str, Any]  # the document as written, overrides applied
    seed: int
    base: Base
    method: Method
    constraints: ResolvedConstraints
    evaluation: Evaluation
    data: tuple[DataSet, ...]
    probes: Mapping[str, str]  # split to digest of the file
    chat_template_digest: str | None
    calibrator: Mapping[str, Any] | None
    training: TrainingFacts
    parents: tuple[Parent, ...] = ()
    relation: Relation = Relation.NONE
    ancestors: tuple[str, ...] = ()  # digests of every manifest up to the root; the folder carries them
    software: Mapping[str, str] = field(default_factory=dict)  # package to version
    evidence: tuple[StoredPass, ...] = ()

    def documents(self) -> dict[str, Any]:
        """The files of ours that lie in the derivative's folder, by name, as JSON data."""
        files = {RECIPE_FILE: dict(self.recipe), CONSTRAINTS_FILE: self.constraints.to_json()}
        return files if self.calibrator is None else files | {CALIBRATOR_FILE: dict(self.calibrator)}


def statement(facts: ManifestFacts, digests: Mapping[str, str], created_at: datetime) -> dict[str, Any]:
    """The in-toto statement. `digests`: sha256 (hex) by POSIX name, the manifest's own files excluded."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digests[name]}} for name in sorted(digests)],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate(facts, created_at),
    }


def predicate(facts: ManifestFacts, created_at: datetime) -> dict[str, Any]:
    """The predicate alone (schema/v1/manifest.schema.yaml). Field names hold no `.` and no `$`."""
    files = facts.documents()
    assessment, training = facts.evaluation.assessment, facts.training

    def document(name: str) -> dict[str, str]:
        return {"file": name, "digest": canonical_digest(files[name])}

    return {
        "schemaVersion": SCHEMA_VERSION,
        "stage": facts.stage.value,
        "createdAt": timestamp(created_at),
        "tenant": facts.constraints.tenant,
        "domain": facts.constraints.domain,
        "name": facts.name,
        "base": {
            "model": facts.base.model,
            "revision": facts.base.revision,
            "digest": facts.base.digest,
            "digestOf": facts.base.digest_of,
            "license": facts.base.license,
        },
        "method": {
            "regime": facts.method.regime,
            "adapter": _stated(facts.method.adapter),
            "quantization": _stated(facts.method.quantization),
            "derivation": _stated(facts.method.derivation),
        },
        "recipe": document(RECIPE_FILE) | {"seed": facts.seed},
        "constraints": document(CONSTRAINTS_FILE),
        "calibrator": document(CALIBRATOR_FILE) if CALIBRATOR_FILE in files else None,
        "waivers": waivers_used(facts.constraints, assessment.results),
        "data": [
            {"name": d.name, "digest": d.digest, "rows": d.rows, "license": d.license} for d in facts.data
        ],
        "probes": dict(facts.probes),
        "chatTemplateDigest": facts.chat_template_digest,
        "evaluation": {
            "split": assessment.split,
            "probeSet": assessment.probe_set,
            "skipped": assessment.skipped,
            "unused": assessment.unused,
            "used": assessment.used,
            "evaluatedAt": timestamp(facts.evaluation.evaluated_at),
            "evaluator": facts.evaluation.evaluator,
            "look": facts.evaluation.look,
            "results": [result.to_json() for result in assessment.results],
        },
        "evidence": [stored.to_json() for stored in facts.evidence],
        "abstentionThreshold": _optional(assessment.abstention_threshold),
        "coverage": _optional(assessment.coverage),
        "lineage": {
            "relation": facts.relation.value,
            "parents": [{"name": p.name, "manifestDigest": p.manifest_digest} for p in facts.parents],
            "ancestors": sorted(facts.ancestors),
        },
        "runtime": {"loops": list(LOOPS), "engineVersion": ENGINE_VERSION},
        "software": [{"name": name, "version": facts.software[name]} for name in sorted(facts.software)],
        "training": {
            "steps": training.steps,
            "epoch": decimal(training.epoch),
            "trainedTokens": UNKNOWN if training.trained_tokens is None else training.trained_tokens,
        },
        "downstreamModifier": downstream_modifier(training.training_compute, training.base_compute),
    }


def downstream_modifier(training: int | None, base: int | None) -> dict[str, Any]:
    """The facts behind the EU AI Act's one-third rule, compute in floating-point operations.

    Whoever modifies a general-purpose model with more than a third of its training compute becomes its
    provider (the Commission's guidelines of July 2025 on general-purpose models). Unknown is never a no.
    """
    known = training is not None and base is not None
    return {
        "trainingCompute": UNKNOWN if training is None else str(training),
        "baseCompute": UNKNOWN if base is None else str(base),
        "exceedsOneThird": 3 * training > base if known else UNKNOWN,  # type: ignore[operator]
    }


def known(stated: int | str) -> int | None:
    """A count or compute as the predicate states it; None for `unknown`."""
    return None if stated == UNKNOWN else int(stated)


def waivers_used(
    constraints: ResolvedConstraints, results: Iterable[ConstraintResult]
) -> list[dict[str, Any]]:
    """The waivers that a `waived` verdict rests on, in the order of the constraints."""
    waived = {result.constraint for result in results if result.verdict is Verdict.WAIVED}
    return [
        {
            "constraint": waiver.constraint,
            "domain": waiver.domain,
            "bound": decimal(waiver.bound),
            "requestedBy": waiver.requested_by,
            "approvedBy": list(waiver.approved_by),
            "reason": waiver.reason,
            "expires": waiver.expires.isoformat(),
            "recipe": waiver.recipe,
        }
        for resolved in constraints.constraints
        if resolved.constraint.id in waived and (waiver := resolved.waiver)
    ]


def _stated(facts: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Fractions as decimal strings, as everywhere in the manifest."""
    if facts is None:
        return None

    def stated(value: Any) -> Any:
        if isinstance(value, list):
            return list(map(stated, value))
        return decimal(value) if isinstance(value, float) else value

    return {name: stated(value) for name, value in facts.items()}


def _optional(value: float | None) -> str | None:
    return None if value is None else decimal(value)


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, to the second. A moment without a time zone is a defect."""
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
