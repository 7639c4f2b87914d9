"""Measuring a model outside of training: every probe, no budget, and the base model beside a derivative."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.documents.probe_set import ProbeSet
from coherence_ft.documents.tenant import Power, Tenant
from coherence_ft.evidence.assessment import Assessment
from coherence_ft.evidence.calibrators import Calibrator
from coherence_ft.evidence.routing_patterns import Codebook
from coherence_ft.loops import routing
from coherence_ft.loops.engine import CoherenceEngine, Findings
from coherence_ft.loops.observation import Observations, Observed
from coherence_ft.loops.soundness import Credentials
from coherence_ft.loops.sources import SourceFigures, figures
from coherence_ft.models.base import Precision, load_model
from coherence_ft.models.confidence import SOURCES
from coherence_ft.probing.probe import Budget, Progress, probe
from coherence_ft.serving.derivative import Artifact, load_weights
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
class Session:
    """Who measures, and how. `authority`: of `tenant`, measures and later signs. `look`: at the certification
    split, from 1; None where that is not looked at. `sequential`: stop as soon as every hard constraint is
    clear.
    """

    watch: Watch
    tenant: Tenant
    authority: str
    look: int | None = None
    sequential: bool = False
    compare: bool = False  # the sources of confidence

    def credentials(self, model: str, base: str, probe_sets: ProbeSets) -> Credentials:
        return Credentials(
            model,
            base,
            {split: probes.digest for split, probes in probe_sets.items()},
            frozenset(a.id for a in self.tenant.authorities if Power.ATTEST in a.powers),
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """A model held to constraints. `codebook`: what named the routing patterns of its answers, if any did.

    `observed`: of a derivative, what it was made from: `derivative` and `base`, one pass a split each.
    """

    constraints: ResolvedConstraints
    findings: Findings
    codebook: Codebook | None
    sources: tuple[SourceFigures, ...] = ()  # of the judged split, where they were compared
    observed: Observed = field(default_factory=dict)

    @property
    def assessment(self) -> Assessment:
        return self.findings.assessment

    @property
    def calibrator(self) -> Calibrator:
        return self.findings.calibrator


def measure_derivative(
    verified: Artifact, constraints: ResolvedConstraints, probe_sets: ProbeSets, session: Session
) -> Measured:
    """Hold a derivative, with its base beside it, to constraints."""
    model, tokenizer = load_weights(verified)
    engine, base_digest = CoherenceEngine(constraints), verified.base.digest
    ours = _observe(model, tokenizer, probe_sets, engine, session, verified.weights, base_digest)
    sources = _compared(model, tokenizer, probe_sets, engine, session, ours)
    used = ours[0][-1].count if session.sequential else None

    def beside(model: PreTrainedModel) -> Seen:
        return _observe(model, tokenizer, probe_sets, engine, session, base_digest, base_digest, used)

    if hasattr(model, "disable_adapter"):
        with model.disable_adapter():
            base = beside(model)
    else:
        del model  # full weights: both at once may not fit
        base = beside(load_model(verified.base, precision=verified.serving["precision"]))
    found = _assess(
        engine, session, ours, base, session.credentials(verified.weights, base_digest, probe_sets)
    )
    return replace(found, sources=sources)


def measure_base(
    origin: Origin,
    precision: Precision,
    constraints: ResolvedConstraints,
    probe_sets: ProbeSets,
    session: Session,
) -> Measured:
    """Hold a recipe's base model to constraints. There is then nothing to stand beside it."""
    model = load_model(origin.base, precision=precision)
    engine, digest = CoherenceEngine(constraints), origin.base.digest
    ours = _observe(model, origin.tokenizer, probe_sets, engine, session, digest, digest)
    found = _assess(engine, session, ours, None, session.credentials(digest, digest, probe_sets))
    return replace(found, sources=_compared(model, origin.tokenizer, probe_sets, engine, session, ours))


def _observe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probe_sets: ProbeSets,
    engine: CoherenceEngine,
    session: Session,
    digest: str,
    base: str,
    used: int | None = None,
) -> Seen:
    """With routing patterns, where there are experts: by a codebook of the calibration split, the first.

    A sequential pass over the second split ends when it is clear, or after the `used` probes of one before.
    """
    who = "base" if digest == base else "derivative"
    (calibration, probes), *rest = probe_sets.items()

    def seen_by(split: str, probes: ProbeSet, **how: Any) -> Observations:
        seen = probe(
            model,
            tokenizer,
            probes,
            model_digest=digest,
            split=split,
            progress=session.watch(f"{who}, {split}"),
            confidence=engine.resolved.measurement.confidence.value,
            **how,
        )
        return replace(seen, base=base, authority=session.authority, software=version("coherence-ft"))

    first = seen_by(calibration, probes)
    codebook = routing.fit(first)

    def named(seen: Observations) -> Observations:
        return seen if codebook is None else routing.assigned(seen, codebook)

    def settled(split: str) -> Callable[[Observations], bool]:
        enough = engine.stopping(seen[0], split=split, look=session.look or 1)
        return lambda so_far: enough(named(so_far))

    seen = [named(first)]
    for split, probes in rest:
        how: dict[str, Any] = {}
        if session.sequential and used is not None:
            how = {"sequential": True, "budget": Budget(probes=used)}
        elif session.sequential:
            how = {"sequential": True, "settled": settled(split)}
        seen.append(named(seen_by(split, probes, **how)))
    return seen, codebook


def _compared(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probe_sets: ProbeSets,
    engine: CoherenceEngine,
    session: Session,
    ours: Seen,
) -> tuple[SourceFigures, ...]:
    """Every source of confidence on the questions alone, each in passes of its own."""
    found: list[SourceFigures] = []
    (first, *_), codebook = ours
    for source in SOURCES if session.compare else ():
        seen = [
            probe(
                model,
                tokenizer,
                replace(probes, groups=(), conversations=()),
                model_digest=first.model,
                split=split,
                progress=session.watch(f"{source}, {split}"),
                confidence=source,
            )
            for split, probes in probe_sets.items()
        ]
        if codebook is not None:
            seen = [routing.assigned(each, codebook) for each in seen]
        resolved = engine.resolved
        kind = resolved.measurement.calibrator.value
        found.append(figures(seen[0], seen[1] if len(seen) > 1 else None, resolved.domain, kind))
    return tuple(found)


def _assess(
    engine: CoherenceEngine, session: Session, ours: Seen, base: Seen | None, credentials: Credentials
) -> Measured:
    (calibration, *judged), codebook = ours
    beside = None if base is None else (base[0][0], base[0][1] if judged else None)
    findings = engine.examine(
        calibration,
        judged[0] if judged else None,
        base=beside,
        today=datetime.now(UTC).date(),
        look=session.look or 1,
        sequential=session.sequential and bool(judged),
        credentials=credentials,
    )
    observed = {} if base is None else {"derivative": tuple(ours[0]), "base": tuple(base[0])}
    return Measured(engine.resolved, findings, codebook, observed=observed)
