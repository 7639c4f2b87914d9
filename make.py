"""The two commands of a fresh clone, with nothing but Python and git: `python3 make.py quickstart | test`.

Standard library only: this runs before anything is installed. Both make the environment `.venv` first,
with the versions that were tested (constraints.txt).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
SCRIPTS = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = SCRIPTS / ("python.exe" if os.name == "nt" else "python")
CLI = SCRIPTS / ("coherence-ft.exe" if os.name == "nt" else "coherence-ft")
RUN = Path("runs/quickstart")


def quickstart() -> None:
    """Base model, real clinical questions, training with the loops on, a certified derivative."""
    install("train")
    step("questions from ICD-10-CM", PYTHON, "examples/build_clinical.py")
    step("a key pair for the signing authority", CLI, "keys", "init", "--authority", "model-risk")
    step("check the recipe and everything it names", CLI, "validate", "recipes/quickstart.yaml")
    if not (ROOT / RUN / "derivative").exists():
        resume = ["--resume"] if any((ROOT / RUN).glob("checkpoint-*")) else []
        step("fine-tune with the loops attached", CLI, "train", "recipes/quickstart.yaml", *resume)
        step("certify on questions never seen", CLI, "promote", last_checkpoint())
    step("verify, as anybody else would", CLI, "verify", RUN / "derivative")
    step("derive every signed figure again", CLI, "verify", RUN / "derivative", "--recompute")
    step("the manifest for people", CLI, "show", RUN / "derivative")


def test() -> None:
    """The whole suite, the tests on the real 135M model included."""
    install("train,dev")
    step("tests", PYTHON, "-m", "pytest", *sys.argv[2:])


def install(extras: str) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - this file runs before pip could say so
        sys.exit(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}")
    if not PYTHON.exists():
        try:
            venv.create(ENVIRONMENT, with_pip=True)
        except subprocess.CalledProcessError:
            sys.exit("Python's venv module cannot make an environment; on Debian: apt install python3-venv")
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check"]
    step(f"environment with [{extras}]", *pip, "-c", "constraints.txt", "-e", f".[{extras}]")


def last_checkpoint() -> Path:
    found = (ROOT / RUN).glob("checkpoint-*")
    return max(found, key=lambda p: int(p.name.rsplit("-", 1)[1])).relative_to(ROOT)


def step(title: str, *command: object) -> None:
    """Run one command in the checkout; stop with its exit code if it fails."""
    print(f"\n── {title}: {' '.join(Path(str(c)).name if c in (PYTHON, CLI) else str(c) for c in command)}")
    started = time.monotonic()
    code = subprocess.run([str(c) for c in command], cwd=ROOT, check=False).returncode
    if code:
        sys.exit(code)
    print(f"── {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    tasks = {"quickstart": quickstart, "test": test}
    if len(sys.argv) < 2 or sys.argv[1] not in tasks:
        sys.exit(f"usage: {Path(sys.argv[0]).name} {' | '.join(tasks)}")
    started = time.monotonic()
    tasks[sys.argv[1]]()
    print(f"\nall done in {(time.monotonic() - started) / 60:.1f} minutes")
