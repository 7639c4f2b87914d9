"""Keyless signatures: a short-lived certificate of Sigstore's Fulcio for an OpenID Connect identity, and a
transparency log that shows that the signature was made while it was valid.

Everything is done by sigstore-python (extra `sigstore`). Verifying never uses the network: the bundle carries
the log's proof, and the trusted root comes from the tenant's file or from the installed sigstore. Source: the
Sigstore client specification and bundle format v0.3 (sigstore/protobuf-specs).
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, refusal
from coherence_ft.documents.tenant import Authority, ListedIdentity, Tenant

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

SCHEME = "sigstore:"
_LARGEST = 2 * 2**20  # bytes; the public instance's trusted root takes 7,000


def _is_text(text: str) -> bool:
    return True


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and str(int(text)) == text


def _is_base64(text: str) -> bool:
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode() == text
    except ValueError:
        return False


_LOG_ENTRY = {
    "logIndex": _is_count,
    "logId": {"keyId": _is_base64},
    "kindVersion": {"kind": _is_text, "version": _is_text},
    "integratedTime": _is_count,
    "inclusionPromise": {"signedEntryTimestamp": _is_base64},
    "inclusionProof": {
        "logIndex": _is_count,
        "rootHash": _is_base64,
        "treeSize": _is_count,
        "hashes": [_is_base64],
        "checkpoint": {"envelope": _is_text},
    },
    "canonicalizedBody": _is_base64,
}
_LOG = {
    "tlogEntries": [_LOG_ENTRY],
    "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": _is_base64}]},
}


def known(log: Any, shape: Any = _LOG) -> bool:
    """Whether a bundle's proof of logging holds nothing but the fields of format v0.3, in their one spelling.

    No signature covers the proof as it is written: sigstore-python, too, would take `01` for 1.
    """
    if isinstance(shape, dict):
        return isinstance(log, dict) and all(k in shape and known(v, shape[k]) for k, v in log.items())
    if isinstance(shape, list):
        return isinstance(log, list) and all(known(each, shape[0]) for each in log)
    return isinstance(log, str) and bool(shape(log))


def holders(
    bundle: Mapping[str, Any], payload: bytes, payload_type: str, tenant: Tenant, where: str
) -> tuple[tuple[Authority, ...], list[Diagnostic]]:
    """The authorities whose identity signed the bundle, or why there are none.

    Diagnostics: CFT637 (no usable trusted root), CFT687 (the extra is not installed), CFT688 (the bundle does
    not verify), CFT689 (nobody's identity).
    """
    if not any(authority.identities for authority in tenant.authorities):
        return (), [
            Diagnostic(
                "CFT689",
                "a keyless signature, and no authority of the tenant signs like that",
                where,
                help=f"list issuer and identity under `identities` of an authority in {tenant.path}",
            )
        ]
    try:
        verifier = _verifier(tenant)
    except CoherenceError as error:
        return (), list(error.diagnostics)
    from sigstore.models import Bundle

    policy = _Listed(tenant)
    try:
        verified = verifier.verify_dsse(Bundle.from_json(json.dumps(bundle)), policy)
    except Exception as error:  # noqa: BLE001 hostile input: whatever it makes a library do, it is a no
        if policy.asked and not policy.holders:
            return (), [_nobody(policy, tenant, where)]
        return (), [
            Diagnostic(
                "CFT688",
                "the keyless signature does not verify",
                where,
                found=f"{type(error).__name__}: {error}"[:300],
                help="the bundle must be as it was written, and come from the Sigstore instance whose "
                "trusted root the tenant document names",
            )
        ]
    if verified != (payload_type, payload):
        return (), [Diagnostic("CFT688", "the keyless signature is over something else", where)]
    return tuple(policy.holders), []


class _Listed:
    """sigstore's verification policy: the certificate is for an identity that the tenant lists."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.asked = False
        self.holders: list[Authority] = []
        self.names: list[str] = []

    def verify(self, cert: Certificate) -> None:
        from sigstore.errors import VerificationError

        self.asked = True
        self.names = sorted(_identities(cert))
        self.holders = [
            authority
            for authority in self.tenant.authorities
            if any(_matches(cert, entry) for entry in authority.identities)
        ]
        if not self.holders:
            raise VerificationError("nobody's identity")


def _matches(certificate: Certificate, entry: ListedIdentity) -> bool:
    from sigstore.errors import VerificationError
    from sigstore.verify.policy import AllOf, AnyOf, Identity, OIDCIssuer, OIDCIssuerV2

    # Fulcio writes the issuer into two extensions, and calls the first deprecated.
    issuer = AnyOf([OIDCIssuer(entry.issuer), OIDCIssuerV2(entry.issuer)])
    try:
        AllOf([issuer, Identity(identity=entry.identity)]).verify(certificate)
    except VerificationError:
        return False
    return True


def _identities(certificate: Certificate) -> set[str]:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    kinds = (x509.RFC822Name, x509.UniformResourceIdentifier)
    return {name.value for name in names if isinstance(name, kinds)}


def _nobody(policy: _Listed, tenant: Tenant, where: str) -> Diagnostic:
    return Diagnostic(
        "CFT689",
        f"no authority of the tenant {tenant.id!r} has the identity that signed",
        where,
        found=", ".join(policy.names)[:300] or "no e-mail address or URI",
        help=f"list issuer and identity, exactly, under `identities` of an authority in {tenant.path}",
    )


def _verifier(tenant: Tenant) -> Any:
    """sigstore's verifier for the tenant's trusted root. Raises CoherenceError (CFT637, CFT687)."""
    _require_sigstore("verify")
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier

    path = tenant.sigstore_trusted_root
    try:
        if path is not None:
            return Verifier(trusted_root=TrustedRoot.from_file(str(path)))
        return Verifier(trusted_root=TrustedRoot.from_file(str(_public_root())))
    except Exception as error:  # of many kinds, by what is wrong with the file
        raise refusal(
            "CFT637",
            "the trusted root of the Sigstore instance cannot be read",
            path=path or "sigstore",
            found=f"{type(error).__name__}: {error}"[:300],
            expected="trusted_root.json of the instance (application/vnd.dev.sigstore.trustedroot)",
            help="`sigstore_trusted_root` of the tenant document names the file",
        ) from error


def _public_root() -> Path:
    """The public instance's root as it came with sigstore: its cache in the user's home is not looked at."""
    import sigstore

    found = sorted(Path(sigstore.__file__).parent.glob("_store/*sigstore.dev/trusted_root.json"))
    if len(found) != 1:
        raise FileNotFoundError("this version of sigstore brings no trusted root of the public instance")
    return found[0]


def _require_sigstore(what: str) -> None:
    try:
        import sigstore  # noqa: F401
    except ImportError as error:
        raise refusal(
            "CFT687",
            f"to {what} keyless signatures the package sigstore is needed",
            help='pip install "coherence-ft[sigstore]"',
        ) from error


@dataclass(frozen=True, slots=True)
class KeylessSigner:
    """Signs as an OpenID Connect identity of `authority`, with a key that is thrown away.

    `instance`: JSON file with the ClientTrustConfig of a private Sigstore instance; None for the public one,
    whose log shows the identity and the digests of the signed statement to everybody, for ever.
    """

    authority: Authority
    instance: Path | None = None

    @classmethod
    def named(cls, name: str, authority: Authority) -> KeylessSigner:
        """From `sigstore:` or `sigstore:FILE`. Raises CoherenceError for what no signing would get past:
        CFT638 (no such file), CFT687, CFT689 (the authority has no identities)."""
        file = name.removeprefix(SCHEME)
        signer = cls(authority, Path(file) if file else None)
        _require_sigstore("make")
        if not authority.identities:
            raise signer._stranger("any")
        if signer.instance is not None and not signer.instance.is_file():
            raise refusal(
                "CFT638", "there is no such Sigstore instance", path=file, expected="its trust config"
            )
        return signer

    def bundle(self, payload: bytes) -> dict[str, Any]:
        """A Sigstore bundle (JSON) over `payload`, an in-toto statement.

        Takes the identity from the CI system's ambient credential, else asks in a browser where there is a
        terminal. Raises CoherenceError (CFT638 for everything that fails on the way, CFT689).
        """
        from sigstore.dsse import Statement
        from sigstore.models import ClientTrustConfig
        from sigstore.sign import SigningContext

        try:
            config = (
                ClientTrustConfig.production()
                if self.instance is None
                else ClientTrustConfig.from_json(self.instance.read_text(encoding="utf-8"))
            )
            token = _token(config.signing_config)
            self._refuse_stranger(token.federated_issuer)
            with SigningContext.from_trust_config(config).signer(token) as signer:
                bundle = signer.sign_dsse(Statement(payload))
        except CoherenceError:
            raise
        except Exception as error:  # network, identity provider, CA and log fail in many ways
            raise refusal(
                "CFT638",
                "the keyless signature cannot be made",
                path=self.instance or "sigstore",
                found=f"{type(error).__name__}: {error}"[:300],
                help="Sigstore's CA and log must be reachable from here; without them, sign with a key",
            ) from error
        certificate = bundle.signing_certificate
        if not any(_matches(certificate, entry) for entry in self.authority.identities):
            raise self._stranger(", ".join(sorted(_identities(certificate))))
        made: dict[str, Any] = json.loads(bundle.to_json())
        if base64.b64decode(made["dsseEnvelope"]["payload"]) != payload:
            raise refusal("CFT638", "sigstore signed other bytes than it was given", path="sigstore")
        return made

    def _refuse_stranger(self, issuer: str) -> None:
        """Before anything is published. Which name the certificate will have, only Fulcio knows."""
        if issuer not in {entry.issuer for entry in self.authority.identities}:
            raise self._stranger(f"an identity of {issuer}")

    def _stranger(self, found: str) -> CoherenceError:
        return refusal(
            "CFT689",
            f"this identity is none of the authority {self.authority.id!r}",
            path=self.authority.origin.path,
            line=self.authority.origin.line,
            column=self.authority.origin.column,
            found=found[:300],
            expected="; ".join(f"{e.identity} of {e.issuer}" for e in self.authority.identities)
            or "none listed",
            help=f"list both, exactly, under `identities` of {self.authority.id!r} in the tenant document",
        )


def _token(config: Any) -> Any:
    from sigstore.oidc import IdentityToken, Issuer, detect_credential

    if credential := detect_credential():
        return IdentityToken(credential)
    if not sys.stdin.isatty():
        raise refusal(
            "CFT638",
            "no identity to sign with",
            help="run it in a CI job that may ask for an identity token (GitHub: `id-token: write`; GitLab: "
            "`id_tokens: SIGSTORE_ID_TOKEN`), or on a terminal, where a browser asks for it",
        )
    return Issuer(config.get_oidc_url()).identity_token()
