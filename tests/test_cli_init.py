"""`init`: what it writes passes at once, and it never touches what somebody wrote."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from coherence_ft.authority.resolve import resolve
from coherence_ft.cli import main
from coherence_ft.documents.constraint_set import DOMAINS, Level
from coherence_ft.documents.recipe import read_recipe_and_tenant

DOCUMENTS = ("tenant.yaml", "constraints", "recipes")


def run(*arguments: str | Path) -> int:
    return main._run([str(a) for a in arguments])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("domain", [*DOMAINS, "treasury"])
def test_what_is_written_passes_at_once(
    domain: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("init", "harbour", "--domain", domain) == 0
    for path in re.findall(r"^wrote (.+)$", capsys.readouterr().out, re.MULTILINE):
        assert Path(path).is_file()
        assert "@@" not in Path(path).read_text()
    assert run("validate", "harbour") == 0
    assert capsys.readouterr().out == "no problems found\n"  # nor warnings
    monkeypatch.chdir("harbour")
    assert run("fmt", "--check", *DOCUMENTS) == 0
    assert run("resolve", "recipes/first.yaml", "--format", "json") == 0
    data = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert (data["tenant"], data["domain"]) == ("harbour", domain)
    assert {each["layer"] for each in data["named_constraints"]} >= {
        "regulated-unit: " + ("harbour-" + domain)
    }
    assert run("diff", ".", ".") == 0


@pytest.mark.parametrize("domain", [*DOMAINS, "treasury"])
def test_one_published_bound_is_tightened_and_the_rest_taken_over(domain: str) -> None:
    assert run("init", "ours", "--domain", domain) == 0
    recipe, tenant = read_recipe_and_tenant("ours/recipes/first.yaml")
    resolved = resolve(tenant, domain, recipe.constraints)
    tightened = [r for r in resolved.constraints if r.layer.endswith(tenant.layers[0].constraint_set.id)]
    (one,) = tightened
    assert one.replaced
    assert all(one.constraint.direction.is_looser(r.bound, one.constraint.bound) for r in one.replaced)
    assert one.constraint.waiver_floor is not None
    assert len(resolved.constraints) > 8
    assert resolved.warnings == ()
    assert {a.level for a in tenant.authorities} == {Level.REGULATED_UNIT, Level.TENANT, Level.QUERY}


def test_an_own_domain_is_declared_and_a_slip_is_pointed_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("init", "ours", "--domain", "clinial") == 0
    assert "clinial is no published domain" in (out := capsys.readouterr().out)
    assert "did you mean clinical?" in out
    assert yaml.safe_load(Path("ours/tenant.yaml").read_text())["domains"] == ["clinial"]
    assert "published:general" in Path("ours/constraints/clinial.yaml").read_text()


def test_the_workflow_pins_its_actions_and_gives_branches_no_say() -> None:
    assert run("init", ".") == 0
    path = Path(".github/workflows/coherence.yml")
    workflow = yaml.safe_load(path.read_text())
    steps = workflow["jobs"]["constraints"]["steps"]
    uses = [step["uses"] for step in steps if "uses" in step]
    assert uses and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", each) for each in uses)
    assert workflow["permissions"] == {"contents": "read"}
    assert steps[0]["with"]["fetch-depth"] == 0
    scripts = [step["run"] for step in steps if "run" in step]
    assert any("coherence-ft validate" in script for script in scripts)
    assert any('coherence-ft diff "origin/$BASE" HEAD --format github' in script for script in scripts)
    # A branch name in the script's text would run as code.
    assert not any("${{" in script for script in scripts)
    assert workflow[True].keys() == {"push", "pull_request"}  # YAML 1.1 takes `on` for a boolean


def test_gitlab_and_none() -> None:
    assert run("init", "a", "--ci", "gitlab") == 0
    job = yaml.safe_load(Path("a/.gitlab-ci.yml").read_text())["coherence"]
    assert any("coherence-ft diff" in line for line in job["script"])
    assert not Path("a/.github").exists()
    assert run("init", "b", "--ci", "none") == 0
    assert not Path("b/.github").exists() and not Path("b/.gitlab-ci.yml").exists()


def test_the_tenant_is_found_and_private_keys_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("init", "ours") == 0
    monkeypatch.chdir("ours")
    settings = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["coherence-ft"]
    assert settings == {"tenant": "tenant.yaml"}
    assert run("keys", "init", "--authority", "model-risk") == 0
    lines = Path(".gitignore").read_text().splitlines()
    assert lines.index("*.pem") < lines.index("!*.pub.pem")


def test_nothing_is_written_where_a_file_exists(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    Path("recipes").mkdir()
    Path("recipes/first.yaml").write_text("mine")
    Path("tenant.yaml").symlink_to("nowhere")
    assert run("init", ".") == 1
    err = capsys.readouterr().err
    assert err.count("error[CFT346]") == 2
    assert contents(here) == {"recipes/first.yaml": "mine"}
    assert run("init", "fresh") == run("init", "fresh") - 1 == 0


def test_files_that_tools_share_are_left_and_the_lines_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("pyproject.toml", ".gitignore", ".pre-commit-config.yaml", ".gitlab-ci.yml"):
        Path(name).write_text("# mine\n")
    assert run("init", ".", "--ci", "gitlab") == 0
    out = capsys.readouterr().out
    for name in ("pyproject.toml", ".gitignore", ".pre-commit-config.yaml", ".gitlab-ci.yml"):
        assert Path(name).read_text() == "# mine\n"
        assert f"{name} is there already; add to it:" in out
    assert '    tenant = "tenant.yaml"\n' in out
    assert "keys init --authority model-risk --tenant tenant.yaml" in out
    assert run("validate", *DOCUMENTS) == 0


@pytest.mark.parametrize(
    "text", ["", "Ours", "a b", "a/b", "../x", "-a", "a-", "ä", "a" * 60, "a\nb", "a\n", "@@SET@@"]
)
def test_ids_that_are_none(text: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("init", "ours", f"--domain={text}") == 2
    assert "is not an id" in capsys.readouterr().err
    if text:  # without one, it is made of the folder's name
        assert run("init", "ours", f"--tenant={text}") == 2
        assert "--tenant" in capsys.readouterr().err
    assert contents(here) == {}


@pytest.mark.parametrize("name", ["Our Bank (EU)", "…", "x" * 80, "a_b.c"])
def test_the_tenant_is_named_after_the_folder(name: str) -> None:
    assert run("init", name) == 0
    assert run("validate", name) == 0


def test_a_folder_that_is_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("ours").write_text("mine")
    assert run("init", "ours") == 2
    assert "is a file" in capsys.readouterr().err
    assert run("init", "ours/below") == 1
    assert "error[CFT134]" in capsys.readouterr().err
    assert contents(here) == {"ours": "mine"}


def test_what_fails_half_way_leaves_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def full(self: Path, *arguments: object, **options: object) -> object:
        if self.name == "coherence.yml":
            raise OSError(28, os.strerror(28), str(self))
        return real(self, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", full)
    assert run("init", "ours") == 1
    monkeypatch.undo()
    err = capsys.readouterr().err
    assert "error[CFT134]" in err and "No space left" in err
    assert list(here.iterdir()) == []


def test_a_folder_that_is_read_only(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "ours").mkdir(mode=0o500)
    if os.geteuid() == 0:  # root may write anywhere

        def denied(self: Path, *_: object, **__: object) -> None:
            raise PermissionError(13, os.strerror(13), str(self))

        monkeypatch.setattr(Path, "mkdir", denied)
    assert run("init", "ours") == 1
    monkeypatch.undo()
    assert "error[CFT134]" in capsys.readouterr().err
    assert contents(here) == {}


def test_the_templates_ship(here: Path) -> None:
    """Hatch packs what git does not ignore below the package: no template is named like that."""
    root = Path(main.__file__).parent / "starter"
    ignored = (root.parent.parent.parent / ".gitignore").read_text().split()
    names = [p.name for p in root.iterdir()]
    assert names and all(name.endswith(".template") for name in names)
    assert not {"*.template", "starter/"} & set(ignored)
