"""The tenant document: who may decide what, which constraint sets hold, which waivers are in force."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path

from coherence_ft.documents.constraint_set import ConstraintSet, Level, Origin


class Power(StrEnum):
    SET = "set"  # own constraints
    TIGHTEN = "tighten"  # narrow a bound that somebody else set
    WAIVE = "waive"  # approve a waiver
    ATTEST = "attest"  # sign manifests


@dataclass(frozen=True, slots=True)
class Authority:
    id: str
    title: str
    level: Level
    powers: frozenset[Power]
    public_keys: tuple[Path, ...]  # PEM files; a listed file that is missing simply verifies nothing
    origin: Origin


@dataclass(frozen=True, slots=True)
class Layer:
    """A constraint set adopted at a level. Higher levels bind lower ones."""

    level: Level
    authority: str  # who adopted it
    constraint_set: ConstraintSet
    origin: Origin


@dataclass(frozen=True, slots=True)
class Waiver:
    """The only thing that relaxes: one constraint, one domain, dated, approved by somebody else."""

    constraint: str
    domain: str
    bound: float
    requested_by: str
    approved_by: str
    reason: str
    expires: date  # the last day on which it holds
    origin: Origin


@dataclass(frozen=True, slots=True)
class Tenant:
    id: str
    title: str
    authorities: tuple[Authority, ...]
    layers: tuple[Layer, ...]
    waivers: tuple[Waiver, ...]
    domains: tuple[str, ...]  # published ones and the tenant's own
    path: str

    def authority(self, id: str) -> Authority | None:
        return next((a for a in self.authorities if a.id == id), None)
