"""Observations: measured outcomes of probes on one model. Probing makes them, the loops read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coherence_ft.documents.constraint_set import OPTION_LIKELIHOOD

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DENSE = "dense"
"""The routing pattern of a model without experts."""


@dataclass(frozen=True, slots=True)
class AnswerObservation:
    """A question's option likelihoods.

    `probabilities`: normalised over the options, same order; the model's choice is the arg max. Of a
    mixture of experts, for that choice, (layers, experts): `experts`, how often each was used, and
    `contributions`, the router's weights summed. `stated`: confidence in the choice from another source than
    the option's likelihood, NaN where the model was asked and stated none.
    """

    probe: str
    group: str
    domain: str
    probabilities: tuple[float, ...]
    answer: int
    routing_pattern: str = DENSE
    language: str | None = None  # as the probe is marked
    audience: str | None = None
    experts: NDArray[np.int64] | None = field(default=None, compare=False, repr=False)
    contributions: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
    stated: float | None = None

    @property
    def choice(self) -> int:
        return max(range(len(self.probabilities)), key=self.probabilities.__getitem__)

    @property
    def confidence(self) -> float:
        """As the model states it, before calibration; NaN where it stated none."""
        return max(self.probabilities) if self.stated is None else self.stated

    @property
    def is_stated(self) -> bool:
        return not math.isnan(self.confidence)

    @property
    def correct(self) -> bool:
        return self.choice == self.answer


@dataclass(frozen=True, slots=True)
class GroupObservation:
    """The option indices chosen for a probe group's members, in their order."""

    probe: str
    domain: str
    relation: str
    choices: tuple[int, ...]
    language: str | None = None
    audience: str | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    verifier: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class ReplyObservation:
    """A reply and what its checks said."""

    probe: str
    domain: str
    category: str
    reply: str
    checks: tuple[CheckResult, ...]
    language: str | None = None
    audience: str | None = None

    @property
    def violated(self) -> bool:
        return not all(check.passed for check in self.checks)


@dataclass(frozen=True, slots=True)
class Observations:
    """All that one pass over one probe set saw.

    `model`: content digest of what was measured. `probe_set`: digest of the file. `skipped`: probes left out
    by a budget; `len(answers) + len(groups) + len(replies) + skipped` is the size of the probe set.
    `capture`: how the experts of a mixture were counted. `codebook`: digest of the codebook that named the
    routing patterns. `largest_group`: questions in the largest group of the whole probe set. What vouches
    for them when they certify: `base`, digest of the base model; `authority`, who measured; `software`, with
    what.
    `confidence_source`: what was taken for confidence in an answer.
    """

    model: str
    probe_set: str
    split: str
    answers: tuple[AnswerObservation, ...] = ()
    groups: tuple[GroupObservation, ...] = ()
    replies: tuple[ReplyObservation, ...] = ()
    skipped: int = 0
    tokens: int = 0  # prompt and generated tokens that were computed
    seconds: float = 0.0
    capture: str = ""  # empty: a dense model
    codebook: str = ""  # empty: no patterns assigned
    confidence_source: str = OPTION_LIKELIHOOD
    largest_group: int = 1
    base: str = ""
    authority: str = ""
    software: str = ""

    @property
    def count(self) -> int:
        return len(self.answers) + len(self.groups) + len(self.replies)


Observed = Mapping[str, tuple[Observations, ...]]
"""By what was measured, `derivative` or `base`: one pass a split."""
