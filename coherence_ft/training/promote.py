"""Promotion: a checkpoint is measured on the certification split and becomes a derivative, or is refused.

This is the only place that looks at the certification split. Every look is written down before it is
taken and its number is signed, since each further look weakens what the numbers promise.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import chdir
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from coherence_ft.authority.keys import signing_key
from coherence_ft.authority.resolve import resolve
from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.documents.canonical import canonical_digest, file_digest
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.probe_set import ProbeSet, read_probe_set
from coherence_ft.documents.recipe import Recipe, read_recipe
from coherence_ft.documents.tenant import read_tenant
from coherence_ft.manifest.lineage import Lineage
from coherence_ft.manifest.model_sig import write_model_signature
from coherence_ft.manifest.statement import Base, DataSet, Method, Stage, TrainingFacts, known
from coherence_ft.manifest.verify import VerifiedManifest, verify
from coherence_ft.serving.derivative import VerifiedDerivative, verify_derivative
from coherence_ft.training.checkpoint import Provenance, copy_for_serving, name_base, seal
from coherence_ft.training.measure import Measured, Session, Watch, measure_derivative
from coherence_ft.training.provenance import signer
from coherence_ft.training.run import RUN_FILE, probe_paths, unwritable

_LOOKS_FILE = "certification-looks.jsonl"


@dataclass(frozen=True, slots=True)
class Certification:
    """What the certification split said about a verified checkpoint. `look`: how many there were, from 1."""

    verified: VerifiedDerivative
    measured: Measured
    look: int


@dataclass(frozen=True, slots=True)
class Promoted:
    """A derivative that was made. `digest`: sha256 (hex) of its manifest. `awaited`: whose countersignatures
    it needs before it may be loaded. `without_model_signature`: why it has no `model.sig`; empty if it has.
    """

    digest: str
    awaited: tuple[str, ...]
    without_model_signature: str


def recipe_of(checkpoint: Path) -> Recipe:
    """The recipe of the run that `checkpoint` (or the derivative beside it) belongs to.

    Raises CFT724 when the run's record is missing: then name the recipe.
    """
    record = checkpoint.resolve().parent / RUN_FILE
    try:
        run = json.loads(record.read_text(encoding="utf-8"))
        with chdir(run["directory"]):
            return read_recipe(Path(run["recipe"]), overrides=run["overrides"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise refusal(
            "CFT724",
            "it is not known which recipe this belongs to",
            path=record,
            found=type(error).__name__,
            help="name it with --recipe",
        ) from error


def certify(checkpoint: Path, recipe: Recipe, watch: Watch, *, sequential: bool = False) -> Certification:
    """Measure a verified checkpoint and its base on the calibration and the certification split.

    `sequential`: stop as soon as every hard constraint is clear. Raises CoherenceError when the checkpoint
    does not verify, or its recipe or probes are not those given.
    """
    tenant = read_tenant(recipe.tenant)
    constraints = resolve(tenant, recipe.domain, recipe.constraints, recipe=recipe.name)
    signing_key(signer(tenant, recipe.signer))  # a missing key is better known before the measuring
    verified = verify_derivative(checkpoint, tenant=recipe.tenant)
    _same_recipe(verified, recipe)
    Lineage.of(verified.manifest)  # one that cannot be carried further is better known before a look is taken
    probe_sets = {
        split: read_probe_set(path, tenant.domains)
        for split, path in probe_paths(recipe).items()
        if split != "test"
    }
    _same_probes(verified.manifest, probe_sets)
    look = _count_look(recipe.output, checkpoint, probe_sets["certification"])
    session = Session(watch, tenant, recipe.signer, look, sequential)
    return Certification(verified, measure_derivative(verified, constraints, probe_sets, session), look)


def promote(
    certification: Certification, recipe: Recipe, target: Path, *, evidence_store: Path | None = None
) -> Promoted:
    """Write the derivative to `target`. `evidence_store`: see `seal`.

    All or nothing: the folder is put together and verified beside `target` and then renamed. Raises
    CFT717 when a hard constraint neither passes nor is waived, CFT725 when `target` exists.
    """
    verified, measured = certification.verified, certification.measured
    if not measured.assessment.passed:
        raise CoherenceError(_refusals(verified, measured))
    refuse_taken(target)
    tenant = read_tenant(recipe.tenant)
    provenance, training = _signed_facts(verified, measured.constraints, recipe)
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        copy_for_serving(verified.folder, partial)
        _same_files(verified, partial)
        name_base(partial, provenance.base.model)
        key = signing_key(signer(tenant, recipe.signer))
        seal(
            partial,
            provenance,
            key,
            assessment=measured.assessment,
            calibrator=measured.calibrator,
            codebook=measured.codebook,
            observed=measured.observed,
            evidence_store=evidence_store,
            training=training,
            stage=Stage.CERTIFIED,
            look=certification.look,
        )
        # Nobody could countersign yet. Loading it asks for them.
        made = verify(partial, tenant, require_stage=Stage.CERTIFIED, countersigned=False)
        without = write_model_signature(partial, made.files, key, tenant, name=target.name)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Promoted(made.digest, made.awaited, without)


def refuse_taken(target: Path) -> None:
    """Raise CFT725 when there is something at `target`: best asked before a look is taken."""
    if target.exists():
        raise refusal(
            "CFT725",
            "there is a derivative already, and it is not overwritten",
            path=target,
            help="move it away, or choose another place with --output",
        )


def _same_recipe(verified: VerifiedDerivative, recipe: Recipe) -> None:
    found = verified.manifest.predicate["recipe"]["digest"]
    if found != (expected := canonical_digest(recipe.document)):
        raise refusal(
            "CFT729",
            "the checkpoint was trained by another recipe than this one, or by a script",
            path=verified.folder,
            found=f"sha256 {found}",
            expected=f"sha256 {expected}, {recipe.path}",
            help="name the recipe that it was trained with, or leave --recipe out",
        )


def _same_files(verified: VerifiedDerivative, copy: Path) -> None:
    """What was copied is what was measured: a run that goes on may have saved over it meanwhile."""
    for path in copy.rglob("*"):
        name = path.relative_to(copy).as_posix()
        if path.is_file() and file_digest(path) != verified.manifest.files.get(name):
            raise refusal(
                "CFT614",
                "the file is not the one that was measured",
                path=verified.folder / name,
                help="promote a checkpoint when its run has ended",
            )


def _same_probes(manifest: VerifiedManifest, probe_sets: dict[str, ProbeSet]) -> None:
    signed = manifest.predicate["probes"]
    changed = [s for s, probes in probe_sets.items() if signed.get(s) != probes.digest]
    if changed:
        raise refusal(
            "CFT726",
            "the probes are not those that the run was started with",
            path=probe_sets[changed[0]].path,
            found=f"another {' and '.join(changed)} split",
            expected="the probe sets that the checkpoint's manifest names",
            help="restore the probe files; a certification split must be fixed before training",
        )


def _count_look(output: Path, checkpoint: Path, probes: ProbeSet) -> int:
    """Write the look down, then return its number: a look that was interrupted has been taken too."""
    path = output / _LOOKS_FILE
    entry = {"probeSet": probes.digest, "checkpoint": checkpoint.name, "at": datetime.now(UTC).isoformat()}
    try:
        output.mkdir(parents=True, exist_ok=True)
        with path.open("a+", encoding="utf-8", errors="replace") as file:
            file.seek(0)
            earlier = sum(probes.digest in line for line in file)
            file.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise unwritable(output, error) from error
    return earlier + 1


def _signed_facts(
    verified: VerifiedDerivative, constraints: ResolvedConstraints, recipe: Recipe
) -> tuple[Provenance, TrainingFacts]:
    """The run's facts as the checkpoint's manifest states them: promotion measures, it does not retell."""
    p = verified.manifest.predicate
    training, modifier = p["training"], p["downstreamModifier"]
    provenance = Provenance(
        name=p["name"],
        recipe=verified.manifest.recipe,
        seed=p["recipe"]["seed"],
        base=Base(
            p["base"]["model"],
            p["base"]["revision"],
            p["base"]["digest"],
            p["base"]["digestOf"],
            p["base"]["license"],
        ),
        method=Method(
            p["method"]["regime"],
            p["method"]["adapter"],
            p["method"]["quantization"],
            p["method"].get("derivation"),
        ),
        constraints=constraints,
        data=tuple(DataSet(d["name"], d["digest"], d["rows"], d["license"]) for d in p["data"]),
        probes=p["probes"],
        chat_template_digest=p["chatTemplateDigest"],
        serving=verified.serving,
        evaluator=recipe.signer,
        lineage=Lineage.of(verified.manifest),
    )
    return provenance, TrainingFacts(
        steps=training["steps"],
        epoch=float(training["epoch"]),
        trained_tokens=known(training["trainedTokens"]),
        training_compute=known(modifier["trainingCompute"]),
        base_compute=known(modifier["baseCompute"]),
    )


def _refusals(verified: VerifiedDerivative, measured: Measured) -> list[Diagnostic]:
    return [
        Diagnostic(
            "CFT717",
            f"{result.constraint} does not let the checkpoint through ({result.verdict})",
            path=str(verified.folder),
            found=result.why,
            help="train further, gather more evidence, or ask the owner for a waiver",
        )
        for result in measured.assessment.blocking
    ] or [Diagnostic("CFT717", "no hard constraint applies: nothing to certify", str(verified.folder))]
