"""`validate`: folders, several files, and how they fit together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coherence_ft.authority.validate import validate
from coherence_ft.cli import main

ROOT = Path(__file__).parent.parent
SHIPPED = ["recipes", "schema", "examples"]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in SHIPPED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("data", "*.py", "*.pem"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_everything_shipped_is_clean(copied: Path) -> None:
    assert validate(SHIPPED) == []


def test_a_problem_of_the_tenant_is_reported_once_for_all_its_recipes(copied: Path) -> None:
    _edit(copied / "examples/tenant/constraints/general.yaml", "at_most: 0.4", "at_most: 40")
    found = validate(SHIPPED)
    assert [(d.code, Path(d.path).name) for d in found] == [("CFT405", "general.yaml")]


def test_layers_are_composed(copied: Path) -> None:
    """A file that is right by itself and looser than the layer above it."""
    _edit(copied / "examples/tenant/constraints/general.yaml", "at_least: 0.55", "at_least: 0.70")
    assert validate(["examples/tenant/constraints"]) == []
    found = validate(["examples/tenant/tenant.yaml"])
    assert "CFT305" in {d.code for d in found}


def test_probe_sets_know_the_domains_of_tenants_validated_with_them(copied: Path) -> None:
    row = {"kind": "question", "id": "q", "domain": "veterinary", "group": "g", "answer": "yes"}
    row |= {"options": ["yes", "no"], "messages": [{"role": "user", "content": "Is it?"}]}
    (copied / "probes.jsonl").write_text(json.dumps(row))
    assert [d.code for d in validate(["probes.jsonl"])] == ["CFT307"]
    tenant = copied / "examples/tenant/tenant.yaml"
    tenant.write_text(tenant.read_text() + "domains: [veterinary]\n")
    assert validate(["probes.jsonl", tenant]) == []


def test_folders_are_walked_in_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b/2.yaml", "a/1.yml", ".hidden/3.yaml", "b/.4.yaml", "b/notes.txt", "b/rows.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("on: push\n")
    found = validate([tmp_path, tmp_path / "b" / "2.yaml"])
    assert [Path(d.path).name for d in found] == ["1.yml", "2.yaml"]
    assert {d.code for d in found} == {"CFT201"}


def test_formats(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _edit(copied / "recipes/quickstart.yaml", "domain: clinical", "domain: clin%ical")
    assert main._run(["validate", "--format", "json", "recipes"]) == 1
    (found,) = json.loads(capsys.readouterr().out)["diagnostics"]
    assert (found["code"], found["path"], found["severity"]) == ("CFT207", "recipes/quickstart.yaml", "error")
    assert main._run(["validate", "--format", "github", "recipes"]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith(
        f"::error file=recipes/quickstart.yaml,line={found['line']},col={found['column']}"
    )
    assert "clin%25ical" in printed and printed.count("\n") == 1
    assert main._run(["validate", "--format", "github", "schema"]) == 0
    assert capsys.readouterr().out == ""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_shipped_file_with_any_change_gives_diagnostics_and_no_exception(
    copied: Path, data: st.DataObject
) -> None:
    paths = sorted(ROOT / p.relative_to(copied) for p in copied.rglob("*.yaml"))
    source = data.draw(st.sampled_from(paths))
    text = source.read_text(encoding="utf-8")
    start = data.draw(st.integers(0, len(text)))
    stop = min(len(text), start + data.draw(st.integers(0, 30)))
    inserted = data.draw(
        st.sampled_from(["", "\n", "- ", ": ", "{", "&a ", "null", "1", "'", "\t", "  ", "[]", "\x00"])
    )
    target = copied / source.relative_to(ROOT)
    try:
        target.write_text(text[:start] + inserted + text[stop:], encoding="utf-8")
        for found in validate([target]):
            assert found.code.startswith("CFT") and found.message
    finally:
        target.write_text(text, encoding="utf-8")
