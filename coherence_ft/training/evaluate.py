"""Evaluation without promotion: any model of ours, or a base, against any constraints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.documents.diagnostics import refusal
from coherence_ft.documents.probe_set import read_probe_set
from coherence_ft.documents.recipe import BaseModel, Recipe
from coherence_ft.documents.tenant import read_tenant
from coherence_ft.manifest.files import MANIFEST
from coherence_ft.serving.derivative import verify_derivative
from coherence_ft.training.measure import Measured, Session, Watch, measure_base, measure_derivative
from coherence_ft.training.provenance import find_origin
from coherence_ft.training.run import probe_paths


def evaluate(
    model: str,
    recipe: Recipe,
    constraints: ResolvedConstraints,
    split: str,
    watch: Watch,
    *,
    sequential: bool = False,
    compare: bool = False,
) -> Measured:
    """Hold `model` to `constraints` with the recipe's probes.

    `model`: a derivative or checkpoint of ours, which must verify; `base`, the recipe's base model; or any
    other base: a folder, a GGUF file, a hub id as ID@REVISION. `split`: `test`, or `calibration` for what
    monitoring sees. `sequential`: stop as soon as every hard constraint is clear.
    `compare`: the sources of confidence too. Raises CoherenceError.
    """
    paths = probe_paths(recipe)
    if split not in paths:
        raise refusal(
            "CFT727",
            f"the recipe names no {split} split",
            path=recipe.path,
            expected=f"probes.{split}",
            help=f"add probes.{split} to the recipe, or choose another --split",
        )
    tenant = read_tenant(recipe.tenant)
    session = Session(watch, tenant, recipe.signer, sequential=sequential, compare=compare)
    splits = dict.fromkeys(("calibration", split))
    probe_sets = {name: read_probe_set(paths[name], tenant.domains) for name in splits}
    if (Path(model) / MANIFEST).exists():
        verified = verify_derivative(model, tenant=recipe.tenant)
        return measure_derivative(verified, constraints, probe_sets, session)
    if model != "base":
        name, _, revision = model.partition("@")
        recipe = replace(recipe, base=BaseModel(name, revision or None))
    origin = find_origin(recipe)
    return measure_base(origin, recipe.training.precision, constraints, probe_sets, session)
