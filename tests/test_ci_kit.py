"""What other projects take from here: pre-commit hooks, the GitHub action, the GitLab jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from coherence_ft.cli import main

ROOT = Path(__file__).parent.parent
ACTION: Any = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
HOOKS: Any = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
GITLAB: Any = yaml.safe_load((ROOT / "docs" / "gitlab-ci.yml").read_text(encoding="utf-8"))
CLINICAL = (ROOT / "schema" / "domains" / "clinical.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "command",
    [
        ["check_jsonschema", "--builtin-schema", "vendor.github-actions", "action.yml"],
        ["check_jsonschema", "--builtin-schema", "vendor.gitlab-ci", "docs/gitlab-ci.yml"],
        ["pre_commit", "validate-manifest", ".pre-commit-hooks.yaml"],
    ],
    ids=lambda command: command[-1],
)
def test_the_files_are_what_their_readers_expect(command: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one clean constraint set, committed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "with space").mkdir()
    (tmp_path / "with space" / "clinical.yaml").write_text(CLINICAL, encoding="utf-8")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *arguments], check=True)
    return tmp_path


def _loosen(project: Path, old: str, new: str) -> None:
    assert old in CLINICAL
    path = project / "with space" / "clinical.yaml"
    path.write_text(CLINICAL.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_hooks_run_on_a_folder(hook: dict[str, Any], project: Path) -> None:
    program, *arguments = hook["entry"].split() + hook["args"]
    assert program == "coherence-ft"
    assert main._run(arguments) == 0
    (project / "wrong.yaml").write_text("apiVersion: coherence-ft/v1\nkind: constraint-set\nid: [\n")
    assert main._run(arguments) == 1


def _step(id: str, project: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a step's script as the runner does: https://docs.github.com/actions/reference (`shell: bash`)."""
    (step,) = [step for step in ACTION["runs"]["steps"] if step.get("id") == id]
    assert "${{" not in step["run"]
    assert step["env"].keys() == variables.keys()
    script = project / ".git" / "script.sh"
    script.write_text(step["run"], encoding="utf-8")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    summary = str(project / ".git" / "summary.md")
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        cwd=project,
        env=os.environ | variables | {"PATH": path, "GITHUB_STEP_SUMMARY": summary},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_action_annotates_and_leaves_sarif(project: Path) -> None:
    given = {"PATHS": "with space\n", "SARIF": "out.sarif", "STRICT": "false"}
    result = _step("validate", project, **given)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    _loosen(project, "confidence: 0.95", "confidence: 1.95")
    result = _step("validate", project, **given)
    assert result.returncode == 1
    assert result.stdout.startswith("::error file=with space/clinical.yaml,line=")
    (run,) = json.loads((project / "out.sarif").read_text(encoding="utf-8"))["runs"]
    assert [r["ruleId"] for r in run["results"]] == ["CFT206"]


def test_the_action_can_fail_on_warnings(project: Path) -> None:
    (project / "pyproject.toml").write_text('[tool.coherence-ft.validate]\nseverity = {CFT206 = "warning"}\n')
    _loosen(project, "confidence: 0.95", "confidence: 1.95")
    given = {"PATHS": ".", "SARIF": "out.sarif"}
    assert _step("validate", project, **given, STRICT="false").returncode == 0
    assert _step("validate", project, **given, STRICT="true").returncode == 1


def test_text_in_an_input_is_never_run(project: Path) -> None:
    given = {"PATHS": '$(touch pwned)\n"; touch pwned; "', "SARIF": "out.sarif", "STRICT": "; touch pwned"}
    assert _step("validate", project, **given).returncode == 1
    assert not (project / "pwned").exists()


def test_the_action_refuses_a_relaxation_and_says_so_in_the_summary(project: Path) -> None:
    pytest.importorskip("coherence_ft.cli.diff")
    _loosen(project, "at_most: 0.02", "at_most: 0.04")
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qam", "b"], check=True)
    result = _step("diff", project, PATHS="with space", BASE="HEAD~1")
    assert result.returncode == 1, result.stderr
    summary = (project / ".git" / "summary.md").read_text(encoding="utf-8")
    assert summary == result.stdout
    assert "0.02" in summary and "0.04" in summary
    assert _step("diff", project, PATHS="with space", BASE="HEAD").returncode == 0


def test_gitlab_jobs_call_commands_that_exist() -> None:
    lines = [line for job in GITLAB.values() if isinstance(job, dict) for line in job.get("script", ())]
    called = [line.split()[1] for line in lines if line.startswith("coherence-ft ")]
    assert called == ["validate", "diff"]
    assert set(called) <= main.COMMANDS.keys()
