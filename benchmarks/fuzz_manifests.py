"""Mutated signed derivatives: `verify` must accept nothing whose bytes or names differ from what was signed.

    python benchmarks/fuzz_manifests.py [--quick] [--tries N] [--seed N] [--only TRY]

Three derivatives out of small files, each with other signed versions of itself to take files from: one
without parents, one with a parent, and one with a countersignature and model.sig. The tenant document stays
good. Every try makes one to three changes: bytes of any file, structure and spelling of any JSON file (and of
the statement inside a bundle), signatures, new signatures by those who may not, digests made to fit without a
key, names, links, pipes, empty folders, files of another version. Nothing but CoherenceError may come out.

What may be accepted though it differs is said in `MEANINGLESS`. File times and permissions are not looked at.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import tampering  # noqa: E402 - it lies with the tests, which have the matrix of kinds
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from derivatives import TODAY  # noqa: E402

from coherence_ft.authority.keys import Signer, load_private  # noqa: E402
from coherence_ft.documents.canonical import canonical_json  # noqa: E402
from coherence_ft.documents.diagnostics import CoherenceError  # noqa: E402
from coherence_ft.documents.tenant import Tenant  # noqa: E402
from coherence_ft.manifest.files import BUNDLE, MANIFEST, MODEL_SIGNATURE  # noqa: E402
from coherence_ft.manifest.signing import sign  # noqa: E402
from coherence_ft.manifest.verify import verify  # noqa: E402

MEANINGLESS = {
    "model.sig taken away": "an extra for other verifiers, which no tenant can demand; the rest is whole",
    "another signature of the same key": "(r, n - s) for (r, s): as good, and no other bytes are signed",
}
TEMPTING = (
    *("model.safetensors", "pytorch_model.bin", "modeling_x.py", "config.json", "generation_config.json"),
    *("chat_template.jinja", "README.md", ".gitattributes", ".git/config", "model.sig", "model.sig.partial"),
    *("coherence_manifest.nobody.sigstore.json", "coherence_manifest.training.sigstore.json"),
    *("coherence_manifest.json.bak", "coherence/x.json", "coherence/lineage/x.json", "tokenizer/model.sig"),
    *("Coherence_manifest.json", "MODEL.SIG", "a\nb", "\u202ex", "x" * 200),
)
SPELLINGS: tuple[Callable[[Any], bytes], ...] = (
    canonical_json,
    lambda data: json.dumps(data).encode(),
    lambda data: json.dumps(data, indent=1).encode(),
    lambda data: json.dumps(data, sort_keys=True, separators=(",", ":")).encode(),
    lambda data: canonical_json(data) + b"\n",
    lambda data: b" " + canonical_json(data),
    lambda data: json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode(),
)
Files = dict[str, bytes]


@dataclass
class Target:
    """A derivative in a folder of its own, as it was signed, and other genuine versions of it."""

    name: str
    folder: Path
    tenant: Tenant
    files: Files
    others: tuple[Files, ...]
    signers: dict[str, Signer]  # whoever must not count for what they sign: see `sign_otherwise`
    touched: set[str] = field(default_factory=set)

    def path(self, name: str) -> Path:
        """The place of a file that is about to be changed."""
        self.touched.add(name)
        return self.folder / name

    def read(self, name: str) -> bytes:
        """What lies there now; nothing where that is no file."""
        path = self.folder / name
        return path.read_bytes() if path.is_file() and not path.is_symlink() else b""

    def write(self, name: str, content: bytes) -> None:
        path = self.path(name)
        if path.is_symlink() or path.is_fifo():
            path.unlink()
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def restore(self) -> None:
        for name in self.touched:
            path = self.folder / name
            if path.is_symlink() or path.is_file() or path.is_fifo():
                path.unlink()
            elif path.is_dir():
                shutil.rmtree(path)
        for name in [n for n in self.files if not (self.folder / n).is_file()]:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(self.files[name])
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        self.touched.clear()

    def state(self) -> dict[str, bytes | str]:
        """Everything in the folder: content by name, what else there is by its kind."""
        found: dict[str, bytes | str] = {}
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder).as_posix()
            if path.is_symlink():
                found[name] = "link"
            elif path.is_file():
                found[name] = path.read_bytes()
            elif not path.is_dir():
                found[name] = "special"
            elif not any(path.iterdir()):
                found[name] = "empty folder"
        return found


def contents(folder: Path) -> Files:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def targets(root: Path) -> list[Target]:
    made = tampering.make(root / "originals")
    names = {
        "plain": (made.older, made.child, made.full),
        "child": (made.full, made.older),
        "full": (made.child,),
    }
    found = []
    for name, others in names.items():
        original = getattr(made, name)
        tenant = made.demanding if name == "full" else original.tenant
        folder = root / name
        shutil.copytree(original.folder, folder)
        keys = {each: load_private(original.keys / f"{each}.pem") for each in ("training", "regulator")}
        signers = keys | {"nobody": Signer.of(ec.generate_private_key(ec.SECP256R1()))}
        genuine = tuple(contents(other.folder) for other in others)
        found.append(Target(name, folder, tenant, contents(folder), genuine, signers))
    return found


# --- changes ----------------------------------------------------------------------------------------------


def change_bytes(target: Target, dice: random.Random) -> str:
    name = some_file(target, dice)
    content = bytearray(target.read(name))
    if not content:
        return "nothing"
    at, size = dice.randrange(len(content)), dice.choice((1, 1, 2, 4, 16, 64))
    way = dice.choice(
        (
            "bit",
            "bit",
            "byte",
            "case",
            "insert",
            "delete",
            "repeat",
            "truncate",
            "append",
            "splice",
            "exchange",
            "zero",
        )
    )
    match way:
        case "bit":
            content[at] ^= 1 << dice.randrange(8)
        case "byte":
            content[at] = dice.choice(b'0123456789abcdefABCDEF"{}[],:\\ \n\0\xff')
        case "case":
            content[at : at + size] = content[at : at + size].swapcase()
        case "insert":
            content[at:at] = dice.randbytes(size)
        case "delete":
            del content[at : at + size]
        case "repeat":
            content[at:at] = content[at : at + size]
        case "truncate":
            del content[at:]
        case "append":
            content += dice.choice((b"\n", b" ", b"\0", b"{}", b"\x1a", dice.randbytes(size)))
        case "splice":
            other = target.files[dice.choice(sorted(target.files))]
            content[at : at + size] = other[at % (len(other) or 1) :][:size]
        case "exchange":
            b = dice.randrange(len(content))
            content[at], content[b] = content[b], content[at]
        case "zero":
            content[at : at + size] = bytes(size)
    target.write(name, bytes(content))
    return f"{way} in {kind_of(name)}"


def change_json(target: Target, dice: random.Random) -> str:
    """Structure of a JSON file, or of the statement inside a bundle; sometimes the manifest follows."""
    names = [n for n in target.files if n.endswith(".json") or n == MODEL_SIGNATURE]
    name = dice.choice([*names, MANIFEST, BUNDLE])
    data = loaded(target.read(name))
    if data is None:
        return "nothing"
    inside = isinstance(data, dict) and "dsseEnvelope" in data and dice.random() < 0.5
    if inside:
        inner = payload_of(data)
        how = restructure(inner, dice)
        set_payload(data, dice.choice(SPELLINGS)(inner))
        if name == BUNDLE and dice.random() < 0.5:
            target.write(MANIFEST, base64.b64decode(data["dsseEnvelope"]["payload"]))
            how += ", the manifest too"
    else:
        how = restructure(data, dice)
    with suppress(ValueError, RecursionError):
        target.write(name, dice.choice(SPELLINGS)(data))
    return f"{how} in {kind_of(name)}{', inside' if inside else ''}"


def restructure(data: Any, dice: random.Random) -> str:
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in (
            list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        ):
            places.append((value, key))
            walk(value[key])

    walk(data)
    if not places:
        return "nothing"
    holder, key = dice.choice(places)
    way = dice.choice(
        ("spelling", "drop", "add", "rename", "scalar", "scalar", "scalar", "exchange", "twice", "type")
    )
    match way:
        case "drop":
            del holder[key]
        case "add" if isinstance(holder, dict):
            holder[
                dice.choice(("note", "$schema", "x", "tlogEntries", "certificate", "keyid", "evidence"))
            ] = junk(dice)
        case "rename" if isinstance(holder, dict):
            holder[dice.choice((key + "_", key.upper(), key[:-1], "x"))] = holder.pop(key)
        case "scalar":
            holder[key] = near(holder[key], dice)
        case "exchange":
            other, there = dice.choice(places)
            with suppress(KeyError, IndexError):
                holder[key], other[there] = other[there], holder[key]
        case "twice" if isinstance(holder, list):
            holder.insert(dice.randrange(len(holder) + 1), holder[key])
        case "type":
            holder[key] = junk(dice)
    return way


def near(value: Any, dice: random.Random) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return dice.choice((value + 1, value - 1, -value, float(value), str(value), value * 2**64))
    if not isinstance(value, str):
        return junk(dice)
    if re.fullmatch(r"-?[0-9.]+", value):
        return dice.choice((value + "0", "0" + value, "-" + value, "+" + value, value + "e0", "NaN", "1e999"))
    if re.fullmatch(r"[0-9a-f]{64}", value):
        return dice.choice((value.upper(), value[::-1], "0" * 64, value[:-1], value + "0"))
    return dice.choice((value + "x", value[:-1], value.upper(), value + "=", "../" + value, value + "\0", ""))


def junk(dice: random.Random) -> Any:
    return dice.choice(
        (None, True, False, 0, 1, -1, 0.5, 1e308, 10**30, "", "x", "0", [], {}, [[]], {"a": {}}, ["x"])
    )


def change_number(target: Target, dice: random.Random) -> str:
    """An integer of a JSON file, spelled in another way."""
    name = dice.choice([n for n in target.files if n.endswith(".json")])
    content = target.read(name)
    numbers = list(re.finditer(rb"(?<=[:,\[])-?[0-9]+(?=[,}\]])", content))
    if not numbers:
        return "nothing"
    found = dice.choice(numbers)
    text = found[0]
    spelled = dice.choice(
        (text + b".0", text + b"e0", b"0" + text, b"+" + text, b"-" + text, b'"' + text + b'"')
    )
    target.write(name, content[: found.start()] + spelled + content[found.end() :])
    return f"number in {kind_of(name)}"


def change_signature(target: Target, dice: random.Random) -> str:
    names = [n for n in target.files if "sigstore" in n or n == MODEL_SIGNATURE]
    name, other = dice.choice(names), dice.choice(names)
    data, theirs = loaded(target.read(name)), loaded(target.read(other))
    try:
        signed, from_ = data["dsseEnvelope"]["signatures"][0], theirs["dsseEnvelope"]["signatures"][0]
        raw = base64.b64decode(signed["sig"])
        hints = data["verificationMaterial"]["publicKey"]
        way = dice.choice(("theirs", "hint", "both", "der", "numbers", "envelope", "base64", "empty", "more"))
        match way:
            case "theirs":
                signed["sig"] = from_["sig"]
            case "hint":
                hints["hint"] = theirs["verificationMaterial"]["publicKey"]["hint"]
                signed["keyid"] = from_["keyid"]
            case "both":
                data["dsseEnvelope"]["signatures"] = theirs["dsseEnvelope"]["signatures"]
                data["verificationMaterial"] = theirs["verificationMaterial"]
            case "der":
                forms = (
                    b"\x30\x81" + raw[1:],
                    raw + b"\0",
                    raw[:-1],
                    b"\0" + raw,
                    raw[:2] + b"\x02\x00" + raw[2:],
                )
                signed["sig"] = base64.b64encode(dice.choice(forms)).decode()
            case "numbers":
                signed["sig"] = base64.b64encode(renumbered(raw, dice)).decode()
            case "envelope":
                data["dsseEnvelope"]["payload"] = theirs["dsseEnvelope"]["payload"]
            case "base64":
                text = signed["sig"]
                forms_ = (
                    text.rstrip("="),
                    text + "=",
                    text.replace("+", "-").replace("/", "_"),
                    text + "\n",
                    " " + text,
                )
                signed["sig"] = dice.choice(forms_)
            case "empty":
                signed["sig"] = ""
            case "more":
                data["dsseEnvelope"]["signatures"].append(dict(from_))
    except (KeyError, IndexError, TypeError, ValueError):
        return "nothing"
    target.write(name, canonical_json(data))
    return f"{way} of the signature in {kind_of(name)}"


def renumbered(der: bytes, dice: random.Random) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = decode_dss_signature(der)
    return encode_dss_signature(
        *dice.choice(
            ((r, order - s), (r + order, s), (s, r), (0, s), (r, 0), (r, s + order), (1, 1), (order, order))
        )
    )


def sign_otherwise(target: Target, dice: random.Random) -> str:
    """The statement, changed or not, signed anew by who may not: in their name or the signer's."""
    who = dice.choice(sorted(target.signers))
    names = [BUNDLE] + [n for n in target.files if "sigstore" in n and n != BUNDLE] + [MODEL_SIGNATURE]
    name = dice.choice(names)
    if who == "regulator" and name != BUNDLE and not name.startswith("coherence/"):
        return "nothing"  # who may countersign
    data = loaded(target.read(name))
    try:
        content = base64.b64decode(data["dsseEnvelope"]["payload"])
        if dice.random() < 0.7:
            inner = json.loads(content)
            restructure(inner, dice)
            content = canonical_json(inner)
        envelope = sign(content, target.signers[who]).to_json()
        if dice.random() < 0.5:
            envelope["verificationMaterial"] = data["verificationMaterial"]
            envelope["dsseEnvelope"]["signatures"][0]["keyid"] = data["dsseEnvelope"]["signatures"][0][
                "keyid"
            ]
    except (KeyError, IndexError, TypeError, ValueError):
        return "nothing"
    target.write(name, canonical_json(envelope))
    if name == BUNDLE:
        target.write(MANIFEST, content)
    return f"{kind_of(name)} signed by {who}"


def follow_digests(target: Target, dice: random.Random) -> str:
    """A file is changed, and whatever states its digest made to fit: all that can be done without a key."""
    names = [n for n in target.files if n not in (MANIFEST, BUNDLE, MODEL_SIGNATURE)]
    name = dice.choice(names)
    before = target.read(name)
    change_bytes_of = bytearray(before or b"x")
    change_bytes_of[dice.randrange(len(change_bytes_of))] ^= 1 << dice.randrange(8)
    target.write(name, bytes(change_bytes_of))
    old, new = (hashlib.sha256(b).hexdigest() for b in (before, bytes(change_bytes_of)))
    for each in (MANIFEST, BUNDLE, MODEL_SIGNATURE):
        if not (content := target.read(each)) or dice.random() < 0.15:
            continue
        data = loaded(content)
        if each == MANIFEST:
            target.write(each, content.replace(old.encode(), new.encode()))
        elif isinstance(data, dict):
            with suppress(KeyError, TypeError, ValueError):
                inner = base64.b64decode(data["dsseEnvelope"]["payload"])
                data["dsseEnvelope"]["payload"] = base64.b64encode(
                    inner.replace(old.encode(), new.encode())
                ).decode()
                target.write(each, canonical_json(data))
    return f"digests follow {kind_of(name)}"


def change_names(target: Target, dice: random.Random) -> str:
    name = some_file(target, dice)
    path = target.path(name)
    if not path.is_file() or path.is_symlink():
        return "nothing"
    way = dice.choice(
        (
            "remove",
            "rename",
            "case",
            "unicode",
            "exchange",
            "add",
            "add",
            "copy",
            "empty",
            "link",
            "pipe",
            "down",
        )
    )
    with suppress(OSError):
        match way:
            case "remove":
                path.unlink()
            case "rename":
                path.rename(target.path(name + dice.choice((" ", ".", "~", ".bak", "\u200b", "x"))))
            case "case":
                to = target.path("".join(c.swapcase() if dice.random() < 0.3 else c for c in name))
                to.parent.mkdir(parents=True, exist_ok=True)
                path.rename(to)
            case "unicode":
                path.rename(target.path(unicodedata.normalize(dice.choice(("NFD", "NFKD")), name)))
            case "exchange":
                other, one = some_file(target, dice), path.read_bytes()
                target.write(name, target.read(other))
                target.write(other, one)
            case "add":
                target.write(
                    dice.choice(TEMPTING), dice.choice((b"", b"{}", path.read_bytes(), dice.randbytes(20)))
                )
            case "copy":
                target.write(
                    f"{dice.choice(('copy', 'tokenizer', 'coherence'))}/{path.name}", path.read_bytes()
                )
            case "empty":
                target.path(
                    dice.choice(("empty", "tokenizer/empty", "coherence/lineage", "model.sig"))
                ).mkdir()
            case "link":
                kept = target.folder.parent / "kept"
                kept.write_bytes(path.read_bytes())
                path.unlink()
                path.symlink_to(dice.choice((str(kept), path.name, ".", "nowhere")))
            case "pipe":
                path.unlink()
                os.mkfifo(path)
            case "down":
                (target.folder / "deeper").mkdir(exist_ok=True)
                path.rename(target.path(f"deeper/{path.name}"))
    return f"{way} of {kind_of(name)}"


def take_others(target: Target, dice: random.Random) -> str:
    """Files of another genuine version, never all of them."""
    other = dice.choice(target.others)
    names = sorted(other)
    for name in dice.sample(names, dice.randrange(1, max(2, len(names) // 2))):
        target.write(name, other[name])
    return "files of another version"


CHANGES: tuple[tuple[Callable[[Target, random.Random], str], int], ...] = (
    (change_bytes, 6),
    (change_json, 6),
    (change_number, 1),
    (change_signature, 3),
    (sign_otherwise, 2),
    (follow_digests, 1),
    (change_names, 3),
    (take_others, 1),
)


def some_file(target: Target, dice: random.Random) -> str:
    signed = [n for n in target.files if n in (MANIFEST, MODEL_SIGNATURE) or "sigstore" in n]
    return dice.choice(signed if dice.random() < 0.5 else sorted(target.files))


def kind_of(name: str) -> str:
    if name.startswith("coherence/lineage/"):
        return "an ancestor's bundle" if "sigstore" in name else "an ancestor"
    return (
        name
        if name in (MANIFEST, BUNDLE, MODEL_SIGNATURE)
        else "a countersignature"
        if "sigstore" in name
        else "a file"
    )


def loaded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def payload_of(bundle: Any) -> Any:
    try:
        return json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    except (KeyError, TypeError, ValueError):
        return {}


def set_payload(bundle: Any, payload: bytes) -> None:
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()


# --- judging ----------------------------------------------------------------------------------------------


def meaningless(target: Target) -> str | None:
    """Why it is right that the folder is accepted; None where it is not. Empty where nothing differs."""
    now = target.state()
    if now == target.files or any(now == other for other in target.others):
        return ""
    now.setdefault(MODEL_SIGNATURE, target.files.get(MODEL_SIGNATURE, b""))
    differing = {name for name in now.keys() | target.files.keys() if now.get(name) != target.files.get(name)}
    differing.discard(MODEL_SIGNATURE if MODEL_SIGNATURE not in target.files else "")
    if not differing:
        return "model.sig taken away"
    if all("sigstore" in name or name == MODEL_SIGNATURE for name in differing):
        for name in differing:
            was, is_ = loaded(target.files[name]), loaded(target.read(name))
            with suppress(KeyError, TypeError, IndexError):
                is_["dsseEnvelope"]["signatures"][0]["sig"] = was["dsseEnvelope"]["signatures"][0]["sig"]
            if target.read(name) != canonical_json(loaded(target.read(name))) or was != is_:
                return None
        return "another signature of the same key"
    return None


@dataclass
class Outcome:
    tries: int = 0
    refused: int = 0
    unchanged: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    false: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)


def attempt(functions: Any, weights: Any, target: Target, dice: random.Random) -> str:
    """One change. What an earlier one has left may be too odd for it."""
    try:
        done: str = dice.choices(functions, weights)[0](target, dice)
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError, OSError):
        return "half of a change"
    return done


def one(all_targets: list[Target], seed: int, number: int, outcome: Outcome, verbose: bool = False) -> None:
    dice = random.Random(f"{seed}:{number}")
    target = dice.choice(all_targets)
    functions, weights = zip(*CHANGES, strict=True)
    done = [attempt(functions, weights, target, dice) for _ in range(dice.choice((1, 1, 1, 1, 2, 2, 3)))]
    what = f"{seed}:{number} {target.name}: {'; '.join(done)}"
    outcome.tries += 1
    try:
        verify(target.folder, target.tenant, today=TODAY)
    except CoherenceError as error:
        outcome.refused += 1
        outcome.codes.update(set(error.codes))
        outcome.changes.update(done)
        if verbose:
            print(what, error, sep="\n")
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        outcome.broken.append(f"{what}: {type(error).__name__}: {error}")
    else:
        why = meaningless(target)
        if why is None:
            outcome.false.append(what)
        elif why:
            outcome.accepted[why] += 1
        else:
            outcome.unchanged += 1
        if verbose:
            print(what, "accepted", why, sep="\n")
    finally:
        target.restore()


def fuzz(tries: int, seed: int, only: int | None = None) -> tuple[Outcome, float]:
    memory = Path("/dev/shm")  # where there is one; faster than a disk
    outcome = Outcome()
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as root:
        made = targets(Path(root))
        for target in made:
            verify(target.folder, target.tenant, today=TODAY)
        started = time.perf_counter()
        for number in range(tries) if only is None else (only,):
            one(made, seed, number, outcome, only is not None)
        took = time.perf_counter() - started
        for target in made:  # whatever was done has been undone
            verify(target.folder, target.tenant, today=TODAY)
            assert target.state() == target.files
    return outcome, took


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2,000 tries")
    parser.add_argument("--tries", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="this try alone, with what it did and what came out")
    arguments = parser.parse_args()
    tries = 2_000 if arguments.quick else arguments.tries
    outcome, took = fuzz(tries, arguments.seed, arguments.only)

    table = Table(title=f"{outcome.tries:,} tries, {outcome.tries / took:.0f} a second")
    table.add_column("outcome")
    table.add_column("tries", justify="right")
    table.add_row("refused", f"{outcome.refused:,}")
    table.add_row("nothing differed", f"{outcome.unchanged:,}")
    for why, count in outcome.accepted.items():
        table.add_row(f"accepted: {why}", f"{count:,}")
    table.add_row("false accepts", str(len(outcome.false)))
    table.add_row("other exceptions", str(len(outcome.broken)))
    Console().print(table)
    print("refused by:", ", ".join(f"{code} {count}" for code, count in outcome.codes.most_common()))
    for text in (*outcome.false[:20], *outcome.broken[:20]):
        print(text)
    figures = {
        "benchmark": "fuzz_manifests",
        "tries": outcome.tries,
        "seed": arguments.seed,
        "refused": outcome.refused,
        "unchanged": outcome.unchanged,
        "meaningless": sum(outcome.accepted.values()),
        "codes": len(outcome.codes),
        "kinds_of_change": len(outcome.changes),
        "false_accepts": len(outcome.false),
        "other_exceptions": len(outcome.broken),
        "seconds": round(took, 1),
    }
    print(json.dumps(figures))
    sys.exit(1 if outcome.false or outcome.broken else 0)


if __name__ == "__main__":
    main()
