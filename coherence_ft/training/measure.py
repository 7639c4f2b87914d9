"""Measuring a model outside of training: every probe, no budget, and the base model beside a derivative."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.documents.probe_set import ProbeSet
from coherence_ft.evidence.assessment import Assessment
from coherence_ft.evidence.calibrators import PlattCalibrator
from coherence_ft.loops.engine import CoherenceEngine
from coherence_ft.loops.observation import Observations
from coherence_ft.models.base import Precision, load_model
from coherence_ft.probing.probe import Progress, probe
from coherence_ft.serving.derivative import VerifiedDerivative, load_weights
from coherence_ft.training.provenance import Origin

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Watch = Callable[[str], Progress]
"""Given the name of a pass ("base, certification"), something that shows its progress."""

ProbeSets = Mapping[str, ProbeSet]
"""`calibration`, and the split to be judged if it is another one, in this order."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A model held to constraints."""

    constraints: ResolvedConstraints
    assessment: Assessment
    calibrator: PlattCalibrator


def measure_derivative(
    verified: VerifiedDerivative, constraints: ResolvedConstraints, probe_sets: ProbeSets, watch: Watch
) -> Measured:
    """Hold a derivative, with its base beside it, to constraints."""
    model, tokenizer = load_weights(verified)
    ours = _observe(model, tokenizer, probe_sets, verified.weights, "derivative", watch)
    if hasattr(model, "disable_adapter"):
        with model.disable_adapter():
            base = _observe(model, tokenizer, probe_sets, verified.base.digest, "base", watch)
    else:
        del model  # full weights: both at once may not fit
        unmodified = load_model(verified.base, precision=verified.serving["precision"])
        base = _observe(unmodified, tokenizer, probe_sets, verified.base.digest, "base", watch)
    return _assess(constraints, ours, base)


def measure_base(
    origin: Origin,
    precision: Precision,
    constraints: ResolvedConstraints,
    probe_sets: ProbeSets,
    watch: Watch,
) -> Measured:
    """Hold a recipe's base model to constraints. There is then nothing to stand beside it."""
    model = load_model(origin.base, precision=precision)
    return _assess(
        constraints, _observe(model, origin.tokenizer, probe_sets, origin.base.digest, "base", watch), None
    )


def _observe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probe_sets: ProbeSets,
    digest: str,
    who: str,
    watch: Watch,
) -> list[Observations]:
    return [
        probe(model, tokenizer, probes, model_digest=digest, split=split, progress=watch(f"{who}, {split}"))
        for split, probes in probe_sets.items()
    ]


def _assess(
    constraints: ResolvedConstraints, ours: list[Observations], base: list[Observations] | None
) -> Measured:
    calibration, *judged = ours
    beside = None if base is None else (base[0], base[1] if judged else None)
    assessment, calibrator = CoherenceEngine(constraints).assess(
        calibration, judged[0] if judged else None, base=beside, today=datetime.now(UTC).date()
    )
    return Measured(constraints, assessment, calibrator)
