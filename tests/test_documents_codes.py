"""The catalogue describes every code that the source uses, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from coherence_ft.cli.explain import command
from coherence_ft.documents.codes import Code, catalogue

PACKAGE = Path(__file__).parent.parent / "coherence_ft"
CODE = re.compile(r"\bCFT\d{3}\b")


def _used() -> set[str]:
    sources = [p for p in PACKAGE.rglob("*.py") if "codes" not in p.relative_to(PACKAGE).parts]
    # Quoted only: a docstring may speak of a code without raising it.
    return {
        match
        for path in sources
        for match in re.findall(r"[\"'](CFT\d{3})[\"']", path.read_text(encoding="utf-8"))
    }


def test_every_code_in_use_is_in_the_catalogue() -> None:
    assert _used() - catalogue().keys() == set()


def test_every_code_in_the_catalogue_is_in_use() -> None:
    assert catalogue().keys() - _used() == set()


def test_no_code_is_described_twice() -> None:
    from coherence_ft.documents.codes import (
        authority,
        compatibility,
        constraints,
        keys,
        manifest,
        preflight,
        schema,
        syntax,
    )

    families = [
        ("1", syntax),
        ("2", schema),
        ("3", authority),
        ("4", constraints),
        ("5", compatibility),
        ("6", manifest),
        ("6", keys),
        ("7", preflight),
    ]
    every = [code.id for _, family in families for code in family.CODES]
    assert len(every) == len(set(every))
    for digit, family in families:
        ids = [code.id for code in family.CODES]
        assert len(ids) == len(set(ids))
        assert all(CODE.fullmatch(id) and id[3] == digit for id in ids), digit


@pytest.mark.parametrize("code", catalogue().values(), ids=lambda c: c.id)
def test_entry_says_why_and_shows_both(code: Code) -> None:
    assert code.summary == code.summary.strip(" .\n")
    assert len(code.reason) > 20
    assert code.reason.endswith(".")
    assert code.wrong and code.right and code.wrong != code.right


def test_explain_prints_one_or_all() -> None:
    listed = CliRunner().invoke(command, [])
    assert listed.exit_code == 0
    assert CODE.findall(listed.output)[: len(catalogue())]
    assert set(catalogue()) <= set(CODE.findall(listed.output))
    one = CliRunner().invoke(command, ["cft108"])
    assert one.exit_code == 0
    assert "at_most: 0.9" in one.output
    assert CliRunner().invoke(command, ["CFT999"]).exit_code == 2


def test_the_page_of_diagnostics_is_the_generated_one() -> None:
    printed = CliRunner().invoke(command, ["--markdown"]).output
    page = Path(__file__).parents[1] / "docs" / "diagnostics.md"
    assert page.read_text(encoding="utf-8") == printed, "run: coherence-ft explain --markdown > " + str(page)
