"""Where the tenant document comes from, and where it never comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from coherence_ft.authority.trust import VARIABLE, find_tenant
from coherence_ft.documents.diagnostics import CoherenceError


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three tenants, one named by its pyproject.toml; we stand in a folder below it."""
    monkeypatch.delenv(VARIABLE, raising=False)
    for name in ("explicit", "variable", "project"):
        (tmp_path / f"{name}.yaml").write_text("id: t\n")
    (tmp_path / "pyproject.toml").write_text('[tool.coherence-ft]\ntenant = "project.yaml"\n')
    below = tmp_path / "deep" / "below"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    return tmp_path


def test_explicit_before_variable_before_project(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_tenant() == work / "project.yaml"
    monkeypatch.setenv(VARIABLE, str(work / "variable.yaml"))
    assert find_tenant() == work / "variable.yaml"
    assert find_tenant(work / "explicit.yaml") == work / "explicit.yaml"


def test_project_file_without_our_section_is_passed_over(work: Path) -> None:
    (work / "deep" / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert find_tenant() == work / "project.yaml"


def test_nearest_project_file_wins(work: Path) -> None:
    (work / "deep" / "pyproject.toml").write_text('[tool.coherence-ft]\ntenant = "../explicit.yaml"\n')
    assert find_tenant().resolve() == work / "explicit.yaml"


def test_what_is_checked_cannot_name_its_judge(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    derivative = work / "deep" / "below"
    (derivative / "own.yaml").write_text("id: t\n")
    (derivative / "pyproject.toml").write_text('[tool.coherence-ft]\ntenant = "own.yaml"\n')
    assert find_tenant(checked=Path(".")) == work / "project.yaml"
    inside = derivative / "coherence"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert find_tenant(checked=derivative) == work / "project.yaml"


@pytest.mark.parametrize("given_by", ["explicit", "variable", "project"])
def test_a_named_tenant_that_is_missing_is_never_replaced_by_another(
    given_by: str, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given_by == "project":
        (work / "project.yaml").unlink()
    if given_by == "variable":
        monkeypatch.setenv(VARIABLE, str(work / "gone.yaml"))
    with pytest.raises(CoherenceError) as refused:
        find_tenant(work / "gone.yaml" if given_by == "explicit" else None)
    assert refused.value.codes == ("CFT322",)


@pytest.mark.parametrize(
    "text", ["[tool.coherence-ft\n", "[tool.coherence-ft]\ntenant = 3\n", "tool = \xff".encode("latin-1")]
)
def test_unreadable_project_file(work: Path, text: str | bytes) -> None:
    (work / "pyproject.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CoherenceError) as refused:
        find_tenant()
    assert refused.value.codes == ("CFT322",)


def test_none_named_says_the_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CoherenceError) as refused:
        find_tenant()
    assert refused.value.codes == ("CFT321",)
    for way in ("--tenant", VARIABLE, "pyproject.toml"):
        assert way in str(refused.value)
