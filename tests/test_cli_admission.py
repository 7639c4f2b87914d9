"""Admission, trust in file times, countersigning and the progress bar, as a user meets them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from derivatives import ESTIMATES, TOO_RISKY, WAIVER, Signed, signed_derivative
from test_cli_manifest import TENANT, run, tenant_in

from coherence_ft.authority.keys import generate
from coherence_ft.cli import hashing
from coherence_ft.documents.canonical import file_digest
from coherence_ft.manifest.files import countersignature
from coherence_ft.manifest.statement import ENGINE_VERSION, LOOPS, Stage

COUNTERSIGNING = """\
  - {id: risk, title: Risk, level: tenant, powers: [countersign], public_keys: [keys/risk.pub.pem]}
  - {id: board, title: Board, level: tenant, powers: [countersign], public_keys: [keys/board.pub.pem]}
countersignatures:
  - {authorities: [risk], domains: [clinical], reason: four eyes}
layers:
"""


@pytest.fixture
def signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signed:
    signed = signed_derivative(tmp_path)
    monkeypatch.setenv("COHERENCE_FT_TENANT", str(tenant_in(tmp_path)))
    monkeypatch.setenv("COHERENCE_FT_CACHE", str(tmp_path / "cache"))
    return signed


@pytest.fixture
def demanding(signed: Signed, tmp_path: Path) -> Signed:
    """The same under a tenant that demands a countersignature by `risk`."""
    generate(signed.keys, "risk", "p384")
    generate(signed.keys, "board", "ed25519")
    (tmp_path / "tenant.yaml").write_text(TENANT.replace("layers:\n", COUNTERSIGNING))
    return signed


def admitted(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code = run("verify", *arguments, "--admission")
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and out.endswith("\n") and not err
    return code, json.loads(out)


def test_admission_says_what_a_deployment_needs_in_one_line(
    signed: Signed, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = admitted(capsys, signed.folder)
    assert code == 0
    assert said["verified"] is True and said["digest"] == file_digest(signed.manifest)
    assert (said["stage"], said["name"], said["tenant"], said["domain"]) == (
        "certified",
        "clinical-icd",
        "hospital",
        "clinical",
    )
    assert (said["signer"], said["countersigners"], said["modelSigned"]) == ("model-risk", [], False)
    assert (said["loops"], said["engineVersion"]) == (list(LOOPS), ENGINE_VERSION)
    assert said["waiversExpire"] is None and said["fileTimesTrusted"] is False
    page = (Path(__file__).parent.parent / "docs" / "interop.md").read_text(encoding="utf-8")
    assert not [name for name in said if f"`{name}`" not in page and name != "folder"]


def test_admission_names_the_first_day_on_which_a_waiver_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from coherence_ft.cli import verify as command
    from coherence_ft.manifest.verify import verify

    signed = signed_derivative(
        tmp_path, waivers=(WAIVER,), estimates=ESTIMATES | {"selective-risk": TOO_RISKY}
    )
    monkeypatch.setattr(
        command, "verify", lambda folder, tenant, **how: verify(folder, signed.tenant, today=DAY, **how)
    )
    code, said = admitted(capsys, signed.folder)
    assert (code, said["waiversExpire"]) == (0, WAIVER.expires.isoformat())


DAY = date(2026, 5, 20)


def test_admission_refuses_in_one_line(
    signed: Signed, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (signed.folder / "extra").write_text("")
    (signed.folder / "adapter_config.json").write_text("{}")
    code, said = admitted(capsys, signed.folder)
    assert code == 1 and said["verified"] is False and said["codes"] == ["CFT614", "CFT616"]
    assert len(said["problems"]) == 2 and "adapter_config.json" in said["problems"][0]
    code, said = admitted(capsys, tmp_path / "nowhere")
    assert (code, said["codes"]) == (1, ["CFT601"])
    monkeypatch.delenv("COHERENCE_FT_TENANT")
    monkeypatch.chdir(tmp_path)
    code, said = admitted(capsys, signed.folder)
    assert (code, said["codes"]) == (1, ["CFT321"])


def test_a_checkpoint_is_not_admitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = signed_derivative(tmp_path, Stage.MONITORING)
    monkeypatch.setenv("COHERENCE_FT_TENANT", str(tenant_in(tmp_path)))
    assert run("verify", signed.folder) == 0
    capsys.readouterr()
    code, said = admitted(capsys, signed.folder)
    assert (code, said["codes"]) == (1, ["CFT647"])


def test_a_missing_countersignature_keeps_it_out_until_it_is_given(
    demanding: Signed, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = admitted(capsys, demanding.folder)
    assert (code, said["codes"]) == (1, ["CFT622"]) and "risk" in said["problems"][0]
    assert run("countersign", demanding.folder, "--authority", "board") == 0
    out = capsys.readouterr().out
    assert "countersignatures still awaited: risk" in out and "no model.sig: " in out and "Ed25519" in out
    assert run("countersign", demanding.folder, "--authority", "risk") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "is signed by risk" in out and file_digest(demanding.manifest) in out
    code, said = admitted(capsys, demanding.folder)
    assert (code, said["countersigners"], said["modelSigned"]) == (0, ["board", "risk"], True)
    assert run("verify", demanding.folder) == 0
    assert "countersigned by board, countersigned by risk" in capsys.readouterr().out
    assert run("show", demanding.folder) == 0
    assert "countersigned by risk" in capsys.readouterr().out
    assert run("show", demanding.folder, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["countersigners"] == ["board", "risk"]
    assert run("countersign", demanding.folder, "--authority", "risk") == 0
    assert "was signed before by risk" in capsys.readouterr().out


def test_countersign_refuses_as_every_command_does(
    demanding: Signed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, code in (
        (("--authority", "nobody"), "CFT301"),
        (("--authority", "training"), "CFT632"),
        (("--authority", "model-risk"), "CFT624"),
        (("--authority", "risk", "--key", demanding.keys / "board.pem"), "CFT666"),
        (("--authority", "risk", "--key", tmp_path / "nowhere.pem"), "CFT662"),
    ):
        assert run("countersign", demanding.folder, *arguments) == 1
        out, err = capsys.readouterr()
        assert not out and code in err
    assert run("countersign", tmp_path / "nowhere", "--authority", "risk") == 1
    assert "CFT601" in capsys.readouterr().err
    assert not list(demanding.folder.glob("coherence_manifest.*.sigstore.json"))
    assert not (demanding.folder / countersignature("risk")).exists()


def test_trusting_file_times_is_said(signed: Signed, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        code, said = admitted(capsys, signed.folder, "--trust-file-times")
        assert code == 0 and said["fileTimesTrusted"] is True


@pytest.mark.parametrize("arguments", [("verify",), ("verify", "--admission"), ("countersign",)])
def test_verifying_never_loads_torch_or_what_it_does_not_need(
    signed: Signed, arguments: tuple[str, ...]
) -> None:
    """What the cold start consists of: a module that is not imported costs nothing on any machine."""
    command, *options = arguments
    more = ["--authority", "model-risk"] if command == "countersign" else []
    code = (
        "import sys\nfrom coherence_ft.cli.main import _run\n"
        f"_run({[command, str(signed.folder), *options, *more]!r})\n"
        "heavy = {'torch', 'numpy', 'scipy', 'transformers', 'rich', 'sigstore', 'pkcs11', 'jsonschema',"
        " 'cryptography.x509', 'coherence_ft.auditing', 'coherence_ft.models'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]", done.stderr


# --- the progress bar ---


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("long", [0.0, 3600.0])
def test_a_bar_is_shown_where_it_takes_long(long: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from coherence_ft.manifest.hashing import _WATCH

    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(hashing, "_LONG", long)
    monkeypatch.setenv("TERM", "xterm")
    with hashing.hashing_shown():
        watch = _WATCH.get()
        assert watch is not None
        for total in (100, 200):  # signing, then verifying what was signed
            for done in range(0, total + 1, 50):
                watch(done, total)
                time.sleep(0.001)
    assert ("sha256" in terminal.getvalue()) is (long == 0)
    assert _WATCH.get() is None


def test_no_bar_off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from coherence_ft.manifest.hashing import _WATCH

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with hashing.hashing_shown():
        assert _WATCH.get() is None
