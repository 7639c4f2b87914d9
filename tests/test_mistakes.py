"""Realistic mistakes of officers and engineers: reported once, where they stand, with a mend that works.

A case of tests/mistakes/ holds wrong documents and `expected.toml`: the document to check, the one diagnostic
(`says`: what it must tell for the mend), and the mend that a reader makes of it, as replacements in lines.
"""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from coherence_ft.cli import main

MISTAKES = Path(__file__).parent / "mistakes"
CASES = sorted(folder.name for folder in MISTAKES.iterdir())


def mend(folder: Path, case: dict[str, Any]) -> None:
    """Make the case's edits, each in its line."""
    for edit in case["mend"]:
        path = folder / edit.get("file", case["check"])
        lines = path.read_bytes().decode().split("\n")
        line = lines[edit["line"] - 1]
        assert line.count(edit["old"]) == 1
        lines[edit["line"] - 1] = line.replace(edit["old"], edit["new"])
        path.write_bytes("\n".join(lines).encode())


def test_there_are_enough() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_is_reported_where_it_stands_and_mended_as_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / name
    shutil.copytree(MISTAKES / name, folder)
    monkeypatch.chdir(folder)
    case = tomllib.loads((folder / "expected.toml").read_text(encoding="utf-8"))
    place = {"path": case["check"], "severity": "error", **case["found"]}
    says = place.pop("says")

    def found() -> list[dict[str, Any]]:
        main._run(["validate", case["check"], "--format", "json"])
        diagnostics: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["diagnostics"]
        return diagnostics

    diagnostics = found()
    assert [{key: d[key] for key in place} for d in diagnostics] == [place], diagnostics
    text = "\n".join(f"{key}: {diagnostics[0][key]}" for key in ("message", "found", "expected", "help"))
    assert says and [part for part in says if part not in text] == [], text
    mend(folder, case)
    assert found() == []
