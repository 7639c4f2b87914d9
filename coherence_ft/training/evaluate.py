"""Evaluation without promotion: any model of ours, or a base, against any constraints."""

from __future__ import annotations

from pathlib import Path

from coherence_ft.authority.resolve import ResolvedConstraints
from coherence_ft.documents.diagnostics import refusal
from coherence_ft.documents.probe_set import read_probe_set
from coherence_ft.documents.recipe import Recipe
from coherence_ft.documents.tenant import read_tenant
from coherence_ft.evidence.assessment import Assessment
from coherence_ft.serving.derivative import verify_derivative
from coherence_ft.training.measure import Watch, measure_base, measure_derivative
from coherence_ft.training.provenance import find_origin
from coherence_ft.training.run import probe_paths


def evaluate(
    folder: Path | None, recipe: Recipe, constraints: ResolvedConstraints, split: str, watch: Watch
) -> Assessment:
    """Hold the derivative or checkpoint in `folder` (None: the recipe's base model) to `constraints`.

    `split`: `test`, or `calibration` for what monitoring sees. Raises CoherenceError.
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
    domains = read_tenant(recipe.tenant).domains
    splits = dict.fromkeys(("calibration", split))
    probe_sets = {name: read_probe_set(paths[name], domains) for name in splits}
    if folder is None:
        return measure_base(find_origin(recipe), constraints, probe_sets, watch).assessment
    verified = verify_derivative(folder, tenant=recipe.tenant)
    return measure_derivative(verified, constraints, probe_sets, watch).assessment
