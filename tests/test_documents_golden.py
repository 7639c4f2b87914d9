"""Wrong files and the exact text that the user reads: tests/golden/codes/CODE/.

Every file in a case's folder is validated (or what its `arguments` names), from within the folder. After a
deliberate change of a message: COHERENCE_FT_UPDATE_GOLDEN=1 pytest tests/test_documents_golden.py, then read
the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coherence_ft.cli import main

CASES = Path(__file__).parent / "golden" / "codes"


@pytest.mark.parametrize("code", sorted(p.name for p in CASES.iterdir() if p.is_dir()))
def test_wrong_file_prints_exactly(
    code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = CASES / code
    monkeypatch.chdir(folder)
    if (folder / "arguments").exists():
        arguments = (folder / "arguments").read_text().split()
    else:
        arguments = sorted(p.name for p in folder.iterdir() if p.name != "expected.txt")
    exit_code = main._run(["validate", *arguments])
    printed = capsys.readouterr()
    assert exit_code == ("error[" in printed.out)  # some are warnings
    assert printed.err == ""
    assert f"[{code}]" in printed.out
    expected = folder / "expected.txt"
    if os.environ.get("COHERENCE_FT_UPDATE_GOLDEN"):
        expected.write_text(printed.out, encoding="utf-8")
    assert printed.out == expected.read_text(encoding="utf-8")
