"""Signing and verifying beside the bare sha256 of the same files and model_signing; tampering refused.

    python benchmarks/manifest.py [--quick] [--gigabytes N] [--rounds N] [--folder DIR]

Files of random bytes in a temporary folder under DIR, hashed, signed and verified in one process, by turns:
bare (hashlib, one file after another), ours (`write_manifest`, `verify`), and the API of model_signing. Then
both as commands, an adapter-sized derivative from a cold start, and an unchanged one where file times are
trusted. Each side counts with its fastest run, since other load on the machine only ever slows a run down.
Files that fit into memory come from the page cache on every side; `from_cache` says whether they do. Then the
tamper matrix of the tests, and 2,000 tries of fuzz_manifests.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

import model_signing  # noqa: E402
from derivatives import NOW, facts_of, stand_in  # noqa: E402
from fuzz_manifests import fuzz  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from tampering import make  # noqa: E402
from test_manifest_tampering import KINDS  # noqa: E402

from coherence_ft.authority.keys import Signer, generate, load_private  # noqa: E402
from coherence_ft.documents.tenant import read_tenant  # noqa: E402
from coherence_ft.manifest.statement import ManifestFacts  # noqa: E402
from coherence_ft.manifest.verify import verify  # noqa: E402
from coherence_ft.manifest.write import write_manifest  # noqa: E402

SCRIPTS = Path(sys.executable).parent
TENANT = ROOT / "tests" / "golden" / "manifests" / "1.0"
GIGABYTE = 10**9


@dataclass(frozen=True)
class Derivative:
    """A folder to sign, under a tenant document of its own."""

    root: Path
    facts: ManifestFacts
    signer: Signer

    @property
    def folder(self) -> Path:
        return self.root / "derivative"

    @property
    def tenant(self) -> Path:
        return self.root / "tenant.yaml"

    @property
    def key(self) -> Path:
        return self.root / "keys" / "model-risk.pem"

    def sign(self) -> None:
        write_manifest(self.folder, self.facts, self.signer, created_at=NOW)

    def verify(self, **options: Any) -> None:
        verify(self.folder, self.tenant, **options)

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())


def derivative(root: Path, sizes: Sequence[int]) -> Derivative:
    """Weights of these sizes in bytes, and the small files that come with them."""
    root.mkdir()
    for name in ("tenant.yaml", "clinical.yaml"):
        shutil.copy(TENANT / name, root)
    generate(root / "keys", "model-risk")
    facts = facts_of(read_tenant(root / "tenant.yaml"))
    facts = replace(facts, method=replace(facts.method, derivation=None))
    made = Derivative(root, facts, load_private(root / "keys" / "model-risk.pem"))
    made.folder.mkdir()
    for stored in facts.evidence:
        path = made.folder / str(stored.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stand_in(stored.model, stored.split))
    dice = random.Random(1)
    (made.folder / "config.json").write_text('{"model_type": "llama"}')
    (made.folder / "tokenizer.json").write_bytes(dice.randbytes(3 * 2**20))
    for number, size in enumerate(sizes, 1):
        with (made.folder / f"model-{number:05}-of-{len(sizes):05}.safetensors").open("wb") as file:
            for start in range(0, size, 2**24):
                file.write(os.urandom(min(2**24, size - start)))
    made.sign()
    return made


@dataclass(frozen=True)
class Taken:
    seconds: float
    processor: float


def timed(action: Callable[[], object]) -> Taken:
    started, processor = time.perf_counter(), time.process_time()
    action()
    return Taken(time.perf_counter() - started, time.process_time() - processor)


def command(*arguments: str | Path, cache: Path) -> Taken:
    environment = os.environ | {"COHERENCE_FT_CACHE": str(cache), "NO_COLOR": "1"}
    texts = list(map(str, arguments))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(texts, capture_output=True, text=True, env=environment, check=False)
    took = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{arguments[0]}: {done.stdout}{done.stderr}")
    return Taken(took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def bare(made: Derivative) -> None:
    for path in made.files():
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")


def large(made: Derivative, rounds: int) -> dict[str, Taken]:
    """The fastest of `rounds` of each side, in one process, by turns."""
    signature = made.root / "peer.sig"
    public = made.root / "keys" / "model-risk.pub.pem"
    sides: dict[str, Callable[[], object]] = {
        "bare sha256": lambda: bare(made),
        "sign, ours": made.sign,
        "sign, model_signing": lambda: (
            model_signing.signing.Config()
            .use_elliptic_key_signer(private_key=made.key)
            .sign(made.folder, signature)
        ),
        "verify, ours": made.verify,
        "verify, model_signing": lambda: (
            model_signing.verifying.Config()
            .use_elliptic_key_verifier(public_key=public)
            .verify(made.folder, signature)
        ),
    }
    taken: dict[str, list[Taken]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, action in sides.items():
            each = timed(action)
            if number:  # the first round fills the page cache
                taken[name].append(each)
    return {name: min(each, key=lambda t: t.seconds) for name, each in taken.items()}


def commands(made: Derivative, rounds: int, cache: Path) -> dict[str, float]:
    ours = [SCRIPTS / "coherence-ft", "verify", made.folder, "--tenant", made.tenant]
    public, signature = made.root / "keys" / "model-risk.pub.pem", made.root / "peer.sig"
    peer = [SCRIPTS / "model_signing", "verify", "key", made.folder]
    peer += ["--signature", signature, "--public_key", public]
    taken: dict[str, list[float]] = {"ours": [], "model_signing": []}
    for _ in range(rounds):
        taken["ours"].append(command(*ours, cache=cache).seconds)
        taken["model_signing"].append(command(*peer, cache=cache).seconds)
    return {name: min(each) for name, each in taken.items()}


def cold(made: Derivative, repeats: int, cache: Path) -> tuple[list[Taken], list[Taken]]:
    """Whole commands on an adapter-sized derivative: ours and model_signing's."""
    signature, public = made.root / "peer.sig", made.root / "keys" / "model-risk.pub.pem"
    model_signing.signing.Config().use_elliptic_key_signer(private_key=made.key).sign(made.folder, signature)
    ours: list[Taken] = []
    theirs: list[Taken] = []
    for number in range(repeats):
        ours.append(
            command(SCRIPTS / "coherence-ft", "verify", made.folder, "--tenant", made.tenant, cache=cache)
        )
        if number % 4 == 0:
            peer = ("verify", "key", made.folder, "--signature", signature, "--public_key", public)
            theirs.append(command(SCRIPTS / "model_signing", *peer, cache=cache))
    return ours, theirs


def unchanged(made: Derivative, cache: Path) -> tuple[float, float]:
    """Seconds of `verify` where file times are trusted: in process, and as a command."""
    os.environ["COHERENCE_FT_CACHE"] = str(cache)
    time.sleep(2.1)  # a file is remembered once it has been at rest
    made.verify(trust_file_times=True)
    inside = min(timed(lambda: made.verify(trust_file_times=True)).seconds for _ in range(5))
    ours = (SCRIPTS / "coherence-ft", "verify", made.folder, "--tenant", made.tenant, "--trust-file-times")
    return inside, min(command(*ours, cache=cache).seconds for _ in range(5))


def tampering(root: Path) -> tuple[int, list[str]]:
    """How many kinds of the matrix are refused by exactly their codes, and which are not."""
    originals = make(root / "originals")
    wrong: list[str] = []
    skipped = 0
    for number, kind in enumerate(KINDS):
        (root / str(number)).mkdir()
        try:
            if kind.refuse(originals, root / str(number)) != set(kind.codes.split()):
                wrong.append(kind.name)
        except PermissionError:
            skipped += 1  # only root makes device files
    return len(KINDS) - len(wrong) - skipped, wrong


def median(taken: Sequence[Taken]) -> float:
    return statistics.median(each.seconds for each in taken)


def available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="half a gigabyte, two rounds")
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the temporary folder goes")
    arguments = parser.parse_args()
    gigabytes = 0.5 if arguments.quick else arguments.gigabytes
    rounds = 2 if arguments.quick else arguments.rounds
    size = int(gigabytes * GIGABYTE)
    from_cache = available_memory() > size * 1.2
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        root, cache = Path(temporary), Path(temporary) / "cache"
        if shutil.disk_usage(root).free < size * 1.5 + GIGABYTE:
            raise SystemExit(f"{gigabytes} GB do not fit on the disk of {root}")
        shard = 2 * GIGABYTE if size > 4 * GIGABYTE else max(1, size // 4)
        big = derivative(root / "large", [min(shard, size - start) for start in range(0, size, shard)])
        taken = large(big, rounds)
        whole = commands(big, rounds, cache)
        inside, outside = unchanged(big, cache)
        shutil.rmtree(big.root)
        small = derivative(root / "adapter", [20 * 2**20])
        ours, theirs = cold(small, 9 if arguments.quick else 25, cache)
        (root / "tampering").mkdir()
        kinds, wrong = tampering(root / "tampering")
    outcome, _ = fuzz(2_000, seed=1)

    base = taken["bare sha256"]
    table = Table(title=f"{gigabytes} GB, fastest of {rounds}")
    for heading in ("in one process", "seconds", "of bare sha256", "processor seconds", "of bare"):
        table.add_column(heading, justify="left" if heading == "in one process" else "right")
    for name, each in taken.items():
        table.add_row(
            name,
            f"{each.seconds:.2f}",
            f"{each.seconds / base.seconds:.2f}",
            f"{each.processor:.2f}",
            f"{each.processor / base.processor:.2f}",
        )
    processor = statistics.median(each.processor for each in ours)
    console = Console()
    console.print(table)
    print(
        f"verify as a command: ours {whole['ours']:.2f} s, model_signing {whole['model_signing']:.2f} s\n"
        f"unchanged, file times trusted: {inside:.3f} s in process, {outside:.3f} s as a command\n"
        f"an adapter of 24 MB from a cold start: {median(ours):.3f} s (fastest "
        f"{min(each.seconds for each in ours):.3f}, processor {processor:.3f}), "
        f"model_signing {median(theirs):.3f} s\n"
        f"tampering: {kinds} of {len(KINDS)} kinds refused by exactly their codes"
        + (f", not: {', '.join(wrong)}" if wrong else "")
        + f"\nfuzzing: {outcome.tries:,} tries, {len(outcome.false)} false accepts, "
        f"{len(outcome.broken)} other exceptions\n"
        f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, "
        f"model-signing {version('model-signing')}, cryptography {version('cryptography')}"
    )
    hash_ratio = {way: taken[f"{way}, ours"].seconds / base.seconds for way in ("sign", "verify")}
    peer_ratio = {
        way: taken[f"{way}, ours"].seconds / taken[f"{way}, model_signing"].seconds
        for way in ("sign", "verify")
    } | {"command": whole["ours"] / whole["model_signing"]}
    figures = {
        "benchmark": "manifest",
        "gigabytes": gigabytes,
        "from_cache": from_cache,
        "hash_ratio": round(max(hash_ratio.values()), 3),
        "hash_ratio_sign": round(hash_ratio["sign"], 3),
        "hash_ratio_verify": round(hash_ratio["verify"], 3),
        "processor_ratio": round(max(taken[f"{w}, ours"].processor for w in hash_ratio) / base.processor, 3),
        "model_signing_ratio": round(max(peer_ratio.values()), 3),
        **{f"model_signing_ratio_{way}": round(ratio, 3) for way, ratio in peer_ratio.items()},
        "cold_verify_s": round(median(ours), 3),
        "cold_verify_processor_s": round(processor, 3),
        "cold_verify_model_signing_s": round(median(theirs), 3),
        "unchanged_s": round(inside, 4),
        "unchanged_command_s": round(outside, 3),
        "tamper_kinds": kinds,
        "false_accepts": len(outcome.false),
    }
    print(json.dumps(figures))
    sys.exit(1 if wrong or outcome.false or outcome.broken else 0)


if __name__ == "__main__":
    main()
