"""The manifest in other forms: each read by the tool it is made for, and the same bytes each time."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lxml.html
import pytest
import yaml
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from derivatives import (
    ACCURACY,
    CONFIDENCE,
    CONTRADICTIONS,
    ESTIMATES,
    NOW,
    PLACE,
    RISK,
    TODAY,
    TOO_RISKY,
    WAIVER,
    Signed,
    signed_derivative,
)
from huggingface_hub import ModelCard
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from test_cli_formats import SARIF
from test_loops_engine import ALL, observed

from coherence_ft.auditing.recompute import recompute
from coherence_ft.authority.keys import load_private
from coherence_ft.cli import main
from coherence_ft.cli.export import FORMS, _report
from coherence_ft.documents.canonical import canonical_json, file_digest
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.tenant import Countersigning, Power
from coherence_ft.evidence.estimate import Estimate
from coherence_ft.loops.engine import CoherenceEngine
from coherence_ft.loops.observation import Observations
from coherence_ft.manifest.files import countersignature, printable
from coherence_ft.manifest.signing import sign
from coherence_ft.manifest.statement import Base, DataSet, Evaluation, Relation, Stage, TrainingFacts
from coherence_ft.manifest.write import write_manifest
from coherence_ft.projections.ai_act import ai_act, ai_act_markdown
from coherence_ft.projections.cyclonedx import VERSIONS, cyclonedx, licenses
from coherence_ft.projections.intervals import interval_plot
from coherence_ft.projections.markdown import code, plain
from coherence_ft.projections.model_card import metadata, model_card
from coherence_ft.projections.officer import officer_report
from coherence_ft.projections.one_third import one_third
from coherence_ft.projections.sarif import sarif
from coherence_ft.projections.source import Source
from coherence_ft.serving.evidence import weights_of
from coherence_ft.training.evidence import store_passes

FROZEN = Path(__file__).parent / "golden" / "manifests" / "1.0"
GOLDEN = Path(__file__).parent / "golden" / "projections"
GOLDENS = {
    "cyclonedx": "bom-1.7.json",
    "cyclonedx-1.6": "bom-1.6.json",
    "model-card": "README.md",
    "sarif": "failed.sarif",
    "ai-act": "ai-act.md",
    "ai-act-json": "ai-act.json",
    "report": "report.html",
}
MARKDOWN = MarkdownIt().enable("table")
STRICT = {spec: JsonStrictValidator(SchemaVersion[f"V{spec.replace('.', '_')}"]) for spec in VERSIONS}
HOSTILE = "](x)<script>alert(1)</script> | `a` *b* \x1b[31m\u202e\n---\n# h"


def export(form: str, folder: Path = FROZEN / "certified", *more: str) -> int:
    tenant = folder.parent / "tenant.yaml"
    return main._run(["export", str(folder), "--tenant", str(tenant), "--as", form, *more])


def unversioned(text: str) -> str:
    """Without the version of the writer, which is no part of the manifest."""
    ours = re.escape(version("coherence-ft"))
    return re.sub(rf'(coherence-ft |"version": "){ours}(?=[".])', r"\1VERSION", text)


def source_of(signed: Signed) -> Source:
    return Source.verified(signed.folder, signed.tenant, today=TODAY)


@pytest.fixture(scope="module")
def waived(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """One waived, one failed and one without evidence."""
    few = Estimate.of(0.5, 0.2, 0.9, 8, CONFIDENCE, "Clopper-Pearson")
    other = replace(CONTRADICTIONS, id="few", enforcement=ACCURACY.enforcement)
    return source_of(
        signed_derivative(
            tmp_path_factory.mktemp("waived"),
            constraints=(RISK, CONTRADICTIONS, ACCURACY, other),
            waivers=(WAIVER,),
            estimates={**ESTIMATES, "selective-risk": TOO_RISKY, "few": few},
        )
    )


@pytest.fixture(scope="module")
def monitoring(tmp_path_factory: pytest.TempPathFactory) -> Source:
    estimates = {**ESTIMATES, "selective-risk": Estimate.of(0.5, 0.4, 0.6, 300, 0.95, "Clopper-Pearson")}
    del estimates["contradictions"]
    root = tmp_path_factory.mktemp("monitoring")
    return source_of(signed_derivative(root, Stage.MONITORING, estimates=estimates))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return source_of(
        signed_derivative(
            tmp_path_factory.mktemp("hostile"),
            name=HOSTILE,
            **alone(),
            base=Base(HOSTILE, None, "a" * 64, HOSTILE, HOSTILE),
            data=(DataSet(HOSTILE, "d" * 64, 900, HOSTILE),),
            software={HOSTILE: "1"},
        )
    )


def alone() -> dict[str, Any]:
    """Changes that make a derivative one without parents."""
    return {"parents": (), "relation": Relation.NONE, "ancestors": ()}


@pytest.mark.parametrize("form", FORMS)
def test_a_projection_of_a_frozen_derivative_is_the_golden_one_twice(
    form: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert export(form) == 0
    first = capsys.readouterr().out
    assert export(form, FROZEN / "certified", "--output", str(tmp_path / "out")) == 0
    assert (tmp_path / "out").read_text(encoding="utf-8") == first
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    golden = (GOLDEN / GOLDENS[form]).read_text(encoding="utf-8")
    assert unversioned(first) == golden


@pytest.mark.parametrize("form", FORMS)
def test_each_names_the_manifest_the_signer_and_the_date(form: str) -> None:
    manifest = FROZEN / "certified" / "coherence_manifest.json"
    text = (GOLDEN / GOLDENS[form]).read_text(encoding="utf-8")
    assert hashlib.sha256(manifest.read_bytes()).hexdigest() in text
    assert "model-risk" in text
    assert json.loads(manifest.read_bytes())["predicate"]["createdAt"][:10] in text


@pytest.mark.parametrize("form", FORMS)
def test_what_does_not_verify_gives_nothing(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = signed_derivative(tmp_path)
    (signed.folder / "adapter_config.json").write_text('{"r": 9}')
    tenant = FROZEN / "tenant.yaml"
    arguments = ["export", str(signed.folder), "--tenant", str(tenant), "--as", form]
    assert main._run([*arguments, "--output", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()
    told = capsys.readouterr()
    assert told.out == ""
    assert "CFT614" in told.err


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_has_shortcomings_to_read_and_nothing_to_publish(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = export(form, FROZEN / "monitoring")
    told = capsys.readouterr()
    if form in ("sarif", "report"):
        assert code == 0
        assert "monitoring" in told.out
    else:
        assert (code, told.out) == (1, "")
        assert "CFT647" in told.err


def test_an_output_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("sarif", FROZEN / "certified", "--output", str(tmp_path / "no" / "out")) == 1
    assert "CFT732" in capsys.readouterr().err


def test_an_output_inside_the_folder_would_break_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "certified"
    shutil.copytree(FROZEN, tmp_path, dirs_exist_ok=True)
    (tmp_path / "link").symlink_to(folder)
    for output in (folder / "README.md", folder / "coherence" / "bom.json", tmp_path / "link" / "x"):
        assert export("model-card", folder, "--output", str(output)) == 1
        assert "CFT733" in capsys.readouterr().err
        assert not output.exists()


# --- Markdown


@given(st.text(max_size=60))
@example("1. a\n- b")
@example("&lt;b&gt; &amp; <!-- x -->")
def test_text_of_others_stays_text_in_markdown(given_text: str) -> None:
    rendered = MARKDOWN.render(f"x {plain(given_text)}")
    page = lxml.html.fragment_fromstring(rendered, create_parent="div")
    assert [e.tag for e in page.iter()] == ["div", "p"]
    assert text(page) == " ".join(f"x {printable(' '.join(given_text.split()))}".split())


@given(st.text(max_size=60))
def test_a_code_span_ends_where_it_should(given_text: str) -> None:
    rendered = MARKDOWN.render(f"| a |\n| - |\n| {code(given_text)} |")
    cells = lxml.html.fragment_fromstring(rendered, create_parent="div").xpath(".//td")
    assert len(cells) == 1
    assert [e.tag for e in cells[0].iter()] in (["td", "code"], ["td"])


# --- CycloneDX


@pytest.mark.parametrize("spec", VERSIONS)
@pytest.mark.parametrize("made", ["waived", "hostile"])
def test_the_bom_is_strictly_valid(spec: str, made: str, request: pytest.FixtureRequest) -> None:
    bom = cyclonedx(request.getfixturevalue(made), spec)
    assert STRICT[spec].validate_str(json.dumps(bom)) is None
    assert bom["$schema"].endswith(f"bom-{spec}.schema.json")


def test_the_strict_validator_would_have_said_no(waived: Source) -> None:
    bom = cyclonedx(waived)
    bom["metadata"]["component"]["modelCard"]["modelParameters"]["approach"]["type"] = "guessed"
    assert STRICT["1.7"].validate_str(json.dumps(bom)) is not None


def test_the_python_library_reads_the_bom_but_for_the_model_card(waived: Source) -> None:
    library: Any = Bom
    bom = library.from_json(cyclonedx(waived))
    assert bom.validate()
    assert bom.metadata.component.name == "clinical-icd"
    files = {c.name: next(iter(c.hashes)).content for c in bom.metadata.component.components}
    assert files == dict(waived.manifest.files)


def test_every_reference_of_the_bom_leads_somewhere_once(waived: Source) -> None:
    bom = cyclonedx(waived)
    refs: list[str] = []
    used: list[str] = []

    def walk(data: Any) -> None:
        if isinstance(data, dict):
            refs.extend([data["bom-ref"]] if "bom-ref" in data else [])
            for key in ("ref", "target", "assessor", "requirement"):
                used.extend([data[key]] if isinstance(data.get(key), str) else [])
            for key in ("dependsOn", "claims", "counterClaims", "evidence"):
                used.extend(e for e in data.get(key, ()) if isinstance(e, str))
            for value in data.values():
                walk(value)
        elif isinstance(data, list):
            for value in data:
                walk(value)

    walk(bom)
    assert len(refs) == len(set(refs))
    assert set(used) <= set(refs)
    assert {"base", "data:0", f"sha256:{waived.manifest.digest}"} <= set(used)


def test_the_bom_says_what_the_manifest_says(waived: Source) -> None:
    bom = cyclonedx(waived)
    model = bom["metadata"]["component"]
    assert {c["name"]: c["hashes"][0]["content"] for c in model["components"]} == dict(waived.manifest.files)
    [attested] = [r for r in model["externalReferences"] if r["type"] == "attestation"]
    assert attested["hashes"] == [{"alg": "SHA-256", "content": waived.manifest.digest}]
    parent, base = model["pedigree"]["ancestors"]
    assert parent["version"] == f"sha256:{waived.predicate['lineage']['parents'][0]['manifestDigest']}"
    assert base["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    stated = [r["estimate"] for r in waived.predicate["evaluation"]["results"] if r["estimate"]]
    assert sorted((m["value"], *m["confidenceInterval"].values()) for m in metrics) == sorted(
        (e["value"], e["lower"], e["upper"]) for e in stated
    )
    assert any("coverage 60%" in m["slice"] for m in metrics)
    properties = {p["name"]: p["value"] for p in model["properties"]}
    assert properties["coherence-ft:constraint:selective-risk:verdict"] == "waived"
    assert properties["coherence-ft:waiver:selective-risk:expires"] == "2026-06-30"


def test_conformance_is_never_claimed_where_the_verdict_is_no_pass(waived: Source) -> None:
    [attestation] = cyclonedx(waived)["declarations"]["attestations"]
    score = {
        m["requirement"].partition(":")[2]: (m["conformance"].get("score"), "claims" in m)
        for m in attestation["map"]
    }
    assert score == {
        "contradictions": (1, True),
        "selective-risk": (0, False),
        "accuracy": (0, False),
        "few": (None, False),
    }


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("Apache-2.0", {"license": {"id": "Apache-2.0"}}),
        ("apache-2.0", {"license": {"id": "Apache-2.0"}}),
        ("mit or apache-2.0", {"expression": "MIT OR Apache-2.0"}),
        ("LicenseRef-Government", {"expression": "LicenseRef-Government"}),
        ("Llama 3 Community", {"license": {"name": "Llama 3 Community"}}),
        ("", {"license": {"name": ""}}),
    ],
)
def test_a_licence_is_an_spdx_id_an_expression_or_a_name(stated: str, expected: dict[str, Any]) -> None:
    assert licenses(stated) == [expected]


def test_every_id_that_we_may_write_is_in_the_schema_of_the_bom() -> None:
    from packaging.licenses._spdx import LICENSES

    known = json.loads(
        (resources.files("cyclonedx") / "schema" / "_res" / "spdx.SNAPSHOT.schema.json").read_bytes()
    )
    assert {entry["id"] for entry in LICENSES.values()} <= set(known["enum"])


# --- model card


def test_the_hub_reads_the_model_card(waived: Source) -> None:
    card: Any = ModelCard(model_card(waived))
    assert card.data.library_name == "peft"
    assert card.data.license == "apache-2.0"
    assert card.data.model_name == "clinical-icd"
    found = {
        r.metric_name.partition(":")[0]: (r.metric_value, r.metric_args["lower"], r.metric_args["upper"])
        for r in card.data.eval_results
    }
    assert found == {
        r.constraint: (r.estimate.value, r.estimate.lower, r.estimate.upper)
        for r in waived.manifest.assessment.results
        if r.estimate
    }
    assert "pilot only" in card.text
    assert "generate it again" in card.text


@pytest.mark.parametrize(
    ("model", "licence", "expected"),
    [
        ("org/model", "MIT", {"base_model": "org/model", "base_model_relation": "adapter", "license": "mit"}),
        ("package:a==1/b", None, {"license": "unknown"}),
        ("local", "Llama 3", {"license": "other", "license_name": "Llama 3"}),
    ],
)
def test_only_what_the_hub_knows_is_named_as_the_hub_names_it(
    model: str, licence: str | None, expected: dict[str, str], tmp_path: Path
) -> None:
    signed = signed_derivative(tmp_path, base=Base(model, None, "a" * 64, "weights", licence))
    front = metadata(source_of(signed))
    keys = ("base_model", "base_model_relation", "license", "license_name")
    assert {key: front[key] for key in keys if key in front} == expected


def test_nothing_in_a_card_or_an_extract_is_markup_of_others(hostile: Source) -> None:
    for text in (model_card(hostile), ai_act_markdown(hostile)):
        assert "\x1b" not in text
        assert "\u202e" not in text
        body = text.split("\n---\n")[-1] if text.startswith("---") else text
        assert "<script" not in re.sub(r"\\<|`[^`\n]*`", "", body)
        assert not re.search(r"^# h", body, re.MULTILINE)
        assert "](x)" not in re.sub(r"\\\]|`[^`\n]*`", "", body)
    front = yaml.safe_load(model_card(hostile).split("\n---\n")[0].removeprefix("---\n"))
    assert front["model-index"][0]["name"].endswith("# h")


# --- SARIF


def test_sarif_has_one_result_for_each_constraint_that_does_not_hold(
    waived: Source, monitoring: Source, hostile: Source
) -> None:
    for source in (waived, monitoring, hostile):
        SARIF.validate(sarif(source))
    [run] = sarif(waived)["runs"]
    found = {r["properties"]["constraint"]: r for r in run["results"]}
    assert {id: (r["kind"], r["level"]) for id, r in found.items()} == {
        "selective-risk": ("fail", "error"),
        "accuracy": ("fail", "warning"),
        "few": ("open", "none"),
    }
    [suppressed] = found["selective-risk"]["suppressions"]
    assert "pilot only" in suppressed["justification"]
    assert "suppressions" not in found["accuracy"]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        place = result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]
        index = int(place.rpartition("/")[2])
        stated = waived.predicate["evaluation"]["results"][index]
        assert stated["constraint"] == result["properties"]["constraint"]


def test_a_hard_constraint_without_evidence_is_an_error(monitoring: Source) -> None:
    [run] = sarif(monitoring)["runs"]
    found = {r["properties"]["constraint"]: (r["properties"]["verdict"], r["level"]) for r in run["results"]}
    assert found["contradictions"] == ("insufficient", "error")
    assert found["selective-risk"] == ("fail", "error")


# --- EU AI Act


def test_every_item_is_a_fact_with_its_source_or_is_left_to_somebody(waived: Source) -> None:
    extract = ai_act(waived)
    references = [item["reference"] for annex in extract["annexes"] for item in annex["items"]]
    assert len(references) == len(set(references)) == 8 + 11 + 11
    for annex in extract["annexes"]:
        for item in annex["items"]:
            assert item["facts"] or item["notInTheManifest"]
            assert (
                not item["notInTheManifest"] or "to be filled in by the provider" in item["notInTheManifest"]
            )
            for fact in item["facts"]:
                assert resolved(waived, fact["source"]) is not ...
    assert "no legal advice" in extract["notice"]


def resolved(source: Source, pointer: str) -> Any:
    """What a fact's source points to; fails where it points to nothing."""
    file, _, path = pointer.rpartition("#")
    manifest = source.manifest
    data: Any = {
        "": {"predicate": source.predicate, "subject": manifest.files},
        "coherence/recipe.json": manifest.recipe,
        "coherence/constraints.json": manifest.constraints.to_json(),
    }[file]
    for step in path.strip("/").split("/"):
        data = data[int(step)] if isinstance(data, list) else data[step]
    return data


@pytest.mark.parametrize(
    ("training", "base", "exceeds", "substitute"),
    [
        (10**20, 3 * 10**20, False, None),
        (10**20 + 1, 3 * 10**20, True, None),
        (10**20, None, "unknown", [False, False]),
        (10**23 // 3, None, "unknown", [False, False]),
        (10**23 // 3 + 1, None, "unknown", [False, True]),
        (10**25 // 3 + 1, None, "unknown", [True, True]),
        (None, None, "unknown", ["unknown", "unknown"]),
        (None, 10**20, "unknown", None),
    ],
)
def test_the_one_third_rule(
    training: int | None, base: int | None, exceeds: object, substitute: list[object] | None, tmp_path: Path
) -> None:
    signed = signed_derivative(tmp_path, training=TrainingFacts(1, 1.0, None, training, base), **alone())
    rule = one_third(source_of(signed))
    assert rule["exceeds"] is exceeds or rule["exceeds"] == exceeds
    assert "C(2025) 5045" in rule["citation"]
    thresholds = rule.get("substitute", {}).get("thresholds")
    assert (thresholds and [t["exceeds"] for t in thresholds]) == substitute


# --- the officer's page


def page_of(source: Source, **more: Any) -> lxml.html.HtmlElement:
    return lxml.html.document_fromstring(officer_report(source, None, absent="none are stored", **more))


def text(element: lxml.html.HtmlElement) -> str:
    return " ".join(element.text_content().split())


def test_the_page_begins_with_the_verdicts_and_ends_with_the_signature(waived: Source) -> None:
    page = page_of(waived)
    assert [h.text for h in page.xpath("//h2")] == [
        "Verdicts",
        "Why",
        "Confidence and outcomes",
        "Waivers in force",
        "Lineage",
        "Who signed",
        "What is not covered",
        "Signature of the officer",
    ]
    rows = page.xpath("//section[@aria-labelledby='verdicts']//tbody/tr")
    assert [text(row.find("th")).split()[0] for row in rows] == [c.id for c, _ in waived.results]
    for row, (_, result) in zip(rows, waived.results, strict=True):
        assert result.verdict.value in text(row)
        if result.estimate:
            assert f"{result.estimate.lower:.3f} – {result.estimate.upper:.3f}" in text(row)
            assert str(result.estimate.n) in text(row)
    assert waived.manifest.digest in text(page.xpath("//section[@aria-labelledby='sign']")[0])
    waivers = text(page.xpath("//section[@aria-labelledby='waivers']")[0])
    assert "2026-06-30" in waivers and "Model risk (model-risk)" in waivers
    assert "none are stored" in text(page.xpath("//section[@aria-labelledby='figures']")[0])


def test_a_checkpoint_that_is_not_certified_says_so_at_the_top(monitoring: Source) -> None:
    header = text(page_of(monitoring).xpath("//header")[0])
    assert "Not certified" in header
    assert "2 of 2 hard constraints do not let it through" in header


def test_the_page_holds_nothing_from_outside_and_no_markup_of_others(hostile: Source) -> None:
    raw = officer_report(hostile, None, absent=HOSTILE)
    page = lxml.html.document_fromstring(raw)
    assert not page.xpath("//script|//link|//iframe|//object|//*[@onload or @onerror]")
    assert all(src.startswith("data:") for src in page.xpath("//@src"))
    assert not page.xpath("//@href")
    assert "default-src 'none'" in page.xpath("//meta[@http-equiv]/@content")[0]
    assert "url(" not in raw and "\x1b" not in raw and "\u202e" not in raw


@pytest.mark.parametrize("constraint", [RISK, ACCURACY, CONTRADICTIONS])
def test_the_small_plot_shades_the_side_where_the_constraint_holds(constraint: Any) -> None:
    estimate = Estimate.of(0.5, 0.4, 0.6, 100, 0.95, "m")
    drawn = lxml.html.fragment_fromstring(str(interval_plot(constraint, estimate)))
    box, bound = drawn.find("rect"), float(drawn.findall("path")[1].get("d")[1:].split()[0])
    left = float(box.get("x"))
    right = left + float(box.get("width"))
    edge = right if constraint.direction.value == "at_most" else left
    assert edge == pytest.approx(bound, abs=0.11)
    centre = float(drawn.find("circle").get("cx"))
    assert (left <= centre <= right) is (
        estimate.value <= constraint.bound
        if constraint.direction.value == "at_most"
        else estimate.value >= constraint.bound
    )
    assert f"bound {constraint.bound:g}" in drawn.get("aria-label")


# --- the page with its plots


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """A derivative whose figures follow from the observations that are stored in its folder."""
    root = tmp_path_factory.mktemp("measured")
    signed = signed_derivative(
        root, constraints=tuple(replace(c, owner="model-risk") for c in ALL), **alone()
    )
    weights, base = (
        weights_of({p.name: file_digest(p) for p in signed.folder.glob("*.safetensors")}),
        "a" * 64,
    )
    probes = {"calibration": "c" * 64, "certification": "b" * 64}

    def passes(model: str, **how: Any) -> tuple[Observations, ...]:
        return tuple(
            replace(
                observed(split, n=400, **how),
                model=model,
                base=base,
                authority="model-risk",
                software="0",
                probe_set=digest,
                skipped=0,
            )
            for split, digest in probes.items()
        )

    seen = {"derivative": passes(weights), "base": passes(base, slope=0.05)}
    found = CoherenceEngine(signed.facts.constraints).examine(
        *seen["derivative"], base=(seen["base"][0], seen["base"][1]), today=NOW.date(), look=1
    )
    facts = replace(
        signed.facts,
        evaluation=Evaluation(found.assessment, NOW, "model-risk"),
        probes=probes,
        calibrator=found.calibrator.to_json(),
        evidence=tuple(store_passes(signed.folder, seen)),
    )
    write_manifest(signed.folder, facts, signed.key, created_at=NOW)
    return replace(signed, facts=facts)


def test_the_plots_are_drawn_from_what_is_stored(measured: Signed) -> None:
    source = source_of(measured)
    again = recompute(source.manifest)
    first, second = (officer_report(source, again.findings, figures=again.figures) for _ in range(2))
    assert first == second
    page = lxml.html.document_fromstring(first)
    section = page.xpath("//section[@aria-labelledby='figures']")[0]
    assert f"All {again.figures} signed values were computed again" in text(section)
    images = section.xpath(".//img")
    assert [i.get("src")[:22] for i in images] == ["data:image/png;base64,"] * 2
    assert all(i.get("alt") for i in images)
    accuracy = next(r.estimate for r in source.manifest.assessment.results if r.constraint == "accuracy")
    shown = text(section.xpath(".//tr[th='accuracy']")[0])
    assert accuracy is not None and f"{accuracy.value:.3f}" in shown


def test_a_page_is_refused_where_the_observations_say_something_else(
    measured: Signed, tmp_path: Path
) -> None:
    folder = tmp_path / "derivative"
    shutil.copytree(measured.folder, folder)
    results = [
        replace(r, estimate=replace(r.estimate, value=r.estimate.value - 0.01))
        if r.constraint == "accuracy" and r.estimate
        else r
        for r in measured.facts.evaluation.assessment.results
    ]
    assessment = replace(measured.facts.evaluation.assessment, results=tuple(results))
    facts = replace(measured.facts, evaluation=Evaluation(assessment, NOW, "model-risk"))
    write_manifest(folder, facts, measured.key, created_at=NOW)
    source = Source.verified(folder, measured.tenant, today=TODAY)
    with pytest.raises(CoherenceError) as refused:
        _report(source, None)
    assert {d.code for d in refused.value.diagnostics} == {"CFT658"}


def test_a_page_without_stored_observations_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert export("report") == 0
    page = lxml.html.document_fromstring(capsys.readouterr().out)
    assert "CFT652" in text(page.xpath("//section[@aria-labelledby='figures']")[0])
    assert not page.xpath("//img")


def test_who_must_still_countersign_is_said_and_nothing_else_is_made(tmp_path: Path) -> None:
    signed = signed_derivative(tmp_path)
    rule = Countersigning(("training",), 1, (), "two pairs of eyes", PLACE)
    tenant = replace(signed.tenant, countersignatures=(rule,))
    page = page_of(Source.verified(signed.folder, tenant, today=TODAY, countersigned=False))
    assert "still to be countersigned by training" in text(page.xpath("//header")[0])
    with pytest.raises(CoherenceError) as refused:
        Source.verified(signed.folder, tenant, today=TODAY)
    assert refused.value.codes == ("CFT622",)


def test_lineage_names_every_ancestor_and_who_signed_it(waived: Source) -> None:
    section = page_of(waived).xpath("//section[@aria-labelledby='lineage']")[0]
    [parent] = waived.predicate["lineage"]["parents"]
    [row] = section.xpath(".//div[@aria-label='Ancestors']//tbody/tr")
    assert [text(cell) for cell in row] == [
        "clinical-icd",
        f"{parent['manifestDigest'][:16]}…",
        "2026-05-20 12:00 UTC",
        "Model risk (model-risk)",
        "none",
    ]
    assert "a derivative that was trained further" in text(section)


def test_compute_is_that_of_every_training_and_of_no_merge(waived: Source) -> None:
    own = int(waived.predicate["downstreamModifier"]["trainingCompute"])
    assert one_third(waived)["trainingCompute"] == str(2 * own)
    child = waived.family.members[waived.manifest.digest]
    lineage = child.predicate["lineage"] | {"relation": "quantized"} if child.predicate else {}
    quantized = replace(child, predicate={**(child.predicate or {}), "lineage": lineage})
    members = {**waived.family.members, child.digest: quantized}
    assert one_third(replace(waived, family=replace(waived.family, members=members)))[
        "trainingCompute"
    ] == str(own)


def test_a_countersignature_is_named_wherever_the_signer_is(tmp_path: Path) -> None:
    signed = signed_derivative(tmp_path)
    authorities = tuple(
        replace(a, powers=frozenset({Power.COUNTERSIGN})) if a.id == "training" else a
        for a in signed.tenant.authorities
    )
    envelope = sign(signed.manifest.read_bytes(), load_private(signed.keys / "training.pem"))
    (signed.folder / countersignature("training")).write_bytes(canonical_json(envelope.to_json()))
    source = Source.verified(signed.folder, replace(signed.tenant, authorities=authorities), today=TODAY)
    bom = cyclonedx(source)
    assert STRICT["1.7"].validate_str(json.dumps(bom)) is None
    references = {r["url"]: r["type"] for r in bom["metadata"]["component"]["externalReferences"]}
    assert references["coherence_manifest.training.sigstore.json"] == "digital-signature"
    roles = [s["role"] for s in bom["declarations"]["affirmation"]["signatories"]]
    assert roles == ["evaluator", "countersigner"]
    assert sarif(source)["runs"][0]["properties"]["countersigners"] == "training"
    assert "countersigned by Training (training)" in model_card(source).replace("\\", "")
    page = page_of(source)
    rows = page.xpath("//section[@aria-labelledby='signed']//tbody/tr")
    assert [text(row.find("th")) for row in rows] == ["maker", "countersigner"]
    assert "Nobody has countersigned" not in text(page)
