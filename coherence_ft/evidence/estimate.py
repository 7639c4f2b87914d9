"""Estimates: a number is nothing without its interval, its n and its method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.diagnostics import refusal

_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Missing:
    """What stands where an estimate could not be made: a clause for an officer, the code that explains it."""

    clause: str
    code: str = ""

    @property
    def reason(self) -> str:
        return f"{self.clause} ({self.code})" if self.code else self.clause


@dataclass(frozen=True, slots=True)
class Estimate:
    """`value` with one-sided limits: each of `lower` and `upper` holds alone with `confidence`.

    Rounded when made: the value to six decimals, the limits outwards, so that what a manifest prints is
    exactly what the verdict was taken from.
    """

    value: float
    lower: float
    upper: float
    n: int  # independent units behind it
    confidence: float
    method: str

    @classmethod
    def of(cls, value: float, lower: float, upper: float, n: int, confidence: float, method: str) -> Estimate:
        if not all(map(math.isfinite, (value, lower, upper))):
            raise refusal(
                "CFT450",
                f"an estimate by {method} is not a finite number",
                found=f"{value} [{lower}, {upper}]",
                help="This is a defect of the estimator: please report it with the observations.",
            )
        scale = 10**_DIGITS
        value = round(value, _DIGITS)
        # 1e-9 of slack: a limit that is 0.05 up to float noise must not be pushed to 0.050001
        low, high = math.floor(lower * scale + 1e-9) / scale, math.ceil(upper * scale - 1e-9) / scale
        return cls(value, min(low, value), max(high, value), n, confidence, method)

    def to_json(self) -> dict[str, Any]:
        """Decimal strings: no reader may lose a digit."""
        return {
            "value": f"{self.value:.{_DIGITS}f}",
            "lower": f"{self.lower:.{_DIGITS}f}",
            "upper": f"{self.upper:.{_DIGITS}f}",
            "n": self.n,
            "confidence": decimal(self.confidence),
            "method": self.method,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Estimate:
        return cls(
            float(data["value"]),
            float(data["lower"]),
            float(data["upper"]),
            int(data["n"]),
            float(data["confidence"]),
            str(data["method"]),
        )
