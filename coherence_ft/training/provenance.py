"""Where a run comes from: a recipe, or a script's arguments, as the facts that every checkpoint signs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coherence_ft.authority.keys import signing_key
from coherence_ft.authority.resolve import resolve
from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.documents.base_reference import DERIVATIVE
from coherence_ft.documents.diagnostics import refusal
from coherence_ft.documents.probe_set import ProbeSet, read_probe_set
from coherence_ft.documents.recipe import Adapter, BaseModel, Quantization, Recipe
from coherence_ft.documents.tenant import Authority, Power, Tenant, read_tenant
from coherence_ft.manifest.base_lineage import recorded
from coherence_ft.manifest.files import MANIFEST
from coherence_ft.manifest.lineage import Lineage
from coherence_ft.manifest.statement import Base, DataSet, Method, Relation
from coherence_ft.manifest.verify import verify
from coherence_ft.models.base import LocatedBase, load_tokenizer, locate, read_template
from coherence_ft.serving.derivative import VerifiedDerivative, verify_derivative
from coherence_ft.training.checkpoint import Provenance, template_digest
from coherence_ft.training.data import TrainingData

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from coherence_ft.authority.keys import AnySigner


@dataclass(frozen=True, slots=True)
class Origin:
    """What is trained further: a base model, or a derivative on one (then `parent` is set).

    `lineage`: that of what is trained. A base model has one too where it was made of derivatives.
    """

    base: LocatedBase
    tokenizer: PreTrainedTokenizerBase
    parent: VerifiedDerivative | None = None
    lineage: Lineage = field(default_factory=Lineage)


def find_origin(recipe: Recipe) -> Origin:
    """Locate the base model, or verify the derivative that the recipe continues. Raises CoherenceError."""
    model = recipe.base.model
    if not model.startswith(DERIVATIVE):
        base = locate(recipe.base)
        return Origin(base, load_tokenizer(base), lineage=_lineage_of(base, recipe.tenant))
    parent = verify_derivative(model.removeprefix(DERIVATIVE), tenant=recipe.tenant)
    own = LocatedBase(
        "folder",
        model,
        parent.folder,
        parent.base.digest,
        parent.base.digest_of,
        chat_template=read_template(recipe.base.chat_template),
    )
    lineage = Lineage.from_parents(Relation.CONTINUED, [parent.manifest])
    return Origin(parent.base, load_tokenizer(own), parent, lineage)


def _lineage_of(base: LocatedBase, tenant: Path) -> Lineage:
    """A folder that is a derivative itself is a parent; one that was made of derivatives names its own."""
    if base.kind != "folder":
        return Lineage()
    if (base.path / MANIFEST).exists():
        return Lineage.from_parents(Relation.CONTINUED, [verify(base.path, tenant)])
    return recorded(base.path, read_tenant(tenant), datetime.now(UTC).date())


def signer(tenant: Tenant, name: str) -> Authority:
    """The authority that attests. Raises CFT722 where it may not."""
    authority = tenant.authority(name)
    if authority is None or Power.ATTEST not in authority.powers:
        raise refusal(
            "CFT722",
            f"{name!r} cannot sign manifests for this tenant",
            path=tenant.path,
            found="no such authority" if authority is None else f"powers {sorted(authority.powers)}",
            expected="an authority with the power `attest`",
            help="name one under `signer`, or give it the power in the tenant document",
        )
    return authority


def recipe_provenance(
    recipe: Recipe,
    constraints: ResolvedConstraints,
    origin: Origin,
    data: TrainingData,
    probe_sets: Mapping[str, ProbeSet],
) -> Provenance:
    return Provenance(
        name=recipe.name,
        recipe=recipe.document,
        seed=recipe.training.seed,
        base=manifest_base(origin.base),
        method=Method(
            recipe.training.regime, adapter_facts(recipe.adapter), quantization_facts(recipe.quantization)
        ),
        constraints=constraints,
        data=(DataSet(Path(recipe.data.train).name, data.digest, data.count, recipe.data.license),),
        probes={split: probes.digest for split, probes in probe_sets.items()},
        chat_template_digest=template_digest(origin.tokenizer),
        serving=serving_document(
            origin.base, recipe.training.precision, recipe.quantization, probe_sets["calibration"]
        ),
        evaluator=recipe.signer,
        lineage=origin.lineage,
    )


def script_provenance(
    tenant_path: Path,
    domain: str,
    *,
    base: str,
    probes: Path,
    signer_name: str,
    tokenizer: PreTrainedTokenizerBase,
    precision: str,
) -> tuple[Provenance, ProbeSet, AnySigner]:
    """What a script without a recipe can say of itself: its data and settings stay unnamed."""
    tenant = read_tenant(tenant_path)
    constraints = resolve(tenant, domain)
    located = locate(BaseModel(base))
    probe_set = read_probe_set(probes, tenant.domains)
    provenance = Provenance(
        name=Path(base).name,
        recipe={"script": True, "base": base, "domain": domain},
        seed=0,
        base=manifest_base(located),
        method=Method("script"),
        constraints=constraints,
        data=(),
        probes={"calibration": probe_set.digest},
        chat_template_digest=template_digest(tokenizer),
        serving=serving_document(located, precision, None, probe_set),
        evaluator=signer_name,
    )
    return provenance, probe_set, signing_key(signer(tenant, signer_name))


def manifest_base(base: LocatedBase) -> Base:
    return Base(_portable(base.model), base.revision, base.digest, base.digest_of, base.license)


def serving_document(
    base: LocatedBase, precision: str, quantization: Quantization | None, calibration: ProbeSet
) -> dict[str, Any]:
    """The content of `coherence/serving.json`.

    `options`: what every calibration question offered, if they all offered the same; then an answer needs
    no options of its own.
    """
    offered = {question.options for question in calibration.questions}
    return {
        "base": {
            "model": base.model,
            "revision": base.revision,
            "sha256": base.digest if base.kind in ("package", "gguf") else None,
        },
        "precision": precision,
        "quantization": quantization_facts(quantization),
        "options": list(offered.pop()) if len(offered) == 1 else None,
    }


def _portable(model: str) -> str:
    """A local path says nothing elsewhere: the manifest keeps its last part, the digest says the rest."""
    return os.path.basename(model) if os.path.isabs(model) else model


def adapter_facts(adapter: Adapter | None) -> dict[str, Any] | None:
    if adapter is None:
        return None
    return {
        "rank": adapter.rank,
        "alpha": adapter.alpha,
        "dropout": adapter.dropout,
        "targetModules": list(adapter.target_modules),
        "adaptRouter": adapter.adapt_router,
    }


def quantization_facts(quantization: Quantization | None) -> dict[str, Any] | None:
    return None if quantization is None else {"bits": quantization.bits, "double": quantization.double}
