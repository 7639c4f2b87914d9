"""The measurement in force: of each part, what the highest layer that states it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from coherence_ft.documents.constraint_set import NOWHERE, OPTION_LIKELIHOOD, PLATT, Measurement, Origin
from coherence_ft.documents.diagnostics import Diagnostic

_PARTS = ("confidence", "calibrator")


@dataclass(frozen=True, slots=True)
class StatedMeasurement:
    """One layer's measurement. `rank`: 0 is the highest."""

    measurement: Measurement
    rank: int
    layer: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """A value and the layer that states it; `layer` is None where it is the default."""

    value: str
    layer: str | None = None
    origin: Origin = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class ResolvedMeasurement:
    """`confidence`: the source of confidence. `calibrator`: `platt`, `temperature` or `isotonic`."""

    confidence: Chosen = Chosen(OPTION_LIKELIHOOD)
    calibrator: Chosen = Chosen(PLATT)


DEFAULTS = ResolvedMeasurement()


def resolve_measurement(stated: Sequence[StatedMeasurement]) -> ResolvedMeasurement:
    """Each part from the highest layer that states it; the order of `stated` does not matter."""
    found: dict[str, Chosen] = {}
    for name in _PARTS:
        if said := _saying(stated, name):
            first = said[0]
            found[name] = Chosen(
                getattr(first.measurement, name), first.layer, first.measurement.origin.of(name)
            )
    return ResolvedMeasurement(**found)


def measured_otherwise(stated: Sequence[StatedMeasurement]) -> Iterator[Diagnostic]:
    """Layers that state another source or calibrator than the highest does, peers too (CFT338)."""
    for name in _PARTS:
        said = _saying(stated, name)
        for other in said[1:]:
            here, there = (getattr(s.measurement, name) for s in (other, said[0]))
            if here != there:
                yield other.measurement.origin.of(name).diagnostic(
                    "CFT338",
                    f"{other.layer} states another {name} than {said[0].layer} "
                    f"({said[0].measurement.origin.of(name)})",
                    found=here,
                    expected=there,
                    help="leave it out: what the highest layer states holds for all",
                )


def _saying(stated: Sequence[StatedMeasurement], name: str) -> list[StatedMeasurement]:
    """Those that state the part, the highest first; among peers in an order of their own."""
    said = [s for s in stated if getattr(s.measurement, name) is not None]
    return sorted(
        said, key=lambda s: (s.rank, s.layer, getattr(s.measurement, name), str(s.measurement.origin))
    )
