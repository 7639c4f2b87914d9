"""The words in force: at each confidence, those of the most cautious layer that speaks to the audience."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from coherence_ft.documents.constraint_set import NOWHERE, Act, Band, Origin, Wording
from coherence_ft.documents.diagnostics import Diagnostic


@dataclass(frozen=True, slots=True)
class StatedWording:
    """One layer's wording. `rank`: 0 is the highest."""

    wording: Wording
    rank: int
    layer: str


@dataclass(frozen=True, slots=True)
class ResolvedBand:
    """From `confidence` up to the next band, `phrase` is said."""

    confidence: float
    act: Act
    phrase: str
    layer: str
    origin: Origin = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class ResolvedWording:
    """Bands from the highest confidence down; the last begins at 0. `audience` None: everybody not named."""

    audience: str | None
    bands: tuple[ResolvedBand, ...]

    def band(self, confidence: float) -> ResolvedBand:
        return next(band for band in self.bands if confidence >= band.confidence)


def resolve_wording(stated: Sequence[StatedWording]) -> tuple[ResolvedWording, ...]:
    """For each audience that is named, and for everybody else, the bands in force."""
    audiences = sorted({s.wording.audience for s in stated}, key=lambda a: a or "")
    return tuple(ResolvedWording(a, _bands(_speaking_to(a, stated))) for a in audiences)


def _speaking_to(audience: str | None, stated: Sequence[StatedWording]) -> list[StatedWording]:
    return [s for s in stated if s.wording.audience in (None, audience)]


def _bands(stated: Sequence[StatedWording]) -> tuple[ResolvedBand, ...]:
    def strictest(confidence: float) -> tuple[StatedWording, Band]:
        # Among equally cautious layers the lowest: it knows its users best. The rest only makes it certain.
        return max(
            ((s, s.wording.band(confidence)) for s in stated),
            key=lambda found: (
                found[1].act.caution,
                found[0].wording.audience is not None,
                found[0].rank,
                found[0].layer,
                found[1].confidence,
                found[1].phrase,
            ),
        )

    edges = sorted({band.confidence for s in stated for band in s.wording.bands}, reverse=True)
    pieces = [(edge, *strictest(edge)) for edge in edges]
    bands = []
    for _, same in groupby(pieces, key=lambda p: (p[1].layer, p[2].act, p[2].phrase)):
        edge, source, band = list(same)[-1]
        bands.append(ResolvedBand(edge, band.act, band.phrase, source.layer, band.origin))
    return tuple(bands)


def bolder(stated: Sequence[StatedWording]) -> list[Diagnostic]:
    """Wording that says more than a higher layer allows at the same confidence (CFT337)."""
    found = []
    for lower in stated:
        for higher in stated:
            if higher.rank >= lower.rank or higher.wording.audience not in (None, lower.wording.audience):
                continue
            edges = [b.confidence for s in (lower, higher) for b in s.wording.bands]
            for edge in sorted(set(edges), reverse=True):
                mine, theirs = lower.wording.band(edge), higher.wording.band(edge)
                if mine.act.caution < theirs.act.caution:
                    at = mine.origin.of("act")
                    found.append(
                        at.diagnostic(
                            "CFT337",
                            f"{lower.layer} would {mine.act} at confidence {edge:g}, where {higher.layer} "
                            f"demands to {theirs.act} ({theirs.origin})",
                            found=mine.act.value,
                            expected=" or ".join(a.value for a in Act if a.caution >= theirs.act.caution),
                            help="a lower layer may only be more cautious: raise `from`, or change the act",
                        )
                    )
                    break
    return found
