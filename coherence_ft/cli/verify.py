"""`coherence-ft verify DIR`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from coherence_ft.cli.audit import Asked, audit_options, audited, lines
from coherence_ft.cli.hashing import hashing_shown
from coherence_ft.cli.printing import as_json, print_diagnostics
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.portfolio import read_portfolio
from coherence_ft.manifest.approval import require_approved
from coherence_ft.manifest.files import printable
from coherence_ft.manifest.statement import Stage
from coherence_ft.manifest.verify import VerifiedManifest, verify


@click.command(name="verify")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--tenant", type=click.Path(path_type=Path), help="Tenant document; by default the trusted one."
)
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--admission", is_flag=True, help="For deployment hooks: must be certified; prints one line of JSON."
)
@click.option(
    "--trust-file-times",
    is_flag=True,
    help="Do not hash again what has not changed, by its file times, since it was hashed with this option.",
)
@click.option(
    "--portfolio", type=click.Path(path_type=Path), metavar="FILE", help="Refuse all but what FILE approves."
)
@audit_options
def command(
    folder: Path,
    tenant: Path | None,
    output: str,
    admission: bool,
    trust_file_times: bool,
    portfolio: Path | None,
    **audit: Any,
) -> None:
    """Check the files, signatures, authorities and verdicts of the derivative in DIR.

    With --recompute every figure is derived again from the stored observations, with --reprobe a sample of
    them is measured again on the model. Exits with 0 if all of it holds, else with 1 and what differs.
    """
    asked = Asked(**audit)
    if admission and asked.before_countersigning:
        raise click.UsageError("what awaits countersignatures is not admitted")
    try:
        with hashing_shown():
            manifest = verify(
                folder,
                tenant,
                require_stage=Stage.CERTIFIED if admission else None,
                countersigned=not asked.before_countersigning,
                trust_file_times=trust_file_times,
            )
        if portfolio is not None:
            require_approved(read_portfolio(portfolio), manifest)
        checked = audited(manifest, tenant, asked)
    except CoherenceError as error:
        if admission:
            click.echo(json.dumps(_refused(folder, error)))
        elif output == "json":
            click.echo(json.dumps({"verified": False, **json.loads(as_json(error.diagnostics))}, indent=2))
        else:
            print_diagnostics(error.diagnostics)
        click.get_current_context().exit(1)
    facts = _facts(folder, manifest) | {"fileTimesTrusted": trust_file_times} | checked
    if admission:
        click.echo(json.dumps(facts | _requirements(manifest)))
    elif output == "json":
        click.echo(json.dumps(facts, indent=2))
    else:
        beside = "".join(f", countersigned by {printable(id)}" for id in manifest.countersigners)
        click.echo(
            f"{folder} verifies: {manifest.stage.value}, signed by {printable(manifest.signer)}{beside}, "
            f"manifest sha256:{manifest.digest}"
        )
        for line in lines(checked):
            click.echo(line)


def _facts(folder: Path, manifest: VerifiedManifest) -> dict[str, Any]:
    return {
        "verified": True,
        "folder": str(folder),
        "digest": manifest.digest,
        "signer": manifest.signer,
        "key": manifest.key_id,
        "countersigners": list(manifest.countersigners),
        "modelSigned": manifest.model_signed,
        "stage": manifest.stage.value,
        "name": manifest.name,
        "tenant": manifest.tenant,
        "domain": manifest.domain,
        "files": len(manifest.files),
    }


def _requirements(manifest: VerifiedManifest) -> dict[str, Any]:
    """What whoever deploys it must provide, and until when it may be relied on at most."""
    predicate = manifest.predicate
    return {
        "loops": predicate["runtime"]["loops"],
        "engineVersion": predicate["runtime"]["engineVersion"],
        "waiversExpire": min((waiver["expires"] for waiver in predicate["waivers"]), default=None),
    }


def _refused(folder: Path, error: CoherenceError) -> dict[str, Any]:
    return {
        "verified": False,
        "folder": str(folder),
        "codes": sorted(set(error.codes)),
        "problems": [str(d).splitlines()[0] for d in error.diagnostics[:_SHOWN]],
    }


_SHOWN = 20
