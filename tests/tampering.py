"""Ways to tamper with signed derivatives: `tamper_matrix.py` has the table of them.

Each kind gets a fresh copy of one of three derivatives: `plain` has no parents, `child` has one, `full` is a
child with the countersignature that its tenant demands and with model.sig.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric import ec
from derivatives import ACCURACY, CONTRADICTIONS, NOW, PLACE, RISK, TODAY, Signed, signed_derivative

from coherence_ft.authority.keys import Signer, generate, load_private
from coherence_ft.documents.canonical import canonical_digest, canonical_json, file_digest
from coherence_ft.documents.constraint_set import Level
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.portfolio import Listed, Portfolio
from coherence_ft.documents.tenant import Authority, Countersigning, ListedKey, Power, Revocation, Tenant
from coherence_ft.manifest.approval import require_approved
from coherence_ft.manifest.countersign import countersign
from coherence_ft.manifest.files import BUNDLE, MANIFEST, MODEL_SIGNATURE, OpenFolder, countersignature
from coherence_ft.manifest.lineage import bundle_name, manifest_name
from coherence_ft.manifest.signing import sign
from coherence_ft.manifest.statement import Relation
from coherence_ft.manifest.verify import verify
from coherence_ft.manifest.write import write_manifest

ADAPTER = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
ACCENTED = "vocabulary/caf\u00e9.txt"
EVIDENCE = "coherence/evidence/derivative-certification.jsonl.gz"
COUNTERSIGNATURE = countersignature("regulator")


@dataclass
class Case:
    """A copy of a signed derivative, and what it is verified under."""

    signed: Signed
    originals: Originals
    tenant: Tenant
    options: dict[str, Any] = field(default_factory=lambda: {"today": TODAY})
    portfolio: Portfolio | None = None  # what is admitted, where that is asked

    @property
    def folder(self) -> Path:
        return self.signed.folder

    @property
    def parent(self) -> str:
        return next(iter(self.signed.facts.ancestors))

    def path(self, name: str) -> Path:
        """The file; `PARENT` and `PARENT BUNDLE` are those of the ancestor that a child carries."""
        carried = {"PARENT": manifest_name, "PARENT BUNDLE": bundle_name}
        return self.folder / (carried[name](self.parent) if name in carried else name)

    def codes(self) -> set[str]:
        """The codes that refuse it; empty if nothing does."""
        try:
            manifest = verify(self.folder, self.tenant, **self.options)
            if self.portfolio:
                require_approved(self.portfolio, manifest)
        except CoherenceError as error:
            return set(error.codes)
        return set()


@dataclass(frozen=True)
class Originals:
    """The three derivatives, and an older one of `plain`: same name, other weights, signed a month before."""

    plain: Signed
    child: Signed
    full: Signed
    older: Signed
    demanding: Tenant  # the tenant of `full`

    def case(self, of: str, root: Path) -> Case:
        original: Signed = getattr(self, of)
        shutil.copytree(original.folder, root / "derivative")
        copy = replace(original, folder=root / "derivative")
        return Case(copy, self, self.demanding if of == "full" else copy.tenant)


def make(root: Path) -> Originals:
    plain = _made(root / "plain", parents=(), relation=Relation.NONE, ancestors=())
    child = _made(root / "child")
    full = _made(root / "full")
    rule = Countersigning(("regulator",), 1, (), "as agreed with the supervisor", PLACE)
    demanding = replace(full.tenant, countersignatures=(rule,))
    countersign(
        full.folder,
        "regulator",
        demanding,
        lambda _: load_private(full.keys / "regulator.pem"),
        today=TODAY,
    )
    older = replace(plain, folder=root / "older", facts=replace(plain.facts, seed=6))
    shutil.copytree(plain.folder, older.folder)
    (older.folder / ADAPTER).write_bytes(b"weights of a month ago")
    month = timedelta(days=30)
    evaluation = replace(older.facts.evaluation, evaluated_at=NOW - month)
    facts = replace(older.facts, evaluation=evaluation)
    write_manifest(older.folder, facts, older.key, created_at=NOW - month)
    return Originals(plain, child, full, older, demanding)


def _made(root: Path, **changes: Any) -> Signed:
    """With a third authority, and a file whose name Unicode can write in two ways."""
    root.mkdir(parents=True)
    signed = signed_derivative(root, **changes)
    generate(signed.keys, "regulator", "p384")
    regulator = Authority(
        "regulator",
        "Regulator",
        Level.REGULATED_UNIT,
        frozenset({Power.COUNTERSIGN}),
        (ListedKey(signed.keys / "regulator.pub.pem"),),
        PLACE,
    )
    tenant = replace(signed.tenant, authorities=(*signed.tenant.authorities, regulator))
    (signed.folder / ACCENTED).parent.mkdir()
    (signed.folder / ACCENTED).write_text("coffee")
    write_manifest(signed.folder, signed.facts, signed.key, created_at=NOW)
    return replace(signed, tenant=tenant)


# --- what can be done -------------------------------------------------------------------------------------

Act = Callable[[Case], Any]
"""Changes the folder, or what it is verified under, or returns the context in which it is verified."""


def flip(name: str, bit: int = 7) -> Act:
    def act(case: Case) -> None:
        path = case.path(name)
        content = bytearray(path.read_bytes())
        content[bit // 8 % len(content)] ^= 1 << bit % 8
        path.write_bytes(content)

    return act


def write(name: str, content: bytes) -> Act:
    def act(case: Case) -> None:
        case.path(name).parent.mkdir(parents=True, exist_ok=True)
        case.path(name).write_bytes(content)

    return act


def cut(name: str, length: int) -> Act:
    """Truncated, or with nothing but holes up to a length."""
    return lambda case: os.truncate(case.path(name), length)


def append(name: str, content: bytes) -> Act:
    return lambda case: write(name, case.path(name).read_bytes() + content)(case)


def text(name: str, old: str, new: str) -> Act:
    def act(case: Case) -> None:
        content = case.path(name).read_bytes()
        assert content.count(old.encode()) == 1, old
        case.path(name).write_bytes(content.replace(old.encode(), new.encode()))

    return act


def rewritten(name: str, change: Callable[[Any], Any]) -> Act:
    """A JSON file changed and written as we write it; or, where `change` returns bytes, those."""

    def act(case: Case) -> None:
        data = json.loads(case.path(name).read_bytes())
        changed = change(data)
        case.path(name).write_bytes(changed if isinstance(changed, bytes) else canonical_json(data))

    return act


def remove(*names: str) -> Act:
    def act(case: Case) -> None:
        for name in names:
            case.path(name).unlink()

    return act


def move(old: str, new: str) -> Act:
    def act(case: Case) -> None:
        case.path(new).parent.mkdir(exist_ok=True)
        case.path(old).rename(case.path(new))
        with suppress(OSError):
            case.path(old).parent.rmdir()

    return act


def swap(one: str, other: str) -> Act:
    def act(case: Case) -> None:
        contents = case.path(one).read_bytes(), case.path(other).read_bytes()
        case.path(other).write_bytes(contents[0])
        case.path(one).write_bytes(contents[1])

    return act


def link(name: str) -> Act:
    """A symbolic link in place of what it points to: even to the very same bytes."""

    def act(case: Case) -> None:
        case.path(name).rename(case.folder.parent / "kept")
        case.path(name).symlink_to(case.folder.parent / "kept")

    return act


def special(name: str, kind: int, device: int = 0) -> Act:
    def act(case: Case) -> None:
        case.path(name).unlink(missing_ok=True)
        os.mknod(case.path(name), kind | 0o600, device)

    return act


def payload(old: str, new: str, bundle: str = BUNDLE) -> Act:
    """The copy of the manifest inside the bundle, changed without a key."""

    def change(data: Any) -> None:
        inner = base64.b64decode(data["dsseEnvelope"]["payload"])
        assert inner.count(old.encode()) == 1
        data["dsseEnvelope"]["payload"] = base64.b64encode(inner.replace(old.encode(), new.encode())).decode()

    return rewritten(bundle, change)


def signature(change: Callable[[str], str], bundle: str = BUNDLE) -> Act:
    def act(data: Any) -> None:
        signed = data["dsseEnvelope"]["signatures"][0]
        signed["sig"] = change(signed["sig"])

    return rewritten(bundle, act)


def hint(key: str) -> Act:
    def change(data: Any) -> None:
        data["verificationMaterial"]["publicKey"]["hint"] = key
        data["dsseEnvelope"]["signatures"][0]["keyid"] = key

    return rewritten(BUNDLE, change)


def resigned(change: Callable[[Any], Any], by: str = "model-risk") -> Act:
    """What a holder of the maker's key can do: change the statement and sign it."""
    return lambda case: case.signed.resign(change, load_private(case.signed.keys / f"{by}.pem"))


def resigned_text(old: str, new: str) -> Act:
    """As `resigned`, where the change is one of spelling."""

    def act(case: Case) -> None:
        text(MANIFEST, old, new)(case)
        content = case.signed.manifest.read_bytes()
        case.signed.bundle.write_bytes(canonical_json(sign(content, case.signed.key).to_json()))

    return act


def resigned_file(name: str, content: bytes) -> Act:
    """As `resigned`, with new content of a file and its digests in the statement."""

    def act(case: Case) -> None:
        case.path(name).write_bytes(content)
        digest = file_digest(case.path(name))

        def follow(statement: Any) -> None:
            listed = next(s for s in statement["subject"] if s["name"] == name)
            was, listed["digest"]["sha256"] = listed["digest"]["sha256"], digest
            for field_ in ("recipe", "constraints", "calibrator"):
                if statement["predicate"][field_]["digest"] == was:
                    with suppress(ValueError, RecursionError):
                        digest_ = canonical_digest(json.loads(content))
                        statement["predicate"][field_]["digest"] = digest_

        case.signed.resign(follow)

    return act


def unknown_key(rename: bool = False) -> Act:
    """Signed with a key that nobody lists, and where `rename`, under the id of one that is listed."""

    def act(case: Case) -> None:
        known = json.loads(case.signed.bundle.read_bytes())["verificationMaterial"]["publicKey"]["hint"]
        case.signed.resign(lambda m: None, Signer.of(ec.generate_private_key(ec.SECP256R1())))
        if rename:
            hint(known)(case)

    return act


def listed(subject: str, digest: str = "0" * 64) -> Act:
    """A name among the subjects, signed with a good key."""
    return resigned(lambda m: m["subject"].append({"name": subject, "digest": {"sha256": digest}}))


def said(*at: str, value: Any) -> Act:
    """A field of the predicate, signed with a good key."""

    def change(statement: Any) -> None:
        holder = statement["predicate"]
        for key in at[:-1]:
            holder = holder[key]
        holder[at[-1]] = value

    return resigned(change)


def adopted(change: Callable[[Any], Any], by: Signer | str = "model-risk") -> Act:
    """Another parent, like the one there but for `change`; the child signed anew with a good key."""

    def act(case: Case) -> None:
        was, listed_ = case.parent, (manifest_name, bundle_name)
        statement = json.loads(case.path("PARENT").read_bytes())
        change(statement["predicate"])
        signer = load_private(case.signed.keys / f"{by}.pem") if isinstance(by, str) else by
        content = canonical_json(statement)
        for name in ("PARENT", "PARENT BUNDLE"):
            case.path(name).unlink()
        now = hashlib.sha256(content).hexdigest()
        files = {
            manifest_name(now): content,
            bundle_name(now): canonical_json(sign(content, signer).to_json()),
        }

        def follow(child: Any) -> None:
            old = {name(was) for name in listed_}
            child["subject"] = [s for s in child["subject"] if s["name"] not in old]
            for name, each in files.items():
                case.path(name).write_bytes(each)
                digest = {"sha256": hashlib.sha256(each).hexdigest()}
                child["subject"].append({"name": name, "digest": digest})
            child["predicate"]["lineage"]["ancestors"] = [now]
            child["predicate"]["lineage"]["parents"][0]["manifestDigest"] = now

        case.signed.resign(follow)

    return act


def under(change: Callable[[Case], Tenant]) -> Act:
    def act(case: Case) -> None:
        case.tenant = change(case)

    return act


def key_listed(authority: str, **facts: Any) -> Act:
    def change(case: Case) -> Tenant:
        def listing(each: Authority) -> Authority:
            keys = tuple(replace(key, **facts) for key in each.public_keys)
            return replace(each, public_keys=keys) if each.id == authority else each

        return replace(case.tenant, authorities=tuple(map(listing, case.tenant.authorities)))

    return under(change)


def powers(authority: str, *held: Power) -> Act:
    return under(
        lambda case: replace(
            case.tenant,
            authorities=tuple(
                replace(a, powers=frozenset(held)) if a.id == authority else a
                for a in case.tenant.authorities
            ),
        )
    )


def revoked(digest: Callable[[Case], str]) -> Act:
    return under(
        lambda case: replace(
            case.tenant,
            revocations=(Revocation(digest(case), "model-risk", TODAY, "withdrawn", PLACE),),
        )
    )


def approved() -> Act:
    """Only the newer manifest is in the tenant's portfolio."""

    def act(case: Case) -> None:
        digest = file_digest(case.originals.plain.manifest)
        case.portfolio = Portfolio("hospital", (Listed(case.folder, digest, PLACE),), "portfolio.yaml")

    return act


def on(today: date) -> Act:
    return lambda case: case.options.update(today=today)


def from_older(*names: str) -> Act:
    """Files of a derivative that was signed a month before, put back; all of them where none is named."""

    def act(case: Case) -> None:
        older = case.originals.older.folder
        if not names:
            shutil.rmtree(case.folder)
            shutil.copytree(older, case.folder)
        for name in names:
            shutil.copy(older / name, case.path(name))

    return act


def both(*acts: Act) -> Act:
    def act(case: Case) -> None:
        for each in acts:
            each(case)

    return act


def denied(name: str) -> Act:
    """Unreadable, by a stand-in for the kernel: tests may run as root, who may read everything."""

    def act(case: Case) -> AbstractContextManager[Any]:
        really = os.open

        def deny(path: Any, *arguments: Any, **options: Any) -> int:
            if path == name:
                raise PermissionError(13, "Permission denied")
            return really(path, *arguments, **options)

        return patch("coherence_ft.manifest.files.os.open", deny)

    return act


def meanwhile(name: str, change: Act) -> Act:
    """`change` happens once, when the file has been opened and no byte of it has been read."""

    def act(case: Case) -> AbstractContextManager[Any]:
        really = OpenFolder._unchanging
        waiting = [change]

        @contextmanager
        def opened(folder: OpenFolder, asked: str) -> Iterator[Any]:
            with really(folder, asked) as file:
                if asked == name and waiting:
                    waiting.pop()(case)
                yield file

        return patch.object(OpenFolder, "_unchanging", opened)

    return act


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def parent_forgotten(statement: Any) -> None:
    statement["predicate"]["lineage"] = {"relation": "none", "parents": [], "ancestors": []}


def other_half(encoded: str) -> str:
    """The signature of ECDSA that is as good as the given one: (r, n - s) instead of (r, s)."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = decode_dss_signature(base64.b64decode(encoded))
    return base64.b64encode(encode_dss_signature(r, order - s)).decode()


def padded(encoded: str) -> str:
    """DER of the same numbers with the length of the whole in two bytes, which DER does not allow."""
    der = base64.b64decode(encoded)
    return base64.b64encode(b"\x30\x81" + der[1:]).decode()


def reversed_keys(data: Any) -> bytes:
    return json.dumps(dict(reversed(data.items())), separators=(",", ":")).encode()


def subject_of(statement: Any, name: str) -> Any:
    return next(s for s in statement["subject"] if s["name"] == name)


def followed(case: Case) -> None:
    """Weights exchanged, and the manifest made to fit, without a key."""
    case.path(ADAPTER).write_bytes(b"other weights")
    digest = file_digest(case.path(ADAPTER))
    rewritten(MANIFEST, lambda m: subject_of(m, ADAPTER)["digest"].update(sha256=digest))(case)


def spare_bits(encoded: str) -> str:
    """The same bytes in base64, where the last character has bits to spare; else white space."""
    body = encoded.rstrip("=")
    if body == encoded:
        return encoded + "\n"
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return body[:-1] + alphabet[alphabet.index(body[-1]) ^ 1] + encoded[len(body) :]


def broken_key(case: Case) -> None:
    path = case.folder.parent / "broken.pub.pem"
    path.write_text("not a key")
    key_listed("model-risk", path=path)(case)


def tightened(case: Case) -> Tenant:
    layer = case.tenant.layers[0]
    constraints = (replace(RISK, bound=0.15), CONTRADICTIONS, ACCURACY)
    held = replace(layer.constraint_set, constraints=constraints)
    return replace(case.tenant, layers=(replace(layer, constraint_set=held),))


def downgraded(statement: Any) -> None:
    """All that 1.1 asks for taken out, but for the files, which are among the subjects."""
    predicate = statement["predicate"]
    predicate.pop("evidence")
    predicate["lineage"] = {"parents": []}
    predicate["method"].pop("derivation")
    predicate["schemaVersion"] = "1.0"


def exchanged(statement: Any) -> None:
    first, second = statement["predicate"]["evidence"][:2]
    first["digest"], second["digest"] = second["digest"], first["digest"]


def own_parent(case: Case) -> None:
    digest = file_digest(case.signed.manifest)
    case.signed.resign(lambda m: m["predicate"]["lineage"]["parents"][0].update(manifestDigest=digest))


def countersigned_other(case: Case) -> None:
    content = case.originals.older.manifest.read_bytes()
    envelope = sign(content, load_private(case.signed.keys / "regulator.pem"))
    case.path(COUNTERSIGNATURE).write_bytes(canonical_json(envelope.to_json()))


def model_signed(case: Case, signer: Signer, old: str = "", new: str = "") -> None:
    from coherence_ft.manifest.model_sig import model_signature

    with suppress(FileNotFoundError):
        case.path(MODEL_SIGNATURE).unlink()
    files = (path for path in case.folder.rglob("*") if path.is_file())
    digests = {str(path.relative_to(case.folder)): file_digest(path) for path in files}
    if old:
        digests[new] = digests.pop(old)
    case.path(MODEL_SIGNATURE).write_bytes(model_signature("derivative", digests, signer))


def exchanged_file(case: Case) -> None:
    other = case.folder.parent / "other"
    other.write_bytes(b"other weights")
    other.replace(case.path(ADAPTER))


def renamed_folder(case: Case) -> None:
    case.folder.rename(case.folder.with_name("moved"))
    case.signed = replace(case.signed, folder=case.folder.with_name("moved"))


@dataclass(frozen=True)
class Kind:
    name: str
    act: Act
    codes: str  # exactly those that refuse it
    of: str = "plain"

    def refuse(self, originals: Originals, root: Path) -> set[str]:
        """Tamper with a copy in `root` and return the codes that refuse it."""
        case = originals.case(self.of, root)
        during = self.act(case)
        with during if isinstance(during, AbstractContextManager) else nullcontext():
            return case.codes()


def rows(of: str, *rows: tuple[str, Act, str]) -> tuple[Kind, ...]:
    return tuple(Kind(name, act, codes, of) for name, act, codes in rows)
