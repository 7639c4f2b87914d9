"""`validate` under coverage-guided fuzzing: nothing but diagnostics may come out, whatever the file holds.

    python benchmarks/fuzz_documents.py [--quick] [--minutes N] [--findings FOLDER]

Needs atheris (in the extra `bench`). Starts from every shipped document, the wrong files of tests/golden and
a dictionary of YAML's and the schemas' words. Ends with exit code 77 and the input in FOLDER at the first
exception, hang of ten seconds, or place outside of the file.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ("recipes", "schema", "examples/tenant")
WORDS = (
    *(
        "&a",
        "*a",
        "<<: ",
        "!!str ",
        "%YAML 1.2\n",
        "---\n",
        "...\n",
        "? ",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "|\n",
        ">-\n",
    ),
    *(
        "\n",
        "\n  ",
        "\r\n",
        "\t",
        "\ufeff",
        "\u2028",
        ".nan",
        ".inf",
        "010",
        "0x1F",
        "1e999",
        "null",
        "true",
        "#",
        '"\\u',
    ),
    *(
        "apiVersion: coherence-ft/v1\n",
        "kind: ",
        "published:",
        "package:",
        "derivative:",
        "hub:",
        "../",
        "~a/",
        "\\0",
    ),
)


def fuzz(folder: Path, arguments: list[str]) -> None:
    """Run libFuzzer in this process; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=["coherence_ft"]):
        from coherence_ft.authority.validate import validate
        from coherence_ft.cli.printing import FORMATS, report

    def one(data: bytes) -> None:
        # Beside the files that it may name.
        place = "recipes/fuzz" if b"recipe" in data else "examples/tenant/fuzz"
        path = folder / f"{place}.{'jsonl' if data[:1] == b'{' else 'yaml'}"
        path.write_bytes(data)
        found = validate([path])
        lines = data.decode("utf-8", "replace").removeprefix("\ufeff").split("\n")
        for d in found:
            assert d.code.startswith("CFT") and d.message
            if d.path == str(path) and d.line and path.suffix == ".yaml":
                assert d.line <= len(lines) and 1 <= d.column <= len(lines[d.line - 1]) + 1, d
        report(FORMATS[len(data) % len(FORMATS)], found)

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


def prepare(folder: Path) -> tuple[Path, Path]:
    """Copies of what may be named, a corpus and a dictionary."""
    for name in SHIPPED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.py", "*.pem"))
    corpus = folder / "corpus"
    corpus.mkdir()
    seeds = [p for name in (*SHIPPED, "tests/golden") for p in (ROOT / name).rglob("*") if p.is_file()]
    for number, path in enumerate(p for p in seeds if p.suffix in (".yaml", ".jsonl")):
        shutil.copy(path, corpus / f"{number}")
    schemas = "".join(p.read_text("utf-8") for p in (ROOT / "schema/v1").glob("*.yaml"))
    words = {*WORDS, *re.findall(r"[a-z_]{4,}(?=:)", schemas)}
    dictionary = folder / "words"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in sorted(words))
    dictionary.write_text("".join(f'"{word}"\n' for word in escaped))
    return corpus, dictionary


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="30 seconds")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--findings", type=Path, default=Path("runs/fuzz"))
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.child:
        fuzz(options.child, rest)
        return
    seconds = 30 if options.quick else round(options.minutes * 60)
    options.findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        corpus, dictionary = prepare(Path(name))
        flags = [f"-max_total_time={seconds}", "-timeout=10", "-max_len=16384", "-rss_limit_mb=1024"]
        flags += ["-print_final_stats=1", f"-dict={dictionary}", f"-artifact_prefix={options.findings}/"]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, "--child", name, *flags, str(corpus)],
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        took = time.perf_counter() - started
        inputs = len(list(corpus.iterdir()))
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", done.stderr))
    covered = re.findall(r"cov: (\d+) ft: (\d+)", done.stderr)
    if done.returncode:
        print(done.stderr[-6000:], file=sys.stderr)
    executions = int(stats.get("number_of_executed_units", 0))
    print(
        f"{executions:,} executions in {took:.0f} s, atheris {version('atheris')}, PyYAML {version('PyYAML')}"
    )
    branches, peak = covered[-1][0] if covered else "?", stats.get("peak_rss_mb", "?")
    print(f"{branches} branches covered, {inputs} inputs in the corpus, at most {peak} MiB")
    print("nothing found" if not done.returncode else f"found something: see {options.findings}")
    figures = {"benchmark": "fuzz_documents", "executions": executions, "seconds": round(took)}
    print(json.dumps(figures | {"found": int(done.returncode != 0)}))
    sys.exit(77 if done.returncode else 0)


if __name__ == "__main__":
    main()
