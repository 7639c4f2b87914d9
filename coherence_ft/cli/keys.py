"""`coherence-ft keys init` and `coherence-ft keys show`."""

from __future__ import annotations

from pathlib import Path

import click

from coherence_ft.authority.keys import (
    PUBLIC_SUFFIX,
    first_public_key,
    generate,
    key_id,
    load_private,
    load_public,
    private_path,
)
from coherence_ft.authority.trust import find_tenant
from coherence_ft.documents.diagnostics import CoherenceError, refusal
from coherence_ft.documents.tenant import read_tenant

_tenant = click.option(
    "--tenant", type=click.Path(path_type=Path), help="Tenant document; by default the trusted one."
)


@click.group(name="keys")
def command() -> None:
    """Make signing keys, and show whose keys count."""


@command.command(name="init")
@click.option("--authority", "id", required=True, metavar="ID", help="Authority of the tenant document.")
@_tenant
def init(id: str, tenant: Path | None) -> None:
    """Make the key pair of an authority, where the tenant document lists its public key.

    Does nothing when the pair is there already. A key is never overwritten.
    """
    document = read_tenant(find_tenant(tenant))
    authority = document.authority(id)
    if authority is None:
        raise refusal(
            "CFT301",
            "no authority of that name",
            path=document.path,
            found=f"'{id}'",
            expected=", ".join(sorted(a.id for a in document.authorities)),
        )
    public = first_public_key(authority)
    private = private_path(public)
    if not (private.exists() or public.exists()):
        generate(public.parent, public.name.removesuffix(PUBLIC_SUFFIX))
        click.echo(f"made {private} (keep it secret) and {public}")
    elif not (private.exists() and public.exists()):
        here, missing = (private, public) if private.exists() else (public, private)
        raise refusal(
            "CFT664",
            f"only one half of the key pair is there; {missing.name} is missing",
            path=here,
            help="restore the missing half; or, if nothing was ever signed with it, move this one away",
        )
    elif key_id(load_private(private).public_key()) != key_id(load_public(public)):
        raise refusal("CFT664", f"{private.name} and {public.name} are no pair", path=public)
    else:
        click.echo(f"the pair is there already: {private} and {public}")
    click.echo(f"fingerprint of {id}: sha256:{key_id(load_public(public))}")


@command.command(name="show")
@_tenant
def show(tenant: Path | None) -> None:
    """List each authority's public keys with their fingerprints."""
    document = read_tenant(find_tenant(tenant))
    for authority in document.authorities:
        click.echo(f"{authority.id} ({', '.join(sorted(authority.powers)) or 'no powers'})")
        for path in authority.public_keys:
            try:
                state = f"sha256:{key_id(load_public(path))}"
            except CoherenceError as error:
                state = error.diagnostics[0].message if path.exists() else "not there: verifies nothing"
            click.echo(f"  {path}  {state}")
        if not authority.public_keys:
            click.echo("  no key")
