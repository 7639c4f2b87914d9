"""The calibration report: one page that holds everything, and its figures beside it."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.documents.diagnostics import CoherenceError, refusal
from coherence_ft.evidence.gates import ANYTIME
from coherence_ft.evidence.multiplicity import at_look
from coherence_ft.loops.cells import Kept, keeping
from coherence_ft.loops.engine import Findings, Tally
from coherence_ft.loops.observation import AnswerObservation
from coherence_ft.loops.promise import is_to_everybody
from coherence_ft.loops.sources import SourceFigures
from coherence_ft.reporting import figures, summaries
from coherence_ft.reporting.pages import render
from coherence_ft.reporting.summaries import Cells, Summary, Whole
from coherence_ft.reporting.words import MARKS, bound_text, conclusion, in_order, look_line

PAGE = "report.html"
RELIABILITY = "reliability.png"
RISK_COVERAGE = "risk-coverage.png"
BY_DOMAIN = "reliability-by-domain.png"
BY_PATTERN = "reliability-by-pattern.png"
_TEMPLATE = Path(__file__).with_name("page.html.jinja")


def prepare(folder: Path) -> None:
    """Make `folder`. Raises CFT731 when a report cannot be written there: better known before measuring.

    Raises ModuleNotFoundError without the extra.
    """
    import jinja2  # noqa: F401
    import matplotlib  # noqa: F401

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error
    for name in (PAGE, RELIABILITY, RISK_COVERAGE, BY_DOMAIN, BY_PATTERN):
        if (folder / name).is_dir():
            raise _unwritable(folder / name, IsADirectoryError("a folder of this name is there"))


def write_report(
    folder: Path,
    model: str,
    constraints: ResolvedConstraints,
    findings: Findings,
    sources: Sequence[SourceFigures] = (),
) -> Path:
    """Write `report.html` and its PNGs into `folder`; the path of the page. `model`: its name for people.
    `sources`: of confidence, where they were compared.

    Each file is replaced as a whole, the page last. A figure of an earlier report that this one has no
    answers for is removed; nothing else is touched. The same findings give the same bytes. Raises CFT731.
    """
    prepare(folder)
    models = summaries.wholes(findings)
    domains = summaries.cells(findings, lambda answer: answer.domain)
    patterns = summaries.cells(findings, lambda answer: answer.routing_pattern)
    images = _images(constraints, findings, models, domains, patterns)
    page = _page(model, constraints, findings, models, domains, patterns, images, sources)
    try:
        for name in (RELIABILITY, RISK_COVERAGE, BY_DOMAIN, BY_PATTERN):
            if name in images:
                _replace(folder / name, images[name])
            else:
                (folder / name).unlink(missing_ok=True)
        _replace(folder / PAGE, page.encode())
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder / PAGE


def _images(
    constraints: ResolvedConstraints,
    findings: Findings,
    models: tuple[Whole, ...],
    domains: Cells,
    patterns: Cells,
) -> dict[str, bytes]:
    images = {}
    if models[0].summary.answers:
        promises = [r.constraint for r in constraints.constraints if is_to_everybody(r.constraint)]
        images[RELIABILITY] = figures.reliability(models)
        images[RISK_COVERAGE] = figures.risk_coverage(
            models, promises, findings.certificate, findings.assessment.coverage or 0.0
        )
    for name, cells in ((BY_DOMAIN, domains), (BY_PATTERN, patterns)):
        if cells.drawn:
            images[name] = figures.cells(cells.drawn)
    return images


def _page(
    model: str,
    constraints: ResolvedConstraints,
    findings: Findings,
    models: tuple[Whole, ...],
    domains: Cells,
    patterns: Cells,
    images: dict[str, bytes],
    sources: Sequence[SourceFigures],
) -> str:
    passes = _passes(findings, models)
    by_domain = _kept(constraints, findings, lambda answer: answer.domain)
    by_pattern = _kept(constraints, findings, lambda answer: answer.routing_pattern)
    return render(
        _TEMPLATE,
        model=model,
        resolved=constraints,
        by_id={r.constraint.id: r for r in constraints.constraints},
        findings=findings,
        assessment=findings.assessment,
        conclusion=conclusion(
            findings.assessment, look_line(constraints, findings.assessment, findings.look)
        ),
        results=in_order(findings.assessment),
        marks=MARKS,
        bound_text=bound_text,
        models=models,
        passes=passes,
        unstated=any(tally.unstated for _, tally in passes),
        digests={name: tally.model for name, tally in passes}
        | {f"{tally.split} probes": tally.probe_set for _, tally in passes}
        | {"constraints": constraints.digest},
        diagrams=_diagrams(models, (domains, patterns)),
        alt_reliability=figures.alt_reliability(models),
        alt_risk=figures.alt_risk(models, findings.certificate),
        breakdowns=(
            ("domain", domains, by_domain, BY_DOMAIN),
            ("routing pattern", patterns, by_pattern, BY_PATTERN),
        ),
        images={name: b64encode(content).decode() for name, content in images.items()},
        reliability=RELIABILITY,
        risk_coverage=RISK_COVERAGE,
        limits=summaries,
        sources=sources,
        version=version("coherence-ft"),
    )


def _kept(
    constraints: ResolvedConstraints, findings: Findings, key: Callable[[AnswerObservation], str]
) -> tuple[Kept, ...]:
    """Empty after a sequential pass: its end depended on outcomes, which limits of cells do not allow for."""
    assessment = findings.assessment
    if any(r.estimate is not None and r.estimate.method.startswith(ANYTIME) for r in assessment.results):
        return ()
    asked = [
        replace(r, constraint=at_look(r.constraint, assessment.split, findings.look or 1))
        for r in constraints.constraints
    ]
    return keeping(asked, findings.evidence, findings.base, key)


def _passes(findings: Findings, models: tuple[Whole, ...]) -> list[tuple[str, Tally]]:
    each = len(findings.tallies) // len(models)
    return [(models[i // each].name, tally) for i, tally in enumerate(findings.tallies)]


def _diagrams(models: tuple[Whole, ...], breakdowns: tuple[Cells, ...]) -> list[tuple[str, Summary]]:
    """Every diagram that is drawn, with its name."""
    found = [(m.name, m.summary) for m in models if m.summary.bins]
    for cell in (cell for cells in breakdowns for cell in cells.drawn):
        found.append((f"{cell.name}, {models[0].name}", cell.ours))
        if cell.base is not None and cell.base.bins:
            found.append((f"{cell.name}, base", cell.base))
    return found


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> CoherenceError:
    return refusal(
        "CFT731",
        "the report cannot be written",
        path=path,
        found=error.strerror or str(error),
        help="make room, mend the permissions, or choose another folder",
    )
