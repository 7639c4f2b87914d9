"""The calibration report: what stands on the page is what was measured, and nothing else gets in or out."""

from __future__ import annotations

import base64
import json
import re
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import lxml.html
import pytest
from test_loops_engine import ALL, TODAY, constraint, engine, observed
from workshop import Workshop, coherence_ft

from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.evidence import abstention, metrics
from coherence_ft.evidence.estimate import Estimate
from coherence_ft.evidence.reliability import brier_decomposition, reliability_diagram
from coherence_ft.evidence.smooth import smooth_ece
from coherence_ft.loops import calibration
from coherence_ft.loops.engine import Findings
from coherence_ft.loops.observation import Observations
from coherence_ft.reporting import summaries
from coherence_ft.reporting.report import (
    BY_DOMAIN,
    BY_PATTERN,
    PAGE,
    RELIABILITY,
    RISK_COVERAGE,
    prepare,
    write_report,
)

HOSTILE = "<script>alert(1)</script>&\"'$\\frac$\x00\x1b[31m\u202e日本"
UNREADABLE = "\ud800"
"""Half of a character: a file name may hold it, a document may not."""


def patterned(seen: Observations, *patterns: str) -> Observations:
    """Its answers dealt out to routing patterns in turn; one in ten is of the domain `general`."""
    return replace(
        seen,
        answers=tuple(
            replace(
                a, routing_pattern=patterns[i % len(patterns)], domain="general" if i % 10 == 0 else a.domain
            )
            for i, a in enumerate(seen.answers)
        ),
    )


def examined(
    *patterns: str, constraints: tuple = ALL, with_base: bool = True, **observing: object
) -> tuple[ResolvedConstraints, Findings]:
    held = engine(*constraints)
    ours = [patterned(observed(s, **observing), *patterns) for s in ("calibration", "certification")]
    base = [
        patterned(observed(s, slope=0.05, model="base"), *patterns) for s in ("calibration", "certification")
    ]
    found = held.examine(*ours, base=(base[0], base[1]) if with_base else None, today=TODAY)
    return held.resolved, found


@pytest.fixture(scope="module")
def findings() -> tuple[ResolvedConstraints, Findings]:
    return examined("route-0", "route-1")


@pytest.fixture(scope="module")
def folder(findings: tuple[ResolvedConstraints, Findings], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, "runs/mine", *findings)
    return folder


def parsed(folder: Path) -> lxml.html.HtmlElement:
    return lxml.html.document_fromstring((folder / PAGE).read_bytes())


def text(element: lxml.html.HtmlElement) -> str:
    return " ".join(element.text_content().split())


def numbers(element: lxml.html.HtmlElement) -> list[float]:
    return [float(data.get("value")) for data in element.iter("data")]


def row(page: lxml.html.HtmlElement, table: str, header: str) -> lxml.html.HtmlElement:
    (found,) = (
        r for r in page.xpath(f"//div[@aria-label='{table}']//tr[th]") if text(r.find("th")) == header
    )
    return found


def cut(estimate: object) -> list[float]:
    assert isinstance(estimate, Estimate)
    return [estimate.value, estimate.lower, estimate.upper]


def test_verdicts_come_first_and_are_those_of_the_assessment(
    folder: Path, findings: tuple[ResolvedConstraints, Findings]
) -> None:
    page, (_, found) = parsed(folder), findings
    assert page.xpath("//h2")[0].text == "Verdicts"
    assert text(page.find_class("conclusion")[0]) == (
        "All 8 hard constraints pass or are waived. Look 1: limits at 96.961 % where 95 % is declared."
    )
    assert len(page.xpath("//div[@aria-label='Verdicts']//tbody/tr")) == len(found.assessment.results)
    for result in found.assessment.results:
        shown = row(page, "Verdicts", result.constraint)
        base = [result.base.value] if result.base else []
        assert numbers(shown) == pytest.approx(base + cut(result.estimate), abs=1e-9)
        cells = [text(cell) for cell in shown]
        hard = result.enforcement == "hard"
        assert cells[1].split()[-1] == (result.verdict if hard else f"({result.verdict})")
        assert cells[-2:] == [str(result.estimate.n), result.why]  # type: ignore[union-attr]


def test_figures_are_those_of_the_evidence(
    folder: Path, findings: tuple[ResolvedConstraints, Findings]
) -> None:
    page, (_, found) = parsed(folder), findings
    models = [found.evidence.evaluated, found.base.evaluated]  # type: ignore[union-attr]
    arrays = [(m.forecast, m.right, m.groups) for m in models]
    for header, made in {
        "accuracy": [metrics.accuracy(a[1], a[2], 0.95) for a in arrays],
        "Brier score": [metrics.brier_score(*a, 0.95) for a in arrays],
        "AUROC of confidence against correctness": [metrics.auroc(*a, 0.95) for a in arrays],
    }.items():
        shown = numbers(row(page, "Figures by model", header))
        assert shown == pytest.approx([*cut(made[0]), *cut(made[1])], abs=1e-9)
    smooth = [smooth_ece(*a, 0.95).value for a in arrays]  # type: ignore[union-attr]
    assert numbers(row(page, "Figures by model", "smooth ECE")) == pytest.approx(smooth, abs=1e-6)
    parts = [brier_decomposition(*a).resolution for a in arrays]  # type: ignore[union-attr]
    assert numbers(row(page, "Figures by model", "− resolution")) == pytest.approx(parts, abs=1e-6)
    bins = page.xpath("//div[@aria-label='Reliability diagrams as numbers']//tbody")
    for body, a in zip(bins, arrays, strict=False):
        made = reliability_diagram(*a, 0.95)
        assert [numbers(r)[3:6] for r in body] == [pytest.approx(cut(b.share)) for b in made]
        assert sum(b.answers for b in made) == 300


def test_the_certified_threshold_is_on_the_page(
    folder: Path, findings: tuple[ResolvedConstraints, Findings]
) -> None:
    certificate = findings[1].certificate
    assert certificate is not None and certificate.threshold == findings[1].assessment.abstention_threshold
    (certified,) = (p for p in parsed(folder).iter("p") if text(p).startswith("Certified"))
    assert f"{certificate.threshold:.6f}" in text(certified)
    assert numbers(certified)[3] == pytest.approx(100 * certificate.risk.upper, abs=1e-6)


def test_counts_add_up(folder: Path) -> None:
    page = parsed(folder)
    passes = page.xpath("//div[@aria-label='What was used']//tbody/tr")
    assert [text(r.find("th")) for r in passes] == [
        f"{who}, {split}" for who in ("derivative", "base") for split in ("calibration", "certification")
    ]
    for shown in passes:
        *parts, total = (int(text(cell)) for cell in shown.iter("td"))
        assert sum(parts) == total == 603
    for kind in ("domain", "routing pattern"):
        table = page.xpath(f"//div[@aria-label='Figures by {kind}']")[0]
        rows = [r for r in table.xpath(".//tbody/tr") if text(r.xpath("td")[0]) == "derivative"]
        assert sum(int(text(r.xpath("td")[1])) for r in rows) == 300
        assert text(table.xpath(".//tfoot/tr/td")[1]) == "300"


def test_thin_cells_are_listed_and_not_drawn(folder: Path) -> None:
    assert "Not drawn, with fewer than 60 answers or beyond the 12 largest: general (n = 30)." in text(
        parsed(folder)
    )


def test_which_patterns_keep_each_constraint_is_said_with_the_correction(folder: Path) -> None:
    page = parsed(folder)
    shown = [text(cell) for cell in row(page, "Which routing patterns keep each constraint", "accuracy")]
    assert shown[-2:] == ["route-0, route-1", "–"] and "at 96.961 %" in shown[-3]
    # with 30 answers nothing is shown of `general`
    assert "general" in text(row(page, "Which domains keep each constraint", "accuracy")[-1])


def test_nothing_is_fetched_and_nothing_runs(folder: Path) -> None:
    page, source = parsed(folder), (folder / PAGE).read_text()
    assert not re.findall(r"https?:|//[a-z]|url\(|@import|javascript:", re.sub(r"base64,[^\"]+", "", source))
    assert {e.tag for e in page.iter() if isinstance(e.tag, str)} & {"script", "link", "iframe", "a"} == set()
    policy = page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert not [name for e in page.iter() for name in e.attrib if name.startswith("on")]


def test_pictures_are_inside_with_words_for_them(folder: Path) -> None:
    images = parsed(folder).xpath("//img")
    names = [RELIABILITY, RISK_COVERAGE, BY_DOMAIN, BY_PATTERN]
    assert sorted(p.name for p in folder.iterdir()) == sorted([PAGE, *names])
    for image, name in zip(images, names, strict=True):
        content = base64.b64decode(image.get("src").removeprefix("data:image/png;base64,"))
        assert content == (folder / name).read_bytes()
        assert len(image.get("alt")) > 40


def test_tables_are_for_screen_readers_too(folder: Path) -> None:
    page = parsed(folder)
    assert page.get("lang") == "en" and page.findtext(".//title") == "Calibration report: runs/mine"
    for table in page.iter("table"):
        assert text(table.find("caption"))
        assert all(th.get("scope") for th in table.iter("th"))
    ids = page.xpath("//@id")
    assert len(ids) == len(set(ids)) and set(page.xpath("//@aria-labelledby")) <= set(ids)


def chunks(png: bytes) -> dict[bytes, bytes]:
    found, at = {}, 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        found[png[at + 4 : at + 8]] = png[at + 8 : at + 8 + size]
        assert (
            zlib.crc32(png[at + 4 : at + 8 + size])
            == struct.unpack(">I", png[at + 8 + size : at + 12 + size])[0]
        )
        at += size + 12
    return found


def test_same_findings_same_bytes_whatever_the_users_settings(
    folder: Path, findings: tuple[ResolvedConstraints, Findings], tmp_path: Path
) -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "text.usetex": False}):
        write_report(tmp_path / "new", "runs/mine", *findings)
    for path in folder.iterdir():
        assert (tmp_path / "new" / path.name).read_bytes() == path.read_bytes()
    for path in folder.glob("*.png"):
        assert chunks(path.read_bytes()).keys() == {b"IHDR", b"pHYs", b"IDAT", b"IEND"}


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    held = replace(ALL[5], id=HOSTILE, reason=HOSTILE)
    resolved, found = examined(HOSTILE + UNREADABLE, "other", constraints=(held,))
    write_report(tmp_path, HOSTILE + UNREADABLE, replace(resolved, tenant=HOSTILE), found)
    source = (tmp_path / PAGE).read_bytes().decode()
    assert not re.findall(r"[\x00-\x09\x0b-\x1f\u202e]", source)
    page = parsed(tmp_path)
    assert not list(page.iter("script"))
    escaped = "<script>alert(1)</script>&\"'$\\frac$\\x00\\x1b[31m\\u202e日本"
    assert page.findtext(".//h1") == f"Calibration report: {escaped}\\ud800"
    cells = page.xpath("//div[@aria-label='Figures by routing pattern']//tbody/tr/th")
    assert [text(cell) for cell in cells] == [f"{escaped}\\ud800", "other"]
    assert text(row(page, "Verdicts", escaped)[0]) == escaped
    assert (tmp_path / BY_PATTERN).exists()


@pytest.mark.parametrize("right", [True, False])
def test_one_class(right: bool, tmp_path: Path) -> None:
    held = engine(*ALL)
    splits = []
    for split in ("calibration", "certification"):
        seen = observed(split)
        same = tuple(replace(a, answer=0 if right else 1) for a in seen.answers)
        splits.append(patterned(replace(seen, answers=same), "route-0", "route-1"))
    write_report(tmp_path, "m", held.resolved, held.examine(*splits, today=TODAY))
    page = parsed(tmp_path)
    auroc = text(row(page, "Figures by model", "AUROC of confidence against correctness"))
    assert ("every answer is right" if right else "every answer is wrong") in auroc
    assert text(row(page, "Figures by model", "accuracy").xpath("td")[0]).startswith(
        "1.0" if right else "0.0"
    )


def test_no_answers(tmp_path: Path) -> None:
    held = engine(*ALL)
    seen = replace(observed("calibration"), answers=())
    write_report(tmp_path, "m", held.resolved, held.examine(seen, today=TODAY))
    page = parsed(tmp_path)
    assert "No question was answered, so there is nothing to draw." in text(page)
    assert "8 hard constraints" in text(page.find_class("conclusion")[0])
    assert [p.name for p in tmp_path.iterdir()] == [PAGE]


def test_a_model_alone_in_monitoring(tmp_path: Path) -> None:
    held = engine(*ALL)
    found = held.examine(observed("calibration"), today=TODAY)
    write_report(tmp_path, "m", held.resolved, found)
    page = parsed(tmp_path)
    assert text(page.xpath("//div[@aria-label='Figures by model']//thead")[0]) == "model"
    assert "Only the certification split can promote." in text(page)
    assert "All 300 questions are of one routing pattern: dense." in text(page)
    assert not (tmp_path / BY_PATTERN).exists()
    assert [tally.split for tally in found.tallies] == ["calibration"]


def test_the_assessment_is_the_same_with_and_without_forecasts() -> None:
    held, splits = engine(*ALL), (observed("calibration"), observed("certification"))
    found = held.examine(*splits, today=TODAY)
    assert held.assess(*splits, today=TODAY) == (found.assessment, found.calibrator)
    assert len(found.evidence.evaluated) == 300


def test_cells_pair_the_bases_answers_by_question(tmp_path: Path) -> None:
    """Its own routing patterns are others; answers to questions that ours did not answer are counted."""
    held = engine(*ALL)
    ours = [patterned(observed(s), "a", "b") for s in ("calibration", "certification")]
    base = [
        patterned(observed(s, slope=0.05, model="base"), "x", "y", "z")
        for s in ("calibration", "certification")
    ]
    ours[1] = replace(ours[1], answers=ours[1].answers[:290], skipped=13)
    found = held.examine(*ours, base=(base[0], base[1]), today=TODAY)
    cells = summaries.cells(found, lambda a: a.routing_pattern)
    assert [(c.name, c.ours.answers, c.base.answers) for c in cells.all if c.base] == [
        ("a", 145, 145),
        ("b", 145, 145),
    ]
    assert cells.unpaired == 10
    write_report(tmp_path, "m", held.resolved, found)
    assert "10 answers of the base are to questions that the derivative did not answer" in text(
        parsed(tmp_path)
    )


def test_a_cell_that_the_base_did_not_answer(tmp_path: Path) -> None:
    resolved, found = examined("a", "b")
    assert found.base is not None
    seen = found.base.evaluated
    kept = [a.routing_pattern == "a" for a in seen.answers]
    fewer = calibration.Forecasts(
        tuple(a for a, keep in zip(seen.answers, kept, strict=True) if keep),
        seen.forecast[kept],
        seen.right[kept],
        seen.groups[kept],
    )
    write_report(tmp_path, "m", resolved, replace(found, base=replace(found.base, evaluated=fewer)))
    table = parsed(tmp_path).xpath("//div[@aria-label='Figures by routing pattern']")[0]
    assert [text(r.xpath("td")[1]) for r in table.xpath(".//tbody/tr")] == ["150", "150", "150", "0"]
    assert "there is no answer to measure it on" in text(table)


def test_many_cells_the_largest_are_drawn() -> None:
    _, found = examined(*(f"route-{i:02}" for i in range(20)), n=1500, with_base=False)
    cells = summaries.cells(found, lambda a: a.routing_pattern)
    assert (len(cells.drawn), len(cells.listed)) == (12, 8)
    assert sum(c.ours.answers for c in cells.all) == 1500


def test_a_folder_that_cannot_be_written_is_refused_before_anything(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "taken" / PAGE).mkdir(parents=True)
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "taken"):
        with pytest.raises(CoherenceError) as refused:
            prepare(folder)
        assert refused.value.codes == ("CFT731",)
    assert (tmp_path / "file").read_text() == "x"


def test_what_is_there_is_replaced_whole_and_nothing_else_touched(
    findings: tuple[ResolvedConstraints, Findings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    target = tmp_path / "elsewhere"
    target.write_text("untouched")
    (tmp_path / RELIABILITY).symlink_to(target)
    (tmp_path / PAGE).write_text("old")

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "write_bytes", full)
        with pytest.raises(CoherenceError) as refused:
            write_report(tmp_path, "m", *findings)
    assert refused.value.codes == ("CFT731",)
    assert (tmp_path / PAGE).read_text() == "old"
    write_report(tmp_path, "m", *findings)
    assert (tmp_path / PAGE).read_text().startswith("<!DOCTYPE html>")
    assert not (tmp_path / RELIABILITY).is_symlink() and target.read_text() == "untouched"
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert {p.name for p in tmp_path.iterdir()} == {
        *("notes.txt", "elsewhere", PAGE, RELIABILITY, RISK_COVERAGE, BY_DOMAIN, BY_PATTERN)
    }
    held = engine(*ALL)
    write_report(tmp_path, "m", held.resolved, held.examine(observed("calibration"), today=TODAY))
    assert not (tmp_path / BY_PATTERN).exists()  # it would show another model's


def test_the_curve_on_the_page_is_that_of_the_evidence(
    folder: Path, findings: tuple[ResolvedConstraints, Findings]
) -> None:
    seen = findings[1].evidence.evaluated
    curve = abstention.risk_coverage(seen.forecast, seen.right, seen.groups, 0.95)
    assert isinstance(curve, abstention.RiskCoverage)
    body = parsed(folder).xpath("//div[@aria-label='Risk-coverage curves as numbers']//tbody")[0]
    assert [numbers(r) for r in body] == [
        pytest.approx([threshold, 100 * coverage, *cut(risk)], abs=1e-6)
        for threshold, coverage, risk in curve.curve
    ]


def test_a_report_only_constraint_alone_lets_nothing_through(tmp_path: Path) -> None:
    only = constraint("accuracy", 0.5, enforcement=ALL[6].enforcement)
    resolved, found = examined("dense", constraints=(only,))
    write_report(tmp_path, "m", resolved, found)
    assert text(parsed(tmp_path).find_class("conclusion")[0]).startswith("No hard constraint applies")


def test_evaluate_writes_the_report(
    workshop: Workshop, sft_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = coherence_ft("evaluate", sft_run / "checkpoint-6", "--report", tmp_path / "new" / "report")
    page = parsed(tmp_path / "new" / "report")
    assert page.findtext(".//h1").endswith("checkpoint-6")
    assert "report.html" in capsys.readouterr().out
    conclusion = text(page.find_class("conclusion")[0])
    assert (code == 0) is conclusion.startswith("All")
    (tmp_path / "file").write_text("")
    assert coherence_ft("evaluate", sft_run / "checkpoint-6", "--report", tmp_path / "file") == 1
    assert "error[CFT731]" in capsys.readouterr().err


def test_promote_reports_a_refusal_too(
    workshop: Workshop, sft_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    from workshop import write_constraints

    own = workshop.copy(tmp_path / "own")
    own.recipe("sft")
    shutil.copytree(sft_run, own.run(), ignore=shutil.ignore_patterns("derivative", "certification-*"))
    record = json.loads((own.run() / "run.json").read_text())
    (own.run() / "run.json").write_text(json.dumps({**record, "recipe": str(own.root / "sft.yaml")}))
    write_constraints(own.root, brier=0.1)
    assert coherence_ft("promote", own.run() / "checkpoint-6", "--report", tmp_path / "report") == 1
    assert "error[CFT717]" in capsys.readouterr().err
    assert "do not let it through: brier" in text(parsed(tmp_path / "report").find_class("conclusion")[0])
    (tmp_path / "file").write_text("")
    looks = (own.run() / "certification-looks.jsonl").read_text()
    assert coherence_ft("promote", own.run() / "checkpoint-6", "--report", tmp_path / "file") == 1
    assert (own.run() / "certification-looks.jsonl").read_text() == looks  # no look was taken


def test_neither_torch_nor_a_drawing_library_is_imported_with_the_room() -> None:
    program = (
        "import sys, coherence_ft.reporting.report\n"
        "print(sorted({'torch', 'matplotlib', 'jinja2'} & sys.modules.keys()))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
