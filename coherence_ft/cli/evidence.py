"""`coherence-ft evidence add OUTCOMES` and `coherence-ft evidence show`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

from coherence_ft.cli.printing import as_json, print_diagnostics
from coherence_ft.documents.diagnostics import Diagnostic, Severity
from coherence_ft.documents.outcomes import read_outcomes

_SHOWN = 10  # refused rows

_derivative = click.option(
    "--derivative",
    "folder",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder of the derivative; by default the one you are in.",
)
_tenant = click.option(
    "--tenant", type=click.Path(path_type=Path), help="Tenant document; by default the trusted one."
)
_format = click.option(
    "--format", "output", type=click.Choice(["text", "json"]), default="text", show_default=True
)


@click.group(name="evidence")
def command() -> None:
    """Bring in what became of answers at run time, and say whether confidence still holds."""


@command.command(name="add")
@click.argument("outcomes", type=click.Path(path_type=Path))
@_derivative
@_tenant
@_format
def add(outcomes: Path, folder: Path, tenant: Path | None, output: str) -> None:
    """Add a file of outcomes (JSON lines). All that count are added in one step, or none.

    Exits with 1 if drift is certified.
    """
    from coherence_ft.serving.evidence import add_outcomes

    subject, path = _subject(folder, tenant)
    read = read_outcomes(outcomes)
    added = add_outcomes(path, subject, read)
    admitted, state = added.admitted, added.state
    notes = _torn(added.torn, path)
    flat = [diagnostic for found in admitted.refused for diagnostic in found]
    if output == "json":
        facts = {
            "rows": len(read),
            "used": len(admitted.used),
            "ignored": len(admitted.ignored),
            "refused": admitted.reasons,
            "adjusted": [change.to_json() for change in added.changes],
        }
        click.echo(json.dumps(facts | _state(state) | json.loads(as_json([*notes, *flat])), indent=2))
    else:
        print_diagnostics([*notes, *flat[:_SHOWN]])
        refused = ", ".join(f"{count} {code}" for code, count in admitted.reasons.items())
        click.echo(
            f"{len(read)} outcomes: {len(admitted.used)} used, {len(admitted.ignored)} of a model's own "
            f"conclusions ignored, {len(admitted.refused)} refused{f' ({refused})' if refused else ''}"
        )
        if not (admitted.used or admitted.ignored):
            click.echo("nothing was added")
        for change in added.changes:
            click.echo(_adjusted(change.to_json()))
        _print_state(state)
    click.get_current_context().exit(int(_certified(state)))


@command.command(name="show")
@_derivative
@_tenant
@_format
def show(folder: Path, tenant: Path | None, output: str) -> None:
    """Print what is known of a derivative at run time. Exits with 1 if drift is certified."""
    from coherence_ft.loops.drift import DriftState
    from coherence_ft.serving.evidence import read_evidence

    subject, path = _subject(folder, tenant)
    evidence = read_evidence(path, subject)
    state = evidence.state or DriftState.new(subject)
    names = {"derivative": subject.derivative, "model": subject.model, "calibrator": subject.calibrator}
    if output == "json":
        facts: dict[str, Any] = {
            **names,
            "file": str(path),
            "used": len(evidence.used),
            "ignored": len(evidence.ignored),
            "adjusted": list(evidence.adjustments),
        }
        notes = json.loads(as_json(_torn(evidence.torn, path)))
        click.echo(json.dumps(facts | _state(state) | notes, indent=2))
    else:
        print_diagnostics(_torn(evidence.torn, path))
        for name, digest in names.items():
            click.echo(f"{name} {digest}")
        click.echo(
            f"{len(evidence.used)} outcomes used, {len(evidence.ignored)} of a model's own conclusions "
            f"ignored, {len(evidence.adjustments)} adjustments ({path})"
        )
        for change in evidence.adjustments:
            click.echo(f"{change['at']}  {_adjusted(change)}")
        _print_state(state)
    click.get_current_context().exit(int(_certified(state)))


def _subject(folder: Path, tenant: Path | None) -> tuple[Any, Path]:
    """The derivative, verified, and where its evidence lies."""
    from coherence_ft.manifest.statement import Stage
    from coherence_ft.manifest.verify import verify
    from coherence_ft.serving.evidence import state_path, subject_of

    manifest = verify(folder, tenant, require_stage=Stage.CERTIFIED)
    return subject_of(folder, manifest), state_path(manifest, tenant, folder)


def _torn(count: int, path: Path) -> list[Diagnostic]:
    if not count:
        return []
    return [
        Diagnostic(
            "CFT489",
            "an earlier addition was interrupted, and none of it counts",
            str(path),
            severity=Severity.WARNING,
            found=f"{count} bytes of an unfinished batch",
            help="Add that file of outcomes again.",
        )
    ]


def _certified(state: Any) -> bool:
    return bool(state.drifted or state.risk_broken)


def _state(state: Any) -> dict[str, Any]:
    return {
        "driftCertified": [list(cell.key) for cell in state.drifted],
        "riskBroken": state.risk_broken,
        "state": state.to_json(),
    }


def _print_state(state: Any) -> None:
    for cell in state.cells:
        certificate = cell.certificate
        verdict = "drift certified" if certificate.certified else "no drift certified"
        share = f"{cell.right} of {cell.n} right" if cell.n else "no outcomes"
        threshold = "abstains on everything" if cell.threshold is None else f"threshold {cell.threshold:.3f}"
        click.echo(
            f"{cell.domain} × {cell.pattern}: {verdict} (largest log e-value {certificate.peak:.2f}, "
            f"certified from {-math.log(certificate.alpha):.2f}), {share}, offset {cell.offset:+.3f}, "
            f"{threshold}"
        )
    if state.risk is not None:
        verdict = "certified to be broken" if state.risk_broken else "not certified to be broken"
        risk = state.risk
        click.echo(
            f"selective risk at most {risk.bound:g}: {verdict}, {round(risk.total)} of {risk.n} delivered "
            "answers wrong"
        )


def _adjusted(change: dict[str, Any]) -> str:
    def in_force(values: dict[str, str | None]) -> str:
        threshold = values["threshold"]
        shown = "abstain on everything" if threshold is None else f"threshold {float(threshold):.3f}"
        return f"offset {float(values['offset'] or 0):+.3f}, {shown}"

    return (
        f"adjusted {change['domain']} × {change['routingPattern']}: {change['reason']} "
        f"(n = {change['evidence']['n']}): {in_force(change['before'])} → {in_force(change['after'])}"
    )
