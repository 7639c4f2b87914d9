"""`coherence-ft verify DIR`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from coherence_ft.cli.printing import as_json, print_diagnostics
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.manifest.files import printable
from coherence_ft.manifest.verify import verify


@click.command(name="verify")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--tenant", type=click.Path(path_type=Path), help="Tenant document; by default the trusted one."
)
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(folder: Path, tenant: Path | None, output: str) -> None:
    """Check the files, signature, authority and verdicts of the derivative in DIR.

    Exits with 0 if all of it holds, else with 1 and what differs.
    """
    try:
        manifest = verify(folder, tenant)
    except CoherenceError as error:
        if output == "json":
            click.echo(json.dumps({"verified": False, **json.loads(as_json(error.diagnostics))}, indent=2))
        else:
            print_diagnostics(error.diagnostics)
        click.get_current_context().exit(1)
    if output == "json":
        facts = {
            "verified": True,
            "folder": str(folder),
            "digest": manifest.digest,
            "signer": manifest.signer,
            "key": manifest.key_id,
            "stage": manifest.stage.value,
            "name": manifest.name,
            "tenant": manifest.tenant,
            "domain": manifest.domain,
            "files": len(manifest.files),
        }
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo(
            f"{folder} verifies: {manifest.stage.value}, signed by {printable(manifest.signer)}, "
            f"manifest sha256:{manifest.digest}"
        )
