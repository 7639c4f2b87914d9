"""The frame of the command line: exit codes, no tracebacks, nothing heavy imported."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from coherence_ft.cli import main
from coherence_ft.documents.diagnostics import refusal

ROOT = Path(__file__).parent.parent


def _raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(main._LazyGroup, "get_command", lambda self, ctx, name: command)


def _wrapped(inner: BaseException) -> Exception:
    try:
        raise RuntimeError("while saving") from inner
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (refusal("CFT101", "nothing there", path="x.yaml"), 1, "error[CFT101] nothing there"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "model.safetensors"), 1, "error[CFT708]"),
        (OSError(errno.EFBIG, "File too large"), 1, "error[CFT708]"),
        (_wrapped(OSError(errno.EDQUOT, "Disk quota exceeded")), 1, "error[CFT708]"),
        (
            RuntimeError("Error while serializing: IoError(Os { code: 28, kind: StorageFull })"),
            1,
            "error[CFT708]",
        ),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), 1, "error[CFT708]"),
        (ModuleNotFoundError("No module named 'torch'", name="torch.nn"), 1, "error[CFT709]"),
        (
            ModuleNotFoundError("No module named 'oops'", name="oops"),
            3,
            "internal error: ModuleNotFoundError",
        ),
        (ValueError("line one\nline two"), 3, "internal error: ValueError: line one line two"),
        (OSError(errno.EACCES, "Permission denied"), 3, "internal error: PermissionError"),
        (click.UsageError("wrong"), 2, "Error: wrong"),
        (click.exceptions.Exit(5), 5, ""),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, BaseException) else None,
)
def test_every_end_has_its_exit_code_and_no_traceback(
    error: BaseException,
    exit_code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _raising(monkeypatch, error)
    monkeypatch.delenv("COHERENCE_FT_TRACEBACK", raising=False)
    assert main._run(["validate"]) == exit_code
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err + printed.out


def test_traceback_on_demand(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _raising(monkeypatch, ValueError("deep"))
    monkeypatch.setenv("COHERENCE_FT_TRACEBACK", "1")
    assert main._run(["validate"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_usage_errors_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main._run(["vlidate"]) == 2
    assert "Did you mean 'validate'?" in capsys.readouterr().err
    assert main._run(["validate"]) == 2
    assert main._run(["validate", "--no-such-option"]) == 2
    assert main._run(["--help"]) == 0


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_listed_command_exists(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main._run([name, "--help"]) == 0
    assert "Usage: coherence-ft " + name in capsys.readouterr().out


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)


def test_the_core_imports_no_torch() -> None:
    """Floors 1 to 3 but `models`, and every subcommand as far as its `--help`."""
    code = """
import importlib, pkgutil, sys
import coherence_ft
from coherence_ft.cli import main
for room in ("documents", "authority", "evidence", "loops", "manifest", "cli"):
    package = importlib.import_module(f"coherence_ft.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"coherence_ft.{room}."):
        importlib.import_module(module.name)
print(sorted({"torch", "transformers", "trl", "peft", "datasets", "bitsandbytes"} & set(sys.modules)))
"""
    result = _python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[]\n"


def test_validate_and_verify_load_no_numeric_library() -> None:
    code = """
import sys
from coherence_ft.cli import main
assert main._run(["validate", "recipes/quickstart.yaml"]) == 0
import coherence_ft.cli.verify
print(sorted({"numpy", "scipy", "torch", "rich"} & set(sys.modules)))
"""
    result = _python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"


def test_environment_is_set_before_anything_is_imported_and_never_overridden() -> None:
    names = ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    code = f"import os, coherence_ft.cli.main; print(*(os.environ[n] for n in {names}))"
    environment = {k: v for k, v in os.environ.items() if k not in names}
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment | {"DO_NOT_TRACK": "0"},
    )
    assert result.stdout.split() == ["1", "0"]


def test_a_reader_that_goes_away_causes_no_traceback() -> None:
    command = f"{sys.executable} -m coherence_ft explain | head -n 1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.startswith("CFT101")
    assert result.stderr == ""


def test_interrupt_from_the_terminal() -> None:
    code = (
        "import os, signal, threading, click\n"
        "from coherence_ft.cli import main\n"
        "@click.command()\n"
        "def command():\n"
        "    threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "    threading.Event().wait(30)\n"
        "main._LazyGroup.get_command = lambda self, ctx, name: command\n"
        "main.main(['train'])\n"
    )
    result = _python(code)
    assert result.returncode == 128 + signal.SIGINT
    assert result.stderr.strip() == "interrupted"


def test_no_control_sequence_of_a_document_reaches_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": "\x1b[2J\\u001b[2J", "kind": "\\u001b]0;title\\u0007"}\n')
    assert main._run(["validate", str(path)]) == 1
    path.write_bytes(b'{"kind": "question", "\\u001b[2Jx": 1}\n')
    assert main._run(["validate", str(path)]) == 1
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "\x07" not in printed
