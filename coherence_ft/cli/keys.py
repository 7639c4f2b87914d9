"""`coherence-ft keys init`, `keys show` and `keys public`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from coherence_ft.authority.key_kinds import ALGORITHMS, TITLES, algorithm, key_id, public_pem
from coherence_ft.authority.keys import (
    PUBLIC_SUFFIX,
    first_public_key,
    generate,
    load_private,
    load_public,
    private_path,
)
from coherence_ft.authority.trust import find_tenant
from coherence_ft.documents.diagnostics import CoherenceError, refusal
from coherence_ft.documents.tenant import Authority, ListedKey, read_tenant

_tenant = click.option(
    "--tenant", type=click.Path(path_type=Path), help="Tenant document; by default the trusted one."
)


@click.group(name="keys")
def command() -> None:
    """Make signing keys, and show whose keys count."""


@command.command(name="init")
@click.option("--authority", "id", required=True, metavar="ID", help="Authority of the tenant document.")
@click.option(
    "--algorithm",
    "kind",
    type=click.Choice(ALGORITHMS),
    default=ALGORITHMS[0],
    show_default=True,
    help="Kind of the new key.",
)
@_tenant
def init(id: str, kind: str, tenant: Path | None) -> None:
    """Make the key pair of an authority, where the tenant document lists its public key.

    Of several that it lists, the first that is not there yet, unless it has ended or is revoked. Does nothing
    when the pair is there already. A key is never overwritten.
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
    public = _to_make(authority)
    private = private_path(public)
    if not (private.exists() or public.exists()):
        generate(public.parent, public.name.removesuffix(PUBLIC_SUFFIX), kind)
        click.echo(f"made {private} (keep it secret) and {public}")
    elif not (private.exists() and public.exists()):
        here, missing = (private, public) if private.exists() else (public, private)
        raise refusal(
            "CFT664",
            f"only one half of the key pair is there; {missing.name} is missing",
            path=here,
            help="restore the missing half; or, if nothing was ever signed with it, move this one away",
        )
    elif load_private(private).key_id != key_id(load_public(public)):
        raise refusal("CFT664", f"{private.name} and {public.name} are no pair", path=public)
    else:
        click.echo(f"the pair is there already: {private} and {public}")
    click.echo(f"fingerprint of {id}: sha256:{key_id(load_public(public))}")


def _to_make(authority: Authority) -> Path:
    """The first listed key without a file that will still count, such as next year's; else today's."""
    today = datetime.now(UTC).date()
    for key in authority.public_keys:
        over = key.revoked or (key.valid_until and key.valid_until < today)
        if not (over or key.path.exists() or private_path(key.path).exists()):
            return key.path
    return first_public_key(authority)


@command.command(name="show")
@_tenant
def show(tenant: Path | None) -> None:
    """List each authority's public keys, certificates and identities, and when the keys count."""
    document = read_tenant(find_tenant(tenant))
    for authority in document.authorities:
        click.echo(f"{authority.id} ({', '.join(sorted(authority.powers)) or 'no powers'})")
        for line in _signs_with(authority) or ["no key"]:
            click.echo(f"  {line}")


def _signs_with(authority: Authority) -> list[str]:
    lines = []
    for key in authority.public_keys:
        try:
            public = load_public(key.path)
            state = f"{TITLES[algorithm(public) or '']}  sha256:{key_id(public)}"
        except CoherenceError as error:
            state = error.diagnostics[0].message if key.path.exists() else "not there: verifies nothing"
        lines.append("  ".join([str(key.path), state, *_validity(key)]))
    for certificate in authority.certificates:
        names = filter(None, (certificate.subject, certificate.san))
        lines.append(f"certificate of {' and '.join(names)}  under {certificate.root}")
    lines += [f"identity {identity.identity}  of {identity.issuer}" for identity in authority.identities]
    return lines


def _validity(key: ListedKey) -> list[str]:
    words = []
    if key.valid_from:
        words.append(f"from {key.valid_from}")
    if key.valid_until:
        words.append(f"until {key.valid_until}")
    if key.revoked:
        words.append(f"REVOKED on {key.revoked}")
    if key.reason:
        words.append(f"({key.reason})")
    return [" ".join(words)] if words else []


@command.command(name="public")
@click.argument("key")
def public(key: str) -> None:
    """Print the public half of a private KEY, a PEM file or a PKCS#11 URI, as PEM.

    For a key that was not made by `keys init`: write it where the tenant document lists it.
    """
    click.echo(public_pem(load_private(key).public).decode(), nl=False)
