"""`diff` on the command line: golden pairs, git revisions, formats, and the workflow as CI runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from coherence_ft.cli import main

GOLDEN = Path(__file__).parent / "golden" / "diff"
CASES = sorted(p.name for p in GOLDEN.iterdir() if p.is_dir())


def run(*arguments: str | Path) -> int:
    return main._run([str(a) for a in arguments])


def matches(expected: Path, text: str) -> None:
    """Digests and the number of published constraints are not what these tests are about."""
    text = re.sub(r"\b[0-9a-f]{64}\b", "(digest)", text)
    text = re.sub(r"\d\d+ constraints unchanged", "(many) constraints unchanged", text)
    if os.environ.get("COHERENCE_FT_GOLDEN"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`COHERENCE_FT_GOLDEN=1 pytest` writes the expected files anew; read their diff."""
    monkeypatch.chdir(GOLDEN / case)
    code = run("diff", "old", "new")
    matches(GOLDEN / case / "expected.txt", capsys.readouterr().out)
    assert code == (1 if case.startswith("refused-") else 0)


@pytest.mark.parametrize("form", ["markdown", "json", "github"])
def test_golden_formats(
    form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(GOLDEN / "refused-authority")
    assert run("diff", "old", "new", "--format", form) == 1
    matches(GOLDEN / "refused-authority" / f"expected.{form}", capsys.readouterr().out)


# --- the workflow -----------------------------------------------------------------------------------------


def git(*arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *arguments],
        check=True,
        capture_output=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
    )


def replace(path: str, old: str, new: str) -> None:
    text = Path(path).read_text(encoding="utf-8")
    assert old in text
    Path(path).write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A repository as `init` makes it, on a branch of its own."""
    root = tmp_path / "harbour"
    root.mkdir()
    monkeypatch.chdir(root)
    assert run("init", ".", "--tenant", "harbour", "--domain", "clinical") == 0
    git("init", "--initial-branch=main")
    git("add", ".")
    git("commit", "--message=documents")
    git("checkout", "-b", "pilot")
    capsys.readouterr()
    return root


def commit() -> None:
    git("commit", "--all", "--message=change")


WAIVER = """\
waivers:
  - constraint: selective-risk-60
    domain: clinical
    bound: 0.05
    requested_by: model-risk
    approved_by: [{}]
    reason: Pilot with two people who check every answer.
    expires: "2099-12-31"
"""


def test_a_branch_that_loosens_a_clinical_bound_fails(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The two commands of the workflow that `init` writes."""
    replace("constraints/clinical.yaml", "at_most: 0.04", "at_most: 0.045")
    commit()
    assert run("validate", "tenant.yaml", "constraints", "recipes") == 0
    capsys.readouterr()
    assert run("diff", "main", "HEAD") == 1
    matches(GOLDEN / "workflow-refused.txt", capsys.readouterr().out)
    assert run("diff", "main", "HEAD", "--format", "github") == 1
    line = Path("constraints/clinical.yaml").read_text().splitlines().index("  - id: selective-risk-60") + 1
    assert capsys.readouterr().out.startswith(f"::error file=constraints/clinical.yaml,line={line},col=5,")


def test_with_a_valid_waiver_it_passes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace("constraints/clinical.yaml", "at_most: 0.04", "at_most: 0.045")
    with Path("tenant.yaml").open("a", encoding="utf-8") as file:
        file.write(WAIVER.format("compliance"))
    commit()
    assert run("validate", "tenant.yaml", "constraints", "recipes") == 0
    capsys.readouterr()
    assert run("diff", "main", "HEAD") == 0
    matches(GOLDEN / "workflow-waived.txt", capsys.readouterr().out)


def test_a_change_cannot_grant_its_own_approver(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(
        "tenant.yaml",
        "level: query\n    powers: [attest]",
        "level: regulated-unit\n    powers: [attest, waive]",
    )
    with Path("tenant.yaml").open("a", encoding="utf-8") as file:
        file.write(WAIVER.format("engineering"))
    commit()
    assert run("validate", "tenant.yaml") == 0
    capsys.readouterr()
    assert run("diff", "main", "HEAD") == 1
    out = capsys.readouterr().out
    assert "relaxed    authority engineering" in out
    assert "relaxed    clinical / selective-risk-60: waiver none" in out


# --- where sides come from --------------------------------------------------------------------------------


def test_a_revision_leaves_the_work_tree_alone(project: Path) -> None:
    replace("constraints/clinical.yaml", "at_most: 0.04", "at_most: 0.05")  # not committed
    before = Path("constraints/clinical.yaml").read_bytes()
    assert run("diff", "main", "HEAD") == 0
    assert run("diff", "HEAD", ".") == 1
    assert run("diff", "HEAD", "constraints/clinical.yaml") == 1
    assert run("diff", "HEAD", ".", "recipes") == 1  # with the tenant that the recipe names
    assert Path("constraints/clinical.yaml").read_bytes() == before
    status = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True)
    assert status.stdout == " M constraints/clinical.yaml\n"


def test_a_revision_with_a_path_and_from_a_folder_below(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace("constraints/clinical.yaml", "at_most: 0.04", "at_most: 0.05")
    commit()
    assert run("diff", "main:constraints", "HEAD:constraints") == 1
    assert "constraint set harbour-clinical" in capsys.readouterr().out
    monkeypatch.chdir("constraints")
    assert run("diff", "main", "HEAD") == 1
    assert run("diff", "main:./clinical.yaml", "clinical.yaml") == 1
    assert run("diff", "main", "HEAD", ".") == 1
    assert (
        "tenant harbour" not in capsys.readouterr().out.partition("constraint set")[2].partition("tenant")[2]
    )


def test_a_name_that_is_a_file_and_a_branch_is_the_file(project: Path) -> None:
    git("branch", "constraints")
    replace("constraints/clinical.yaml", "at_most: 0.04", "at_most: 0.05")
    assert run("diff", "main:constraints", "constraints") == 1
    assert run("diff", "constraints", "constraints") == 0


@pytest.mark.parametrize(
    "name", ["nowhere", "--all", "-x", "main:nowhere", "main:../..", "HEAD~99", "a\0b", ":/x", "{"]
)
def test_what_is_neither_file_nor_revision(
    name: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("diff", "--", name, "HEAD") == 1
    assert "error[CFT345]" in capsys.readouterr().out


def test_a_shallow_clone_says_how_to_fetch(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace("tenant.yaml", "title: Compliance", "title: Compliance office")
    commit()
    git("clone", "--depth=1", project.as_uri(), str(tmp_path / "clone"))
    monkeypatch.chdir(tmp_path / "clone")
    assert run("diff", "HEAD~1", "HEAD") == 1
    assert "fetch-depth: 0" in capsys.readouterr().out


def test_outside_a_repository_and_without_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert run("diff", "main", "HEAD") == 1
    assert "there is no git repository around" in capsys.readouterr().out
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("diff", "main", "HEAD") == 1
    assert "git cannot be run" in capsys.readouterr().out


def test_links_are_followed_inside_and_never_out(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret.yaml").write_text("apiVersion: coherence-ft/v1\nkind: secret-of-somebody\n")
    Path("linked.yaml").symlink_to("tenant.yaml")
    Path("out.yaml").symlink_to(tmp_path / "secret.yaml")
    Path("up.yaml").symlink_to("../secret.yaml")
    Path("folder").symlink_to("constraints")
    Path("round").symlink_to("round")
    git("add", ".")
    git("commit", "--message=links")
    assert run("diff", "main", "HEAD") == 0  # a link is the document that it leads to
    assert capsys.readouterr().out.endswith("constraints unchanged\n")
    assert run("diff", "HEAD:linked.yaml", "HEAD:folder/../tenant.yaml") == 0


def test_a_hostile_tree_writes_nothing_outside(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git itself refuses to check such a tree out; whoever pushed it hopes that somebody else does."""

    def made(kind: str, data: bytes) -> bytes:
        command = ["git", "hash-object", "-w", "-t", kind, "--stdin", "--literally"]
        return bytes.fromhex(
            subprocess.run(command, input=data, capture_output=True, check=True).stdout.decode()
        )

    blob = made("blob", b"kind: evil\n")
    inner = made("tree", b"100644 evil.yaml\0" + blob)
    outer = made("tree", b"40000 ..\0" + inner + b"40000 .git\0" + inner)
    name = made(
        "commit", b"tree %s\nauthor T <t> 0 +0000\ncommitter T <t> 0 +0000\n\nx" % outer.hex().encode()
    ).hex()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    written: list[Path] = []
    monkeypatch.setattr(Path, "write_bytes", lambda self, data: written.append(self))
    assert run("diff", name, name) == 1
    assert written == []


def test_other_peoples_yaml_is_passed_over(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("compose.yaml").write_text("x: &a 1\ny: *a\n")
    Path("huge.yaml").write_text("- 1\n" * 2**19)
    Path("broken.yml").write_text("{")
    git("add", ".")
    git("commit", "--message=more")
    assert run("diff", "main", "HEAD") == 0
    assert "problem" not in capsys.readouterr().out


def test_a_document_that_cannot_be_read_is_not_other_peoples(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("tenant.yaml").open("a") as file:
        file.write("title: twice\n")
    commit()
    assert run("diff", "main", "HEAD") == 1
    out = capsys.readouterr().out
    assert "error[CFT108]" in out
    assert "removed" not in out  # it is not gone, it is broken
    assert run("diff", "HEAD", "main") == 1
    assert "error[CFT344]" in capsys.readouterr().out


def test_diagnostics_name_the_revision_and_no_temporary_folder(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace("constraints/clinical.yaml", "at_most: 0.04", "at_most: 0.06")  # looser than what it extends
    commit()
    git("checkout", "main")
    assert run("diff", "main", "pilot") == 1
    out = capsys.readouterr().out
    assert "pilot:constraints/clinical.yaml:" in out
    assert "coherence-ft-" not in out.replace("coherence-ft explain", "")


# --- formats ----------------------------------------------------------------------------------------------


@pytest.fixture
def loosened(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(GOLDEN / "refused-bound-loosened")
    yield


def test_reports_by_name(loosened: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("a.md", "a.sarif", "a.xml", "a.json")
    options = [text for name in names for text in ("--output", str(tmp_path / name))]
    assert run("diff", "old", "new", *options) == 1
    assert (tmp_path / "a.md").read_text().startswith("### Coherence constraints: this change relaxes")
    results = json.loads((tmp_path / "a.sarif").read_text())["runs"][0]["results"]
    assert [(r["ruleId"], r["level"]) for r in results] == [("CFT341", "error")]
    suite = ElementTree.fromstring((tmp_path / "a.xml").read_text())
    assert suite.get("failures") == "1"
    data = json.loads((tmp_path / "a.json").read_text())
    assert data["blocked"] is True
    assert data["old"]["digest"] != data["new"]["digest"]


def test_json_is_the_same_wherever_documents_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = GOLDEN / "refused-recipe" / "old"
    shutil.copytree(old, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    assert run("diff", old, "elsewhere", "--format", "json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["changes"] == []
    assert data["old"]["digest"] == data["new"]["digest"]
    assert json.dumps(data) == json.dumps(data, sort_keys=True)


def test_markdown_gives_documents_no_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, phrase in (("old", "plain"), ("new", "</td><img src=x> | [here](javascript:1) @everyone `x`")):
        folder = tmp_path / side
        folder.mkdir()
        text = (GOLDEN / "refused-bare-set" / "old" / "constraints" / "clinical.yaml").read_text()
        (folder / "set.yaml").write_text(text.replace("forbidden: [i guarantee]", f'forbidden: ["{phrase}"]'))
    assert run("diff", tmp_path / "old", tmp_path / "new", "--format", "markdown") == 1
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| **relaxed**")]
    assert "<img" not in row and "](" not in row and "@everyone" not in row.replace("\\@", "")
    assert row.replace("\\|", "").count("|") == 7


def test_usage(loosened: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("diff", "old") == 2
    assert run("diff", "old", "new", "--format", "yaml") == 2
    assert run("diff", "old", "new", "--output", "nowhere/a.md") == 2
    assert run("diff", "old/tenant.yaml", "new/tenant.yaml", "constraints") == 1
    assert "PATH narrows folders and revisions" in capsys.readouterr().out
    assert run("diff", "old", "new", "nowhere") == 1
    assert "error[CFT344]" in capsys.readouterr().out
