"""An assessment: every constraint with its estimate and verdict; what the engine says, the manifest signs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from coherence_ft.documents.constraint_set import Enforcement
from coherence_ft.evidence.estimate import Estimate


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    INSUFFICIENT = "insufficient"
    WAIVED = "waived"

    @property
    def lets_through(self) -> bool:
        return self in (Verdict.PASS, Verdict.WAIVED)


@dataclass(frozen=True, slots=True)
class ConstraintResult:
    """`constraint` is the id of a resolved constraint. `estimate` is None where nothing was measured."""

    constraint: str
    enforcement: Enforcement
    estimate: Estimate | None
    verdict: Verdict
    why: str  # one plain sentence for an officer
    base: Estimate | None = None  # the same estimate on the base model

    def to_json(self) -> dict[str, Any]:
        return {
            "constraint": self.constraint,
            "enforcement": self.enforcement.value,
            "estimate": self.estimate.to_json() if self.estimate else None,
            "verdict": self.verdict.value,
            "why": self.why,
            "base": self.base.to_json() if self.base else None,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ConstraintResult:
        return cls(
            data["constraint"],
            Enforcement(data["enforcement"]),
            Estimate.from_json(data["estimate"]) if data["estimate"] else None,
            Verdict(data["verdict"]),
            data["why"],
            Estimate.from_json(data["base"]) if data.get("base") else None,
        )


@dataclass(frozen=True, slots=True)
class Assessment:
    """`split` names the evidence: only `certification` can promote."""

    split: str
    probe_set: str  # digest
    results: tuple[ConstraintResult, ...]
    abstention_threshold: float | None  # calibrated confidence below which to abstain; None: none certified
    coverage: float | None  # share of questions at or above the threshold
    skipped: int  # probes left out by a budget
    unused: int = 0  # observations of domains for which these constraints do not speak
    used: int = 0  # observations that they do speak for; with `unused` and `skipped`, the whole probe set

    @property
    def probes(self) -> int:
        """The size of the probe set. What was refused is in none of the three: then nothing is assessed."""
        return self.used + self.unused + self.skipped

    @property
    def blocking(self) -> tuple[ConstraintResult, ...]:
        """The hard constraints that neither pass nor are waived."""
        return tuple(
            r for r in self.results if r.enforcement is Enforcement.HARD and not r.verdict.lets_through
        )

    @property
    def passed(self) -> bool:
        """Every hard constraint passes or is waived, and there is at least one."""
        return not self.blocking and any(r.enforcement is Enforcement.HARD for r in self.results)
