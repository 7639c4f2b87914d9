"""`coherence-ft countersign DIR --authority ID`."""

from __future__ import annotations

from pathlib import Path

import click

from coherence_ft.authority.keys import signing_key
from coherence_ft.cli.hashing import hashing_shown
from coherence_ft.manifest.countersign import countersign
from coherence_ft.manifest.verify import trusted_tenant


@click.command(name="countersign")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--authority", required=True, metavar="ID", help="Authority of the tenant document that signs.")
@click.option(
    "--tenant", type=click.Path(path_type=Path), help="Tenant document; by default the trusted one."
)
@click.option("--key", help="What to sign with, as COHERENCE_FT_KEY names it; by default the listed key.")
def command(folder: Path, authority: str, tenant: Path | None, key: str | None) -> None:
    """Verify the certified derivative in DIR, then sign its manifest beside whoever made it.

    Writes coherence_manifest.ID.sigstore.json, and model.sig anew. Exits with 1, and signs nothing, if
    anything does not verify.
    """
    trusted = trusted_tenant(tenant, checked=folder)
    with hashing_shown():
        done = countersign(folder, authority, trusted, lambda who: signing_key(who, key))
    signed = "is signed by" if done.made else "was signed before by"
    click.echo(f"{done.path} {signed} {authority}, over manifest sha256:{done.manifest.digest}")
    if done.without_model_signature:
        click.echo(f"no model.sig: {done.without_model_signature}")
    if done.awaited:
        click.echo(f"countersignatures still awaited: {'; '.join(done.awaited)}")
