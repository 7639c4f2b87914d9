"""A private Sigstore instance: a CA with its CT log, a transparency log, and both as local services.

It does what Fulcio and Rekor v1 do at their interfaces, no more: the CA believes every token, and the log has
one older entry. Sources: RFC 6962 (SCTs, Merkle trees), Rekor's API v1, sigstore/protobuf-specs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pki import Issued, root

from coherence_ft.authority.key_kinds import key_id
from coherence_ft.documents.canonical import canonical_json
from coherence_ft.manifest.signing import BUNDLE_MEDIA_TYPE, PAYLOAD_TYPE, pre_authentication_encoding

ISSUER = "https://idp.bank.example"
IDENTITY = "risk@bank.example"
_OLDER = hashlib.sha256(b"\0an older entry").digest()
_SCTS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ISSUER_V1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Instance:
    def __init__(self, now: datetime | None = None) -> None:
        self.now = (now or datetime.now(UTC)).replace(microsecond=0)
        span = {"start": self.now - timedelta(days=1), "end": self.now + timedelta(days=1)}
        self.ca = root("CN=fulcio,O=Bank", **span)
        self.ct_key = ec.generate_private_key(ec.SECP256R1())
        self.log_key = ec.generate_private_key(ec.SECP256R1())

    # The CA

    def certify(
        self, public: Any, identity: str = IDENTITY, issuer: str = ISSUER, *, sct: bool = True, **changes: Any
    ) -> Issued:
        """A certificate of ten minutes for an identity, with the CT log's promise in it."""
        extensions: dict[str, Any] = {
            "start": self.now - timedelta(seconds=5),
            "end": self.now + timedelta(minutes=10),
            "v1": x509.UnrecognizedExtension(_ISSUER_V1, issuer.encode()),
            "v2": x509.UnrecognizedExtension(_ISSUER_V2, b"\x0c" + bytes([len(issuer)]) + issuer.encode()),
        }
        template = {"subject": "", "san": identity, "serial": x509.random_serial_number()}
        made = self.ca.leaf(_Public(public), **(template | extensions | changes))
        if sct:
            promise = x509.UnrecognizedExtension(_SCTS, self._promise(made.certificate))
            made = self.ca.leaf(_Public(public), **(template | extensions | changes), scts=promise)
        return made

    def _promise(self, certificate: x509.Certificate) -> bytes:
        """The SCT list over a certificate that has none yet (RFC 6962, section 3)."""
        body = certificate.tbs_certificate_bytes
        stamp = int(self.now.timestamp() * 1000)
        entry = bytes.fromhex(key_id(self.ca.key.public_key())) + struct.pack("!I", len(body))[1:] + body
        signed = struct.pack("!BBQH", 0, 0, stamp, 1) + entry + b"\0\0"
        signature = self.ct_key.sign(signed, ec.ECDSA(hashes.SHA256()))
        log = bytes.fromhex(key_id(self.ct_key.public_key()))
        sct = b"\0" + log + struct.pack("!QHBBH", stamp, 0, 4, 3, len(signature)) + signature
        listed = struct.pack("!HH", len(sct) + 2, len(sct)) + sct
        return (
            b"\x04" + (bytes([len(listed)]) if len(listed) < 128 else b"\x81" + bytes([len(listed)])) + listed
        )

    # The log

    def log(
        self, payload: bytes, signature: bytes, verifier: bytes, at: datetime | None = None
    ) -> dict[str, Any]:
        """A log entry of a bundle for a DSSE envelope. `verifier`: the certificate in PEM."""
        sha256 = {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()}
        entry = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": "0" * 64},
                "payloadHash": sha256,
                "signatures": [{"signature": _b64(signature), "verifier": _b64(verifier)}],
            },
        }
        body = canonical_json(entry)
        log = bytes.fromhex(key_id(self.log_key.public_key()))
        when = int((at or self.now).timestamp())
        promised = {"body": _b64(body), "integratedTime": when, "logID": log.hex(), "logIndex": 1}
        top = hashlib.sha256(b"\1" + _OLDER + hashlib.sha256(b"\0" + body).digest()).digest()
        note = f"log.bank.example - 1\n2\n{_b64(top)}\n"
        checkpoint = f"{note}\n\u2014 log.bank.example {_b64(log[:4] + self._sign(note.encode()))}\n"
        return {
            "logIndex": "1",
            "logId": {"keyId": _b64(log)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(when),
            "inclusionPromise": {"signedEntryTimestamp": _b64(self._sign(canonical_json(promised)))},
            "inclusionProof": {
                "logIndex": "1",
                "rootHash": _b64(top),
                "treeSize": "2",
                "hashes": [_b64(_OLDER)],
                "checkpoint": {"envelope": checkpoint},
            },
            "canonicalizedBody": _b64(body),
        }

    def _sign(self, data: bytes) -> bytes:
        return self.log_key.sign(data, ec.ECDSA(hashes.SHA256()))

    def bundle(self, payload: bytes, *, at: datetime | None = None, **changes: Any) -> dict[str, Any]:
        """What a client writes over `payload`, with a key that is forgotten. `changes`: of `certify`."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.certify(key.public_key(), **changes)
        signature = key.sign(pre_authentication_encoding(payload), ec.ECDSA(hashes.SHA256()))
        return {
            "mediaType": BUNDLE_MEDIA_TYPE,
            "verificationMaterial": {
                "certificate": {"rawBytes": _b64(certificate.der)},
                "tlogEntries": [self.log(payload, signature, certificate.pem, at)],
            },
            "dsseEnvelope": {
                "payload": _b64(payload),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": _b64(signature)}],
            },
        }

    # What clients trust

    def trusted_root(self) -> dict[str, Any]:
        since = {"start": (self.now - timedelta(days=1)).isoformat().replace("+00:00", "Z")}

        def log(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return {
                "baseUrl": "https://log.bank.example",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": _b64(der),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": since,
                },
                "logId": {"keyId": _b64(hashlib.sha256(der).digest())},
            }

        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(self.log_key)],
            "certificateAuthorities": [
                {
                    "subject": {"organization": "Bank", "commonName": "fulcio"},
                    "uri": "https://fulcio.bank.example",
                    "certChain": {"certificates": [{"rawBytes": _b64(self.ca.der)}]},
                    "validFor": since,
                }
            ],
            "ctlogs": [log(self.ct_key)],
        }

    def write_root(self, folder: Path) -> Path:
        path = folder / "trusted_root.json"
        path.write_text(json.dumps(self.trusted_root()))
        return path

    @contextmanager
    def serving(self, folder: Path) -> Iterator[Path]:
        """CA and log on a port of this machine. Yields the file that tells clients about them."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _services(self))
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        since = {"start": "2020-01-01T00:00:00Z"}
        here = {
            "url": f"http://127.0.0.1:{server.server_port}",
            "majorApiVersion": 1,
            "validFor": since,
            "operator": "bank",
        }
        config = {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": self.trusted_root(),
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": [here],
                "oidcUrls": [here],
                "rekorTlogUrls": [here],
                "rekorTlogConfig": {"selector": "ANY"},
            },
        }
        path = folder / "instance.json"
        path.write_text(json.dumps(config))
        try:
            yield path
        finally:
            server.shutdown()
            server.server_close()


def token(identity: str = IDENTITY, issuer: str = ISSUER, life: int = 300) -> str:
    """What an identity provider gives. Its signature is for the CA to check, and this one does not."""
    now = int(datetime.now(UTC).timestamp())
    claims = {"iss": issuer, "sub": identity, "aud": "sigstore", "iat": now, "exp": now + life}
    return jwt.encode(claims, "a secret of the identity provider alone", algorithm="HS256")


class _Public:
    """Stands where a key pair is expected and only the public half is known."""

    def __init__(self, public: Any) -> None:
        self._public = public

    def public_key(self) -> Any:
        return self._public


def _services(instance: Instance) -> type[BaseHTTPRequestHandler]:
    class Services(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answers = {"/api/v2/signingCert": self.certify, "/api/v1/log/entries": self.enter}
            answer = json.dumps(answers[self.path](asked)).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(answer)

        def certify(self, asked: dict[str, Any]) -> dict[str, Any]:
            request = x509.load_pem_x509_csr(base64.b64decode(asked["certificateSigningRequest"]))
            raw = self.headers["Authorization"].removeprefix("Bearer ")
            claims = jwt.decode(raw, options={"verify_signature": False})
            made = instance.certify(request.public_key(), claims["sub"], claims["iss"])
            chain = [made.pem.decode(), instance.ca.pem.decode()]
            return {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}

        def enter(self, asked: dict[str, Any]) -> dict[str, Any]:
            proposed = asked["spec"]["proposedContent"]
            envelope = json.loads(proposed["envelope"])
            entry = instance.log(
                base64.b64decode(envelope["payload"]),
                base64.b64decode(envelope["signatures"][0]["sig"]),
                base64.b64decode(proposed["verifiers"][0]),
            )
            proof = entry["inclusionProof"]
            return {
                "1": {
                    "body": entry["canonicalizedBody"],
                    "integratedTime": int(entry["integratedTime"]),
                    "logID": base64.b64decode(entry["logId"]["keyId"]).hex(),
                    "logIndex": 1,
                    "verification": {
                        "inclusionProof": {
                            "logIndex": 1,
                            "rootHash": base64.b64decode(proof["rootHash"]).hex(),
                            "treeSize": 2,
                            "hashes": [base64.b64decode(h).hex() for h in proof["hashes"]],
                            "checkpoint": proof["checkpoint"]["envelope"],
                        },
                        **entry["inclusionPromise"],
                    },
                }
            }

        def log_message(self, *args: Any) -> None:
            """Nothing into the tests' output."""

    return Services
