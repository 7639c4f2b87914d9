"""Every figure of a certified manifest, computed again from the observations that it names.

This takes no model and no torch. It proves that the figures follow from the observations, and not that the
observations are what the model did: for that a sample is measured again (reprobe.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from coherence_ft.auditing.observations import read_observations
from coherence_ft.auditing.probes import departures
from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.probe_set import ProbeSet
from coherence_ft.evidence.gates import ANYTIME
from coherence_ft.loops import routing
from coherence_ft.loops.engine import CoherenceEngine, Findings
from coherence_ft.loops.observation import Observed
from coherence_ft.loops.soundness import Credentials
from coherence_ft.manifest.files import MANIFEST, place
from coherence_ft.manifest.verify import VerifiedManifest
from coherence_ft.serving.evidence import CODEBOOK_FILE, document, weights_of

_SHOWN = 3  # differing fields of one figure named in a message


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What agreed. `figures`: how many single values were compared. `probe_sets`: splits whose observations
    were held against the probe file as well."""

    observed: Observed
    findings: Findings  # the engine's, for who draws them
    figures: int
    probe_sets: tuple[str, ...]


def recompute(
    manifest: VerifiedManifest,
    *,
    store: Path | None = None,
    probe_sets: Mapping[str, ProbeSet] | None = None,
) -> Recomputed:
    """Fit, assign, estimate and decide again, and compare every value with the signed one, exactly.

    `store`: see `read_observations`. `probe_sets`: by split, files with the signed digests; the observations
    are then held against them too. Raises CoherenceError with everything that differs: CFT451 to CFT468
    where the observations are no evidence, CFT652 to CFT659.
    """
    observed = read_observations(manifest, store)
    found = [
        finding
        for split, probes in (probe_sets or {}).items()
        for passes in observed.values()
        for seen in passes
        if seen.split == split
        for finding in departures(seen, probes)
    ]
    figures = 0
    try:
        signed = _signed(manifest, observed)
        findings, derived = _derived(manifest, observed)
    except CoherenceError as error:
        raise CoherenceError([*error.diagnostics, *found]) from error
    for name in signed.keys() | derived.keys():
        ours, theirs = dict(_values(derived.get(name))), dict(_values(signed.get(name)))
        figures += len(theirs)
        if ours != theirs:
            found.append(_difference(name, ours, theirs, place(manifest.folder, MANIFEST)))
    if found:
        raise CoherenceError(sorted(found, key=lambda finding: finding.message))
    return Recomputed(observed, findings, figures, tuple(probe_sets or ()))


def _signed(manifest: VerifiedManifest, observed: Observed) -> dict[str, Any]:
    predicate = manifest.predicate
    evaluation = predicate["evaluation"]
    codebook = CODEBOOK_FILE in manifest.files
    return {
        **{f"the result for {r['constraint']}": r for r in evaluation["results"]},
        "the abstention threshold": predicate["abstentionThreshold"],
        "the coverage": predicate["coverage"],
        "the probes counted": {name: evaluation[name] for name in ("skipped", "unused", "used")},
        "the calibrator": manifest.calibrator,
        "the routing codebook": document(manifest.folder, manifest, CODEBOOK_FILE) if codebook else None,
        **_codebooks(observed),
    }


def _derived(manifest: VerifiedManifest, observed: Observed) -> tuple[Findings, dict[str, Any]]:
    patterns = {model: routing.fit(passes[0]) for model, passes in observed.items()}
    named = {
        model: tuple(routing.assigned(seen, codebook) if codebook else seen for seen in passes)
        for (model, passes), codebook in zip(observed.items(), patterns.values(), strict=True)
    }
    found = _examined(manifest, named)
    assessment, codebook = found.assessment, patterns["derivative"]
    return found, {
        **{f"the result for {r.constraint}": r.to_json() for r in assessment.results},
        "the abstention threshold": _decimal(assessment.abstention_threshold),
        "the coverage": _decimal(assessment.coverage),
        "the probes counted": {name: getattr(assessment, name) for name in ("skipped", "unused", "used")},
        "the calibrator": found.calibrator.to_json(),
        "the routing codebook": codebook.to_json() if codebook else None,
        **_codebooks(named),
    }


def _examined(manifest: VerifiedManifest, observed: Observed) -> Findings:
    """The engine's findings, under the conditions that the manifest states."""
    predicate, evaluation = manifest.predicate, manifest.predicate["evaluation"]
    calibration, certification = observed["derivative"]
    fitted_on, judged = observed["base"]
    methods = [r.estimate.method for r in manifest.assessment.results if r.estimate is not None]
    credentials = Credentials(
        weights_of(manifest.files),
        predicate["base"]["digest"],
        {split: predicate["probes"][split] for split in (calibration.split, certification.split)},
        frozenset({manifest.signer}),
    )
    return CoherenceEngine(manifest.constraints).examine(
        calibration,
        certification,
        base=(fitted_on, judged),
        today=date.fromisoformat(evaluation["evaluatedAt"][:10]),
        look=evaluation["look"],
        sequential=any(method.startswith(ANYTIME) for method in methods),
        credentials=credentials,
    )


def _codebooks(observed: Observed) -> dict[str, Any]:
    """The codebook by which each pass says that its patterns were named, or empty."""
    return {
        f"the routing patterns of {model} on {seen.split}": seen.codebook
        for model, passes in observed.items()
        for seen in passes
    }


def _decimal(value: float | None) -> str | None:
    return None if value is None else decimal(value)


def _values(data: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value in JSON data, by its path."""
    inner = data.items() if isinstance(data, Mapping) else enumerate(data) if isinstance(data, list) else ()
    if not inner:
        yield at, data
    for key, each in inner:
        yield from _values(each, f"{at}.{key}" if at else str(key))


def _difference(name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], where: str) -> Diagnostic:
    absent = object()
    differing = [key for key in {**theirs, **ours} if ours.get(key, absent) != theirs.get(key, absent)]
    more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""

    def shown(values: Mapping[str, Any]) -> str:
        those = differing[:_SHOWN]
        return ", ".join(f"{k} {values[k]}".strip() if k in values else f"no {k}" for k in those) + more

    return Diagnostic(
        "CFT658",
        f"{name} does not follow from the stored observations",
        where,
        found=f"signed: {shown(theirs)}",
        expected=f"from the observations: {shown(ours)}",
        help="compute again with the software versions that the manifest names before drawing conclusions",
    )
