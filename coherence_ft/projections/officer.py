"""The report that a risk officer signs: one page with everything, verdicts first."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from coherence_ft.documents.canonical import decimal
from coherence_ft.documents.constraint_set import Enforcement
from coherence_ft.evidence.assessment import Verdict
from coherence_ft.loops.engine import Findings
from coherence_ft.loops.promise import is_to_everybody
from coherence_ft.manifest.files import BUNDLE, countersignature
from coherence_ft.projections.intervals import KEY, interval_plot
from coherence_ft.projections.one_third import one_third
from coherence_ft.projections.source import Source, measures
from coherence_ft.reporting import figures as drawing
from coherence_ft.reporting import summaries
from coherence_ft.reporting.pages import render
from coherence_ft.reporting.summaries import Whole
from coherence_ft.reporting.words import MARKS, bound_text, conclusion, look_line

_TEMPLATE = Path(__file__).with_name("officer.html.jinja")
_RELATIONS = {
    "none": "the base model",
    "continued": "a derivative that was trained further",
    "merged": "several derivatives that were merged",
    "merged-into-base": "a derivative whose adapter was merged into its base",
    "quantized": "a derivative that was quantized",
    "mixture": "derivatives that were made the experts of a mixture",
}


def officer_report(source: Source, findings: Findings | None, *, figures: int = 0, absent: str = "") -> str:
    """The page as HTML, with nothing from outside. The same manifest and findings give the same bytes.

    `findings`: derived again from the stored observations, and `figures` how many signed values agreed;
    None where there are none, and `absent` says why. Raises ModuleNotFoundError without the extra.
    """
    manifest = source.manifest
    models = summaries.wholes(findings) if findings else ()
    return render(
        _TEMPLATE,
        p=source.predicate,
        manifest=manifest,
        tenant=source.tenant,
        titled=source.titled,
        made_from=source.made_from,
        conclusion=conclusion(
            manifest.assessment,
            look_line(manifest.constraints, manifest.assessment, source.predicate["evaluation"]["look"]),
        ),
        reported=_reported(source),
        rows=[
            {
                "constraint": constraint,
                "result": result,
                "hard": result.enforcement is Enforcement.HARD,
                "measures": measures(constraint),
                "bound": bound_text(constraint),
                "confidence": f"{decimal(100 * constraint.confidence)} %",
                "plot": interval_plot(constraint, result.estimate),
            }
            for constraint, result in source.results
        ],
        key=KEY,
        marks=MARKS,
        models=models,
        images=_images(source, findings, models),
        alt_reliability=drawing.alt_reliability(models),
        alt_risk=drawing.alt_risk(models, findings.certificate if findings else None),
        figures=figures,
        absent=absent,
        limits=summaries,
        ancestors=list(_ancestors(source)),
        relations=_RELATIONS,
        rule=one_third(source),
        thousands=lambda number: f"{int(number):,}" if number.isdigit() else number,
        signers=list(_signers(source)),
        uncovered=list(_uncovered(source)),
        files=len(manifest.files),
        version=version("coherence-ft"),
    )


def _reported(source: Source) -> str:
    """What the constraints say that gate nothing: nobody should have to find it in the table."""
    by_verdict: dict[Verdict, list[str]] = {}
    for constraint, result in source.results:
        if result.enforcement is Enforcement.REPORT:
            by_verdict.setdefault(result.verdict, []).append(constraint.id)
    said = [
        f"{', '.join(by_verdict[verdict])} {how}"
        for verdict, how in ((Verdict.FAIL, "not kept"), (Verdict.INSUFFICIENT, "undecided"))
        if verdict in by_verdict
    ]
    return f"Reported beside them, and gating nothing: {'; '.join(said)}." if said else ""


def _images(source: Source, findings: Findings | None, models: tuple[Whole, ...]) -> dict[str, str]:
    if findings is None or not models[0].summary.answers:
        return {}
    promises = [
        r.constraint for r in source.manifest.constraints.constraints if is_to_everybody(r.constraint)
    ]
    drawn = {
        "reliability": drawing.reliability(models),
        "risk_coverage": drawing.risk_coverage(
            models, promises, findings.certificate, findings.assessment.coverage or 0.0
        ),
    }
    return {name: b64encode(content).decode() for name, content in drawn.items()}


def _ancestors(source: Source) -> Iterator[dict[str, Any]]:
    """Every ancestor that is known. A manifest of schema 1.0 names its parents and carries none."""
    named = {e["manifestDigest"]: e["name"] for e in source.predicate["lineage"]["parents"]}
    for digest, member in source.family.members.items():
        if digest == source.manifest.digest:
            continue
        p = member.predicate
        yield {
            "digest": digest,
            "name": p["name"] if p else named.get(digest, "unknown"),
            "made": p["createdAt"] if p else None,
            "signed": ", ".join(map(source.titled, member.signers)) if p else "not carried: not checked",
            "parents": member.parents,
        }


def _signers(source: Source) -> Iterator[dict[str, Any]]:
    manifest = source.manifest
    roles = [("maker", manifest.signer, BUNDLE)]
    roles += [("countersigner", id, countersignature(id)) for id in manifest.countersigners]
    for role, id, file in roles:
        authority = source.tenant.authority(id)
        yield {
            "role": role,
            "title": source.titled(id),
            "level": authority.level.value if authority else "",
            "powers": sorted(authority.powers) if authority else [],
            "file": file,
        }


def _uncovered(source: Source) -> Iterator[str]:
    """What the verdicts do not speak of: docs/trust.md, and what this manifest left out."""
    p, evaluation = source.predicate, source.predicate["evaluation"]
    assessment = source.manifest.assessment
    yield (
        f"Questions outside of the domain {p['domain']}, and questions unlike the {evaluation['used']} "
        "probes that were used."
    )
    if evaluation["skipped"]:
        yield f"{evaluation['skipped']} probes of the split that were not measured."
    open_ = [r.constraint for r in assessment.results if r.verdict is Verdict.INSUFFICIENT]
    if open_:
        yield f"Too little evidence to decide: {', '.join(open_)}."
    failed = [r.constraint for r in assessment.results if r.verdict is Verdict.FAIL]
    if failed:
        yield f"Known not to hold: {', '.join(failed)}."
    yield (
        "What happens after certification: drift is watched at run time by the outcomes that are fed back "
        "(coherence-ft evidence)."
    )
    yield (
        f"Weights that are loaded without the loops {', '.join(p['runtime']['loops'])}, as by plain PEFT or "
        "vLLM: no threshold and no boundary is applied there."
    )
    yield (
        "Whether the base model is what its publisher says, and the training data what their name says: "
        "their digests are signed, not their content."
    )
    yield (
        "Whether the observations are what the model did: whoever holds an attesting key could sign untrue "
        "ones. coherence-ft verify --reprobe measures a sample again."
    )
    yield "Whether a law applies, and whether it is kept."
