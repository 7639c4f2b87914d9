"""What becomes of weights without training: a measured checkpoint, all of it or nothing.

A merge or an export changes what a model answers, so no evidence of a parent stands for it: it is measured
beside its base on the calibration split, signed as a monitoring checkpoint, and `promote` certifies it like
any other.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coherence_ft.authority.keys import AnySigner, signing_key
from coherence_ft.authority.resolve import resolve
from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.documents.base_reference import DERIVATIVE
from coherence_ft.documents.canonical import file_digest
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, Severity
from coherence_ft.documents.probe_set import ProbeSet, read_probe_set
from coherence_ft.documents.recipe import Quantization, Recipe
from coherence_ft.documents.tenant import Tenant, read_tenant
from coherence_ft.manifest.lineage import Lineage
from coherence_ft.manifest.statement import DataSet, Method, Relation, Stage, TrainingFacts, known
from coherence_ft.manifest.verify import verify
from coherence_ft.models.base import locate
from coherence_ft.serving.derivative import Artifact, VerifiedDerivative, verify_derivative
from coherence_ft.training.checkpoint import Provenance, name_base, seal, template_digest
from coherence_ft.training.data import SHAPES, TrainingData, overlap, read_training_data
from coherence_ft.training.measure import Measured, Session, Watch, measure_derivative
from coherence_ft.training.promote import refuse_taken
from coherence_ft.training.provenance import manifest_base, serving_document, signer
from coherence_ft.training.run import probe_paths, record_run, unwritable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHECKPOINT = "checkpoint-0"
"""The folder of the result in that of its run: no step was trained."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """What is to be made of which verified parents, under which recipe."""

    recipe: Recipe
    tenant: Tenant
    constraints: ResolvedConstraints
    key: AnySigner
    parents: tuple[VerifiedDerivative, ...]
    probe_sets: dict[str, ProbeSet]
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def first(self) -> VerifiedDerivative:
        return self.parents[0]

    @property
    def quantization(self) -> Quantization | None:
        """How the base lies under the first parent's adapter."""
        stated = self.first.serving["quantization"]
        return Quantization(**stated) if stated else None


@dataclass(frozen=True, slots=True)
class Made:
    """Weights and tokenizer that were written into a folder. `quantization`: of the base, or stored."""

    tokenizer: PreTrainedTokenizerBase
    relation: Relation
    method: Method
    quantization: Quantization | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The checkpoint, its manifest's digest (sha256, hex), and what was measured."""

    checkpoint: Path
    digest: str
    measured: Measured
    facts: dict[str, Any]


def prepare(
    folders: Sequence[Path], recipe: Recipe, target: Path, trained_on: Sequence[Path] = ()
) -> Derivation:
    """Read and verify all that is needed. Raises CoherenceError.

    `trained_on`: files of training data, which the probes must be strange to (CFT705); the result warns of
    data that parents list and nobody held against these probes. CFT725 where `target` exists, CFT741, CFT742,
    CFT749 for parents that are not of one base or not several.
    """
    refuse_taken(target)
    tenant = read_tenant(recipe.tenant)
    constraints = resolve(tenant, recipe.domain, recipe.constraints, recipe=recipe.name)
    key = signing_key(signer(tenant, recipe.signer))
    parents = tuple(verify_derivative(folder, tenant=recipe.tenant) for folder in folders)
    probe_sets = {split: read_probe_set(path, tenant.domains) for split, path in probe_paths(recipe).items()}
    read = list(map(_rows, trained_on))
    if findings := [
        *_one_base(parents),
        *_base_of(recipe, parents[0]),
        *_twice(parents),
        *(problem for data in read for problem in _known_probes(data, probe_sets)),
    ]:
        raise CoherenceError(findings)
    warnings = _unheld(parents, probe_sets, {data.digest for data in read})
    return Derivation(recipe, tenant, constraints, key, parents, probe_sets, tuple(warnings))


def derive(
    derivation: Derivation,
    make: Callable[[Path], Made],
    target: Path,
    watch: Watch,
    *,
    overrides: tuple[str, ...] = (),
) -> Result:
    """Let `make` write weights into a folder, measure them beside their base, and sign.

    All or nothing: the run's folder is put together and verified beside `target`, and then renamed.
    """
    d, recipe = derivation, derivation.recipe
    run = target.with_name(f".{target.name}.partial-{os.getpid()}")
    folder = run / CHECKPOINT
    try:
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise unwritable(run, error) from error
        made = make(folder)
        made.tokenizer.save_pretrained(folder)
        name_base(folder, manifest_base(d.first.base).model)
        serving = serving_document(
            d.first.base, d.first.serving["precision"], made.quantization, d.probe_sets["calibration"]
        )
        files = {path.name: file_digest(path) for path in folder.iterdir() if path.is_file()}
        measured = measure_derivative(
            Artifact(folder, d.first.base, serving, files),
            d.constraints,
            {"calibration": d.probe_sets["calibration"]},
            Session(watch, d.tenant, recipe.signer),
        )
        seal(
            folder,
            _provenance(d, made, serving),
            d.key,
            assessment=measured.assessment,
            calibrator=measured.calibrator,
            codebook=measured.codebook,
            training=_sums(d.parents),
            stage=Stage.MONITORING,
        )
        record_run(run, recipe, overrides)
        digest = verify(folder, d.tenant, require_stage=Stage.MONITORING).digest
        refuse_taken(target)
        run.rename(target)
    finally:
        shutil.rmtree(run, ignore_errors=True)
    return Result(target / CHECKPOINT, digest, measured, dict(made.method.derivation or {}))


def _provenance(d: Derivation, made: Made, serving: dict[str, Any]) -> Provenance:
    return Provenance(
        name=d.recipe.name,
        recipe=d.recipe.document,
        seed=d.recipe.training.seed,
        base=manifest_base(d.first.base),
        method=made.method,
        constraints=d.constraints,
        data=_data(d.parents),
        probes={split: probes.digest for split, probes in d.probe_sets.items()},
        chat_template_digest=template_digest(made.tokenizer),
        serving=serving,
        evaluator=d.recipe.signer,
        lineage=Lineage.from_parents(made.relation, [parent.manifest for parent in d.parents]),
    )


def _rows(path: Path) -> TrainingData:
    try:
        return read_training_data(str(path), "sft")
    except CoherenceError as first:
        try:
            return read_training_data(str(path), "dpo")
        except CoherenceError:
            raise first from None


def _known_probes(data: TrainingData, probe_sets: Mapping[str, ProbeSet]) -> Iterator[Diagnostic]:
    for split, probes in probe_sets.items():
        if shared := overlap(data.rows, probes):
            yield Diagnostic(
                "CFT705",
                f"{len(shared)} prompts of the {split} split are in the training data of a parent: what it "
                "measures would be memory",
                str(probes.path),
                found=repr(shared[0][:70]),
                expected="training and probe prompts disjoint",
                help=f"take probes that are not in {data.source}",
            )


def _unheld(
    parents: Sequence[VerifiedDerivative], probe_sets: Mapping[str, ProbeSet], held: Set[str]
) -> Iterator[Diagnostic]:
    """Data of parents and ancestors that neither `train` nor anybody here held against these probes."""
    ours = {split: probes.digest for split, probes in probe_sets.items()}
    predicates = {parent.manifest.digest: parent.manifest.predicate for parent in parents}
    for parent in parents:
        for digest, carried in Lineage.of(parent.manifest).carried.items():
            predicates[digest] = json.loads(carried.manifest)["predicate"]
    listed: dict[str, str] = {}
    for predicate in predicates.values():
        named = {data["digest"]: data["name"] for data in predicate["data"]}
        listed |= named
        if predicate["method"]["regime"] in SHAPES and ours.items() <= predicate["probes"].items():
            held |= named.keys()  # `train` refuses them
    for digest, name in listed.items():
        if digest not in held:
            yield Diagnostic(
                "CFT705",
                f"the training data {name} of a parent was not held against these probes",
                severity=Severity.WARNING,
                found=f"sha256 {digest}",
                help="name the file with --trained-on",
            )


def _data(parents: Sequence[VerifiedDerivative]) -> tuple[DataSet, ...]:
    """What the parents list, each data set once."""
    listed = [
        DataSet(data["name"], data["digest"], data["rows"], data["license"])
        for parent in parents
        for data in parent.manifest.predicate["data"]
    ]
    return tuple(dict.fromkeys(listed))


def _sums(parents: Sequence[VerifiedDerivative]) -> TrainingFacts:
    """The training behind the result is that of its parents together, unknown where one of them is."""
    predicates = [parent.manifest.predicate for parent in parents]
    modifiers = [predicate["downstreamModifier"] for predicate in predicates]
    return TrainingFacts(
        steps=sum(predicate["training"]["steps"] for predicate in predicates),
        epoch=sum(float(predicate["training"]["epoch"]) for predicate in predicates),
        trained_tokens=_sum(predicate["training"]["trainedTokens"] for predicate in predicates),
        training_compute=_sum(modifier["trainingCompute"] for modifier in modifiers),
        base_compute=known(modifiers[0]["baseCompute"]),
    )


def _sum(values: Any) -> int | None:
    stated = [known(value) for value in values]
    return None if None in stated else sum(value for value in stated if value is not None)


def _one_base(parents: Sequence[VerifiedDerivative]) -> list[Diagnostic]:
    first = parents[0]
    return [
        Diagnostic(
            "CFT741",
            f"its base is not that of {first.folder}",
            str(other.folder),
            found=f"{other.base.model}, sha256 {other.base.digest}",
            expected=f"{first.base.model}, sha256 {first.base.digest}",
        )
        for other in parents[1:]
        if other.base.digest != first.base.digest
    ]


def _base_of(recipe: Recipe, parent: VerifiedDerivative) -> list[Diagnostic]:
    """A recipe that continues a derivative names no base of its own to compare."""
    if recipe.base.model.startswith(DERIVATIVE):
        return []
    named = locate(recipe.base)
    if named.digest == parent.base.digest:
        return []
    return [
        Diagnostic(
            "CFT742",
            f"the recipe's base is not that of {parent.folder}",
            recipe.path,
            found=f"{named.model}, sha256 {named.digest}",
            expected=f"{parent.base.model}, sha256 {parent.base.digest}",
            help="name a recipe for this base with --recipe",
        )
    ]


def _twice(parents: Sequence[VerifiedDerivative]) -> list[Diagnostic]:
    digests = [parent.manifest.digest for parent in parents]
    return [
        Diagnostic("CFT749", "the same parent is named twice", str(parent.folder))
        for n, parent in enumerate(parents)
        if parent.manifest.digest in digests[:n]
    ]
