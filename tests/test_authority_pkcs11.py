"""Keys on tokens, against a real one: SoftHSM 2 (Debian: softhsm2), and URIs that must be refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from derivatives import RISK, tenant_of
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as Peer
from securesystemslib.signer import SSlibKey

from coherence_ft.authority import key_kinds, keys, pkcs11
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.tenant import ListedKey
from coherence_ft.manifest.signing import sign

MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
MODULE = next((path for path in MODULES if os.path.exists(path)), None)
SECRET = "5678-secret"


@dataclass(frozen=True)
class Hsm:
    """A SoftHSM with the tokens `risk` and `board`, and the keys on them."""

    module: str
    folder: Path

    def uri(self, key: str, query: str = "") -> str:
        return f"pkcs11:token=risk;object={key}?module-path={self.module}{query}"


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hsm]:
    if MODULE is None:
        pytest.skip("SoftHSM 2 is not installed (Debian: apt install softhsm2)")
    pytest.importorskip("pkcs11", reason="the extra `pkcs11` is not installed")
    folder = tmp_path_factory.mktemp("hsm")
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(folder / "conf")  # read by the library, once, when it is loaded
    try:
        for label in ("risk", "board"):
            _fill(MODULE, label)
        yield Hsm(MODULE, folder)
    finally:
        if before is None:
            del os.environ["SOFTHSM2_CONF"]
        else:
            os.environ["SOFTHSM2_CONF"] = before


def _fill(module: str, label: str) -> None:
    import pkcs11 as p11
    from pkcs11.util.ec import encode_named_curve_parameters

    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "1234", "--pin", SECRET],
        check=True,
        capture_output=True,
    )
    library = p11.lib(module)
    library.reinitialize()  # sees the new token
    with library.get_token(token_label=label).open(user_pin=SECRET, rw=True) as session:

        def pair(kind: Any, curve: str, name: str, id: bytes = b"", **more: Any) -> tuple[Any, Any]:
            shape = {p11.Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}
            parameters = session.create_domain_parameters(kind, shape, local=True)
            return parameters.generate_keypair(store=True, label=name, id=id or name.encode(), **more)

        pair(p11.KeyType.EC, "secp256r1", "p256", b"\x01\xff;?&%=")
        if label == "board":
            return
        pair(p11.KeyType.EC, "secp384r1", "p384")
        edwards = p11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN
        pair(p11.KeyType.EC_EDWARDS, "1.3.101.112", "ed25519", mechanism=edwards)
        pair(p11.KeyType.EC, "secp521r1", "p521")
        pair(p11.KeyType.EC, "secp256r1", "twin", b"1")
        pair(p11.KeyType.EC, "secp256r1", "twin", b"2")
        session.generate_keypair(p11.KeyType.RSA, 2048, store=True, label="rsa", id=b"rsa")
        public, _ = pair(p11.KeyType.EC, "secp256r1", "alone")
        public.destroy()
        public, _ = pair(p11.KeyType.EC, "secp256r1", "mixed")
        public.destroy()
        public, private = pair(p11.KeyType.EC, "secp256r1", "mixed")
        private.destroy()


@pytest.fixture(autouse=True)
def _pin(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (keys.KEY, keys.KEY_PEM, keys.PASSPHRASE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(pkcs11.PIN, SECRET)


def refused(uri: str) -> CoherenceError:
    with pytest.raises(CoherenceError) as caught:
        keys.load_private(uri)
    assert SECRET not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("algorithm", key_kinds.ALGORITHMS)
def test_a_key_on_a_token_signs_what_others_verify(hsm: Hsm, algorithm: str) -> None:
    signer = keys.load_private(hsm.uri(algorithm))
    assert key_kinds.algorithm(signer.public) == algorithm
    for n in range(20):  # r and s begin with zeros now and then
        envelope = sign(b"%d" % n, signer)
        assert envelope.verifies(signer.public)
        peer = Peer.from_dict(envelope.to_json()["dsseEnvelope"])
        assert peer.verify([SSlibKey.from_crypto(signer.public, keyid=signer.key_id)], 1)


def test_the_authority_signs_with_its_token(
    hsm: Hsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = hsm.uri("p384")
    public = tmp_path / "model-risk.pub.pem"
    public.write_bytes(key_kinds.public_pem(keys.load_private(uri).public))
    authority = tenant_of(tmp_path, RISK).authorities[0]
    assert authority.public_keys == (ListedKey(public),)
    monkeypatch.setenv(keys.KEY, uri)
    assert sign(b"{}", keys.signing_key(authority)).verifies(keys.load_public(public))
    monkeypatch.setenv(keys.KEY, hsm.uri("p256"))
    with pytest.raises(CoherenceError) as caught:
        keys.signing_key(authority)
    assert caught.value.codes == ("CFT666",)


def test_the_command_prints_the_public_half(hsm: Hsm, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from coherence_ft.cli.keys import command

    printed = CliRunner().invoke(command, ["public", hsm.uri("ed25519")])
    (tmp_path / "a.pub.pem").write_text(printed.output)
    listed = keys.load_public(tmp_path / "a.pub.pem")
    assert key_kinds.key_id(listed) == keys.load_private(hsm.uri("ed25519")).key_id


def test_each_attribute_narrows(hsm: Hsm) -> None:
    by_id = f"pkcs11:token=risk;id=%01%FF%3B%3F%26%25%3D;type=private?module-path={hsm.module}"
    assert keys.load_private(by_id).key_id == keys.load_private(hsm.uri("p256")).key_id
    exact = f"pkcs11:manufacturer=SoftHSM%20project;model=SoftHSM%20v2;{hsm.uri('p256')[7:]}"
    assert keys.load_private(exact)
    for narrower in ("serial=00", "slot-id=99999", "model=other"):
        assert refused(f"pkcs11:{narrower};{hsm.uri('p256')[7:]}").codes == ("CFT673",)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("object=p256", "object=absent", "CFT673"),
        ("token=risk", "token=absent", "CFT673"),
        ("token=risk;", "", "CFT673"),  # two tokens have it
        ("object=p256", "object=twin", "CFT673"),
        ("object=p256", "object=alone", "CFT673"),  # nothing says whose signature it would be
        ("object=p256", "object=p256;id=%02", "CFT673"),
        ("object=p256", "object=p521", "CFT663"),
        ("object=p256", "object=rsa", "CFT663"),
        (".so", ".so.absent", "CFT672"),
        ("libsofthsm2.so", "../ld-linux.so", "CFT672"),
    ],
)
def test_no_key_is_guessed(hsm: Hsm, old: str, new: str, code: str) -> None:
    uri = hsm.uri("p256")
    assert uri.count(old) == 1
    assert refused(uri.replace(old, new)).codes == (code,)


def test_the_pin(hsm: Hsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = hsm.uri("p256")
    monkeypatch.delenv(pkcs11.PIN)
    assert refused(uri).codes == ("CFT674",)
    (tmp_path / "pin").write_text(SECRET + "\n")
    for source in (f"file:{tmp_path}/pin", f"file://{tmp_path}/pin", f"{tmp_path}/pin"):
        assert keys.load_private(hsm.uri("p256", f"&pin-source={source}"))
    for wrong in (b"0000", b"", b"\xff\xfe"):
        (tmp_path / "wrong").write_bytes(wrong)
        assert refused(hsm.uri("p256", f"&pin-source={tmp_path}/wrong")).codes == ("CFT674",)
    assert refused(hsm.uri("p256", f"&pin-source={tmp_path}/absent")).codes == ("CFT674",)
    assert refused(hsm.uri("p256", "&pin-source=|echo%200000")).codes == ("CFT674",)  # no command is run
    monkeypatch.setenv(pkcs11.PIN, "0000")
    assert keys.load_private(hsm.uri("p256", f"&pin-source={tmp_path}/pin"))


def test_threads_wait_for_each_other(hsm: Hsm) -> None:
    from concurrent.futures import ThreadPoolExecutor

    signers = [keys.load_private(hsm.uri(name)) for name in key_kinds.ALGORITHMS] * 8
    with ThreadPoolExecutor(8) as pool:
        signatures = list(pool.map(lambda signer: signer.sign(b"message"), signers))
    for signer, signature in zip(signers, signatures, strict=True):
        assert key_kinds.fits(signer.public, signature, b"message")


def test_a_key_that_goes_away_signs_no_more(hsm: Hsm) -> None:
    import pkcs11 as p11

    signer = keys.load_private(hsm.uri("p384"))
    with p11.lib(hsm.module).get_token(token_label="risk").open(user_pin=SECRET, rw=True) as session:
        (key,) = session.get_objects(
            {p11.Attribute.LABEL: "p384", p11.Attribute.CLASS: p11.ObjectClass.PRIVATE_KEY}
        )
        assert signer_refused(signer) == ("CFT674",)  # somebody else is logged in
        key[p11.Attribute.LABEL] = "moved"
    try:
        assert signer_refused(signer) == ("CFT673",)
    finally:
        with p11.lib(hsm.module).get_token(token_label="risk").open(user_pin=SECRET, rw=True) as session:
            (key,) = session.get_objects({p11.Attribute.LABEL: "moved"})
            key[p11.Attribute.LABEL] = "p384"
    assert key_kinds.fits(signer.public, signer.sign(b"message"), b"message")


def test_the_public_half_of_another_pair(hsm: Hsm) -> None:
    assert signer_refused(keys.load_private(hsm.uri("mixed"))) == ("CFT664",)


def signer_refused(signer: keys.Signer) -> tuple[str, ...]:
    with pytest.raises(CoherenceError) as caught:
        signer.sign(b"message")
    return caught.value.codes


@pytest.mark.parametrize(
    "uri",
    [
        "pkcs11:",
        "pkcs11:token=risk?module-path=/m.so",
        "pkcs11:object=a",
        "pkcs11:object=a?module-path=/m.so&pin-value=5678-secret",
        "pkcs11:object=a;pin-value=5678-secret?module-path=/m.so",
        "pkcs11:object=a;object=b?module-path=/m.so",
        "pkcs11:object=a;type=public?module-path=/m.so",
        "pkcs11:object=a;type=cert?module-path=/m.so",
        "pkcs11:object=a;colour=red?module-path=/m.so",
        "pkcs11:object=a?module-path=/m.so&module-name=softhsm",
        "pkcs11:object=a?module-path=/m.so&x=1",
        "pkcs11:object=a?module-path=",
        "pkcs11:object=?module-path=/m.so",
    ],
)
def test_a_uri_that_is_not_understood_to_the_last_word(uri: str) -> None:
    assert refused(uri).codes == ("CFT671",)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_a_uri_or_refused(path: str, query: str) -> None:
    try:
        uri = pkcs11.KeyUri.parse(f"pkcs11:{path}?{query}")
    except CoherenceError as error:
        assert error.codes == ("CFT671",)
    else:
        assert uri.module and (uri.path.get("object") or uri.path.get("id"))


def test_without_the_package_the_refusal_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    error = refused("pkcs11:object=a?module-path=/m.so")
    assert error.codes == ("CFT672",)
    assert "coherence-ft[pkcs11]" in str(error)
