"""Measuring a model outside of training: every probe, no budget, and the base model beside a derivative."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.documents.probe_set import ProbeSet
from coherence_ft.evidence.assessment import Assessment
from coherence_ft.evidence.calibrators import Calibrator
from coherence_ft.evidence.routing_patterns import Codebook
from coherence_ft.loops import routing
from coherence_ft.loops.engine import CoherenceEngine, Findings
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

Seen = tuple[list[Observations], Codebook | None]
"""One pass over each of the probe sets."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A model held to constraints. `codebook`: what named the routing patterns of its answers, if any did."""

    constraints: ResolvedConstraints
    findings: Findings
    codebook: Codebook | None

    @property
    def assessment(self) -> Assessment:
        return self.findings.assessment

    @property
    def calibrator(self) -> Calibrator:
        return self.findings.calibrator


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
) -> Seen:
    """With routing patterns, where there are experts: by a codebook of the calibration split, the first."""
    seen = [
        probe(model, tokenizer, probes, model_digest=digest, split=split, progress=watch(f"{who}, {split}"))
        for split, probes in probe_sets.items()
    ]
    codebook = routing.fit(seen[0])
    return (seen if codebook is None else [routing.assigned(each, codebook) for each in seen]), codebook


def _assess(constraints: ResolvedConstraints, ours: Seen, base: Seen | None) -> Measured:
    (calibration, *judged), codebook = ours
    beside = None if base is None else (base[0][0], base[0][1] if judged else None)
    findings = CoherenceEngine(constraints).examine(
        calibration, judged[0] if judged else None, base=beside, today=datetime.now(UTC).date()
    )
    return Measured(constraints, findings, codebook)
