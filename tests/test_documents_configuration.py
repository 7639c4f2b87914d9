"""Which diagnostics are shown, and how: the command line over pyproject.toml, and never what decides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coherence_ft.cli import main
from coherence_ft.documents.codes import catalogue
from coherence_ft.documents.configuration import Selection, apply, read_configuration, read_limits
from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic, Severity
from coherence_ft.documents.limits import Limits

ERROR, WARNING = Severity.ERROR, Severity.WARNING
WRONG = """\
apiVersion: coherence-ft/v1
kind: constraint-set
id: notes
title: Notes
constraints:
  - {id: a, metric: violation_rate, at_most: 5, confidence: 0.95, minimum_evidence: 50, enforcement: hard,
     owner: adopter, reason: "Because."}
  - {id: a, metric: violation_rate, at_most: 0.1, confidence: 0.95, minimum_evidence: 50, enforcement: hard,
     owner: adopter, reason: "Because."}
"""
FOUND = [
    Diagnostic("CFT103", "syntax"),
    Diagnostic("CFT405", "bound"),
    Diagnostic("CFT441", "probes", severity=WARNING),
    Diagnostic("CFT315", "waiver"),
]


def _shown(*layers: Selection) -> dict[str, str]:
    shown, ignored = apply(FOUND, layers)
    assert len(shown) + ignored == len(FOUND)
    return {d.code: d.severity.value for d in shown}


def _codes(*layers: Selection) -> set[str]:
    return set(_shown(*layers))


def test_the_longest_prefix_decides() -> None:
    assert _codes() == {d.code for d in FOUND}
    assert _codes(Selection(select=("CFT4",))) == {"CFT103", "CFT405", "CFT441"}
    assert _codes(Selection(select=("CFT4",), ignore=("CFT44",))) == {"CFT103", "CFT405"}
    assert _codes(Selection(select=("CFT441",), ignore=("CFT4",))) == {"CFT103", "CFT441"}
    assert _codes(Selection(select=("CFT4",), ignore=("CFT4",))) == {"CFT103"}
    severity = {"CFT4": WARNING, "CFT441": ERROR}
    assert _shown(Selection(severity=severity)) == {
        "CFT103": "error",
        "CFT405": "warning",
        "CFT441": "error",
        "CFT315": "error",
    }


def test_what_cannot_be_read_is_always_shown() -> None:
    assert _codes(Selection(ignore=("CFT",), severity={"CFT": WARNING})) == {"CFT103"}
    assert _shown(Selection(severity={"CFT": WARNING}))["CFT103"] == "error"


def test_the_command_line_wins() -> None:
    project = Selection(ignore=("CFT315",), severity={"CFT405": WARNING}, warnings_as_errors=True)
    assert _codes(project) == {"CFT103", "CFT405", "CFT441"}
    assert set(_shown(project).values()) == {"error"}
    asked = Selection(select=("CFT3",), warnings_as_errors=False)
    assert _codes(asked, project) == {"CFT103", "CFT315"}
    assert _shown(Selection(warnings_as_errors=False), project)["CFT405"] == "warning"
    assert _shown(Selection(severity={"CFT405": ERROR}, warnings_as_errors=False), project) == {
        "CFT103": "error",
        "CFT405": "error",
        "CFT441": "warning",
    }


_PREFIXES = st.sampled_from(sorted({c[:n] for c in catalogue() for n in (3, 4, 5, 6) if c[3] != "1"}))
_SELECTIONS = st.builds(
    Selection,
    st.lists(_PREFIXES, max_size=3).map(tuple),
    st.lists(_PREFIXES, max_size=3).map(tuple),
    st.dictionaries(_PREFIXES, st.sampled_from(Severity), max_size=2),
    st.none() | st.booleans(),
)


@given(_SELECTIONS, _SELECTIONS)
def test_a_selection_only_leaves_out_and_changes_severities(one: Selection, other: Selection) -> None:
    everything = [Diagnostic(code, "m") for code in catalogue()]
    shown, ignored = apply(everything, (one, other))
    assert len(shown) + ignored == len(everything)
    order = [d.code for d in everything]
    places = [order.index(d.code) for d in shown]
    assert places == sorted(places)
    assert {c for c in order if c.startswith("CFT1")} <= {d.code for d in shown}
    for d in shown:
        assert one.wants(d.code) in (True, None) or d.code.startswith("CFT1")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "below").mkdir()
    (tmp_path / "wrong.yaml").write_text(WRONG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _configure(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")


def test_the_nearest_table_counts(project: Path) -> None:
    assert read_configuration(project / "below") == read_configuration(Path("/"))
    _configure(
        project,
        '[tool.coherence-ft]\ntenant = "t.yaml"\n[tool.coherence-ft.validate]\nselect = ["cft4"]\n'
        'ignore = ["CFT441"]\nseverity = {CFT405 = "warning"}\nwarnings-as-errors = true\n'
        "[tool.coherence-ft.limits]\nbytes = 5000\nevents = 70\n",
    )
    _configure(project / "below", "[tool.other]\n")
    found = read_configuration(project / "below")
    assert found.selection == Selection(("CFT4",), ("CFT441",), {"CFT405": WARNING}, True)
    assert found.limits == Limits(bytes=5000, events=70) == read_limits(project / "below")
    _configure(project / "below", "[tool.coherence-ft.limits]\ndepth = 7\n")
    assert read_configuration(project / "below").limits == Limits(depth=7)
    assert read_configuration(project / "below").selection == Selection()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[tool.coherence-ft.validate]\nignore = [CFT441]\n", (2, 11)),
        ("[tool", (0, 0)),
        ("x = " + "[" * 100_000, (0, 0)),
    ],
)
def test_a_file_that_cannot_be_read_is_reported_and_never_passed_over(
    project: Path, text: str, place: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    _configure(project, text)
    with pytest.raises(CoherenceError) as caught:
        read_configuration()
    (found,) = caught.value.diagnostics
    assert (found.code, (found.line, found.column)) == ("CFT130", place)
    assert main._run(["validate", "wrong.yaml", "--format", "json"]) == 1
    codes = [d["code"] for d in json.loads(capsys.readouterr().out)["diagnostics"]]
    assert codes[0] == "CFT130" and "CFT405" in codes
    assert main._run(["resolve", "wrong.yaml"]) == 1
    assert "CFT130" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "line", "expected"),
    [
        ("[tool]\ncoherence-ft = 3", 0, "a table"),
        ("[tool.coherence-ft]\nvalidate = 3", 2, "a table"),
        ("[tool.coherence-ft]\nvalidate.ignore = [1]", 2, "a list of codes"),
        ('[ tool . "coherence-ft".validate.severity ]\nCFT441 = 1', 2, "error or warning"),
        ("[tool.coherence-ft.validate]\nseverity = []", 2, 'a table such as {CFT315 = "error"}'),
        ("[tool.coherence-ft.limits]\nbytes = true", 2, "a whole number above 0"),
        ("[tool.coherence-ft]\nlimits = 2001-01-01", 2, "a table"),
    ],
)
def test_wrong_settings_are_placed(project: Path, table: str, line: int, expected: str) -> None:
    _configure(project, table)
    with pytest.raises(CoherenceError) as caught:
        read_configuration()
    (found,) = caught.value.diagnostics
    assert (found.code, found.line, found.expected) == ("CFT132", line, expected)


def _run(*arguments: str) -> int:
    return main._run(["validate", "wrong.yaml", *arguments])


def test_the_summary_counts_what_is_ignored(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run() == 1
    every = capsys.readouterr().out
    assert "[CFT405]" in every and "[CFT406]" in every and "ignored" not in every
    assert _run("--ignore", "CFT405") == 1
    assert capsys.readouterr().out.endswith("\n1 error, 0 warnings, 1 ignored\n")
    assert _run("--select", "cft3,CFT7") == 0
    assert capsys.readouterr().out == "no problems found, 2 ignored\n"
    assert _run("--severity", "CFT405=warning,CFT406=warning") == 0
    assert capsys.readouterr().out.endswith("\n0 errors, 2 warnings\n")
    assert _run("--severity", "CFT4=warning", "--warnings-as-errors") == 1
    assert capsys.readouterr().out.endswith("\n2 errors, 0 warnings\n")


def test_options_win_over_the_project(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _configure(project, '[tool.coherence-ft.validate]\nignore = ["CFT4"]\n')
    assert _run() == 0
    assert _run("--select", "CFT405") == 1
    assert capsys.readouterr().out.endswith("\n1 error, 0 warnings, 1 ignored\n")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--select", "CTF405", "did you mean 'CFT405'?"),
        ("--ignore", "CFT9", "no diagnostic code begins with 'CFT9'"),
        ("--ignore", "C", "no diagnostic code begins with 'C'"),
        ("--ignore", "CFT103", "CFT103 cannot be set aside"),
        ("--severity", "CFT405", "is not CODE=error or CODE=warning"),
        ("--severity", "CFT1=warning", "CFT1 cannot be set aside"),
    ],
)
def test_wrong_codes_are_usage_errors(
    project: Path, option: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(option, value) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert said in printed and option in printed


def test_limits_hold_for_validate_and_for_every_other_command(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _configure(project, "[tool.coherence-ft.limits]\nbytes = 100\n")
    assert _run() == 1
    assert "error[CFT104]" in capsys.readouterr().out
    assert main._run(["resolve", "wrong.yaml"]) == 1
    assert "error[CFT104]" in capsys.readouterr().err


def test_what_decides_ignores_the_selection(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _configure(project, '[tool.coherence-ft.validate]\nignore = ["CFT2", "CFT4"]\n')
    assert main._run(["resolve", "wrong.yaml"]) == 1
    assert "error[CFT201]" in capsys.readouterr().err


def test_explain_suggests_and_links(capsys: pytest.CaptureFixture[str]) -> None:
    assert main._run(["explain", "ctf405"]) == 2
    assert "Did you mean CFT405?" in capsys.readouterr().err
    assert main._run(["explain", "cft405"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("/docs/diagnostics.md#cft405")
