"""`coherence-ft export DIR --as FORM`: the manifest in the forms that other tools and people read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coherence_ft.documents.diagnostics import CoherenceError, refusal
from coherence_ft.manifest.statement import Stage
from coherence_ft.manifest.verify import trusted_tenant

if TYPE_CHECKING:
    from coherence_ft.projections.source import Source

FORMS = ("cyclonedx", "cyclonedx-1.6", "model-card", "sarif", "ai-act", "ai-act-json", "report")
# A checkpoint that was not certified is nothing to publish, but its shortcomings are worth reading.
_OF_CHECKPOINTS = frozenset({"sarif", "report"})
_NOT_STORED = frozenset({"CFT652", "CFT653"})


@click.command(name="export")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--as", "form", type=click.Choice(FORMS), required=True, help="`cyclonedx` is 1.7.")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file; by default standard output."
)
@click.option(
    "--tenant", type=click.Path(path_type=Path), help="Tenant document; by default the trusted one."
)
@click.option(
    "--evidence-store",
    "store",
    type=click.Path(path_type=Path),
    help="Where the observations are that are kept outside of DIR; for `report`.",
)
def command(folder: Path, form: str, output: Path | None, tenant: Path | None, store: Path | None) -> None:
    """Verify the derivative in DIR and write its manifest in another form.

    cyclonedx: an ML-BOM. model-card: a README. sarif: the constraints that do not hold. ai-act: facts for the
    technical documentation. report: the page that a risk officer signs.

    Exits with 1 and writes nothing if it does not verify. `sarif` and `report` also take a checkpoint that
    is not certified, and `report` one that is still to be countersigned.
    """
    from coherence_ft.projections.source import Source

    if output is not None and output.resolve().is_relative_to(folder.resolve()):
        raise refusal(
            "CFT733",
            "the output lies inside of the derivative's folder, which would no longer verify",
            path=output,
            help="write it beside the folder",
        )
    source = Source.verified(
        folder,
        trusted_tenant(tenant, checked=folder),
        require_stage=None if form in _OF_CHECKPOINTS else Stage.CERTIFIED,
        countersigned=form != "report",
    )
    text = _report(source, store) if form == "report" else _FORMS[form](source)
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text)
        click.echo(f"{output} written from manifest sha256:{source.manifest.digest}", err=True)


def _cyclonedx(spec: str) -> Callable[[Source], str]:
    def written(source: Source) -> str:
        from coherence_ft.projections.cyclonedx import cyclonedx

        return _json(cyclonedx(source, spec))

    return written


def _model_card(source: Source) -> str:
    from coherence_ft.projections.model_card import model_card

    return model_card(source)


def _sarif(source: Source) -> str:
    from coherence_ft.projections.sarif import sarif

    return _json(sarif(source))


def _ai_act(source: Source) -> str:
    from coherence_ft.projections.ai_act import ai_act_markdown

    return ai_act_markdown(source)


def _ai_act_json(source: Source) -> str:
    from coherence_ft.projections.ai_act import ai_act

    return _json(ai_act(source))


_FORMS: dict[str, Callable[[Source], str]] = {
    "cyclonedx": _cyclonedx("1.7"),
    "cyclonedx-1.6": _cyclonedx("1.6"),
    "model-card": _model_card,
    "sarif": _sarif,
    "ai-act": _ai_act,
    "ai-act-json": _ai_act_json,
}


def _report(source: Source, store: Path | None) -> str:
    """With the plots, if the observations are there; observations that say something else are a refusal."""
    from coherence_ft.auditing.recompute import recompute
    from coherence_ft.projections.officer import officer_report

    try:
        again = recompute(source.manifest, store=store)
    except CoherenceError as error:
        if {d.code for d in error.diagnostics} - _NOT_STORED:
            raise
        absent = f"{error.diagnostics[0].message} ({error.diagnostics[0].code})."
        return officer_report(source, None, absent=absent[0].upper() + absent[1:])
    return officer_report(source, again.findings, figures=again.figures)


def _json(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise refusal(
            "CFT732",
            "the projection cannot be written",
            path=path,
            found=error.strerror or str(error),
            help="make room, mend the permissions, or choose another file",
        ) from error
