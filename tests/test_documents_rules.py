"""The rules beyond the schemas: sources, wording, scope, competing bounds, skill; every code is provoked."""

from __future__ import annotations

import ast
import json
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from test_documents_extends import constraint, refused, write

from coherence_ft.documents import rules
from coherence_ft.documents.codes import catalogue
from coherence_ft.documents.constraint_reader import read_constraint_set
from coherence_ft.documents.constraint_set import Scope
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.rules import source_order, useless_confidence
from coherence_ft.documents.tenant import SOURCES, read_tenant

TESTS = Path(__file__).parent
CODE = re.compile(r"\bCFT\d{3}\b")

# --- codes ------------------------------------------------------------------------------------------------


def provoked() -> set[str]:
    """Codes that a golden case prints or a test speaks of in a text of its own, docstrings aside."""
    found: set[str] = set()
    for path in TESTS.glob("golden/**/*"):
        if path.is_file() and path.name.startswith("expected."):
            found |= set(CODE.findall(path.read_text(encoding="utf-8")))
    for path in TESTS.glob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found |= {
            code
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said
            for code in CODE.findall(node.value)
        }
    return found


def test_every_code_is_provoked_somewhere() -> None:
    assert catalogue().keys() - provoked() == set()


def test_every_code_of_the_constraint_language_has_a_golden_case() -> None:
    """Where `validate` can provoke it. The others come from other commands, or from evidence."""
    cases = {folder.name for folder in (TESTS / "golden" / "codes").iterdir() if folder.is_dir()}
    elsewhere = {
        *("CFT130", "CFT133", "CFT134"),  # settings, fmt
        *("CFT220", "CFT221"),  # migrate: tests/golden/migrate
        *("CFT321", "CFT322"),  # the tenant of verify
        "CFT336",  # depends on today
        *("CFT476", "CFT477"),  # portfolio, verify --portfolio
        *(f"CFT34{n}" for n in range(1, 7)),  # diff, init
        "CFT420",  # --set
        *(f"CFT45{n}" for n in (0, 1, 2, 3, 5, 6, 7, 8, 9)),  # estimates, observations, calibrators
        *(f"CFT{n}" for n in range(460, 475)),  # credentials, routing, calibrators, cells
        *(f"CFT{n}" for n in range(480, 490)),  # outcomes at run time
    }
    missing = {code for code in catalogue() if code[3] in "1234"} - cases
    assert missing <= elsewhere
    assert not elsewhere & cases


def test_every_rule_is_a_module_that_begins_with_its_code() -> None:
    modules = [import_module(f"{rules.__name__}.{m.name}") for m in pkgutil.iter_modules(rules.__path__)]
    written = [module for module in modules if hasattr(module, "CODE")]
    assert len(written) > 20
    for module in written:
        assert (module.__doc__ or "").startswith(f"{module.CODE.id}: ")
        assert catalogue()[module.CODE.id] is module.CODE


# --- sources ----------------------------------------------------------------------------------------------


def tenant(folder: Path, **more: Any) -> Path:
    write(folder / "set.yaml", constraint())
    document = {
        "apiVersion": "coherence-ft/v1",
        "kind": "tenant",
        "id": "t",
        "title": "T",
        "authorities": [{"id": "unit", "title": "U", "level": "regulated-unit", "powers": ["set"]}],
        "layers": [{"set": "set.yaml", "level": "regulated-unit", "authority": "unit"}],
        **more,
    }
    path = folder / "tenant.yaml"
    path.write_text(json.dumps(document, indent=1))
    return path


def ordered(*ids: str) -> list[dict[str, str]]:
    return [{"id": id, "title": id} for id in ids]


def test_the_order_of_sources_left_out_is_the_one_that_rules_ask_for(tmp_path: Path) -> None:
    assert read_tenant(tenant(tmp_path)).sources == SOURCES == source_order.NEEDED


@pytest.mark.parametrize(
    ("ids", "codes"),
    [
        (SOURCES, []),
        ((SOURCES[1], SOURCES[0], *SOURCES[2:]), []),  # another order is the tenant's to decide
        (("ward-handbook", *SOURCES), []),
        ((*SOURCES[:3], "ward-handbook", *SOURCES[3:]), []),
        (SOURCES[1:], ["CFT334"]),
        (SOURCES[:-1], ["CFT334"]),
        ((*SOURCES, "ward-handbook"), ["CFT334"]),
        (("model", *SOURCES[:-1]), ["CFT334"]),
        ((*SOURCES[:-1], "models"), ["CFT334"]),
        (("statute", *SOURCES), ["CFT406"]),
        (("model",), ["CFT334"] * 5),
    ],
)
def test_every_source_has_a_place_and_the_model_the_last(
    tmp_path: Path, ids: tuple[str, ...], codes: list[str]
) -> None:
    path = tenant(tmp_path, sources=ordered(*ids))
    try:
        assert read_tenant(path).sources == ids
        found: list[str] = []
    except CoherenceError as error:
        found = list(error.codes)
    assert found == codes


# --- wording ----------------------------------------------------------------------------------------------


def wording(*bands: tuple[float, str, str], **more: Any) -> dict[str, Any]:
    made = [{"from": start, "act": act, "phrase": phrase} for start, act, phrase in bands]
    return {"bands": made, "owner": "adopter", "reason": "Because", **more}


GOOD = wording((0.9, "assert", "{answer}"), (0.5, "hedge", "{answer} ({confidence})"), (0, "defer", "Ask."))


@pytest.mark.parametrize(
    ("stated", "codes"),
    [
        ([GOOD], []),
        ([GOOD, {**GOOD, "audience": "nurses"}], []),
        ([GOOD, GOOD], ["CFT417"]),
        ([{**GOOD, "audience": "nurses"}, {**GOOD, "audience": "nurses"}], ["CFT417"]),
        ([wording((0, "hedge", "{{sic}} {answer}"))], []),
        ([wording((0.1, "hedge", "{answer}"))], ["CFT417"]),
        (
            [wording((0.5, "assert", "{answer}"), (0.5, "hedge", "{answer}"), (0, "defer", "Ask."))],
            ["CFT417"],
        ),
        ([wording((0.5, "hedge", "{answer}"), (0, "assert", "{answer}"))], ["CFT417"]),
        ([wording((0, "assert", "Certainly."))], ["CFT417"]),
        ([wording((0, "defer", "Perhaps {answer}."))], ["CFT417"]),
        ([wording((0, "defer", "At {confidence} nobody knows."))], []),
        ([wording((0, "hedge", "{answer} {"))], ["CFT417"]),
        ([wording((0, "hedge", "{answer} {}"))], ["CFT417"]),
        ([wording((0, "hedge", "{answer} {0}"))], ["CFT417"]),
        ([wording((0, "hedge", "{answer.__class__}"))], ["CFT417"]),
        ([wording((0, "hedge", "{answer[0]}"))], ["CFT417"]),
        ([wording((0, "hedge", "{answer!r}"))], ["CFT417"]),
        ([wording((0, "hedge", "{answer:>999999999}"))], ["CFT417"]),  # would fill the memory when served
        ([wording((0, "hedge", "{answer:{confidence}}"))], ["CFT417"]),
        ([wording((1.0, "assert", "{answer}"), (0, "defer", "Ask."))], ["CFT206"]),
    ],
)
def test_bands_give_every_confidence_its_words(
    tmp_path: Path, stated: list[dict[str, Any]], codes: list[str]
) -> None:
    assert refused(write(tmp_path / "s.yaml", constraint(), wording=stated)) == codes


# --- scope ------------------------------------------------------------------------------------------------


def test_a_scope_is_read_and_says_what_is_measured(tmp_path: Path) -> None:
    scope = {"domains": ["legal"], "languages": ["de", "pt-BR"], "audiences": ["nurses"]}
    (read,) = read_constraint_set(write(tmp_path / "s.yaml", constraint(scope=scope))).constraints
    assert read.scope == Scope(("legal",), ("de", "pt-BR"), ("nurses",))
    assert read.scope.observed == Scope((), ("de", "pt-BR"), ("nurses",))


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"scope": {}}, ["CFT208"]),
        ({"scope": {"languages": []}}, ["CFT208"]),
        ({"scope": {"languages": ["de", "de"]}}, ["CFT208"]),
        ({"scope": {"languages": ["German"]}}, ["CFT207"]),
        ({"scope": {"routing_patterns": ["r1"]}}, ["CFT403"]),  # a conversation has none
        ({"scope": {"routing_patterns": ["r1"]}, "metric": "brier_score", "at_most": 0.2}, []),
    ],
)
def test_scopes_that_mean_nothing_are_refused(
    tmp_path: Path, changes: dict[str, Any], codes: list[str]
) -> None:
    assert refused(write(tmp_path / "s.yaml", constraint(**changes))) == codes


def test_a_domain_of_a_scope_is_one_of_the_tenant(tmp_path: Path) -> None:
    path = tenant(tmp_path)
    write(tmp_path / "set.yaml", constraint(scope={"domains": ["legal", "radiology"]}))
    with pytest.raises(CoherenceError) as error:
        read_tenant(path)
    assert error.value.codes == ("CFT307",)
    assert read_tenant(tenant_with_domain(path)).layers


def tenant_with_domain(path: Path) -> Path:
    document = {**json.loads(path.read_text()), "domains": ["radiology"]}
    path.write_text(json.dumps(document))
    return path


# --- bounds that compete ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "codes"),
    [
        ({}, ["CFT409"]),
        ({"at_most": 0.1, "confidence": 0.99}, ["CFT409"]),
        ({"enforcement": "report", "at_most": 0.05}, []),  # a target beside a bound
        ({"category": "format"}, []),
        ({"scope": {"languages": ["de"]}}, []),
        ({"scope": {"domains": ["legal"]}}, []),
    ],
)
def test_one_measurement_has_one_bound(tmp_path: Path, other: dict[str, Any], codes: list[str]) -> None:
    both = constraint(), constraint("other", **{"at_most": 0.2, **other})
    assert refused(write(tmp_path / "s.yaml", *both)) == codes


# --- skill ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("skill", "rewarded"),
    [
        (None, True),
        ({"metric": "brier_score", "at_most": 0.2}, True),  # useless confidence can meet it
        ({"metric": "accuracy", "at_least": 0.6}, True),
        ({"metric": "brier_skill", "at_least": 0.1}, False),
        ({"metric": "auroc", "at_least": 0.7}, False),
        ({"metric": "selective_risk", "at_most": 0.1, "coverage": 0.6}, False),
        ({"metric": "auroc", "at_least": 0.7, "enforcement": "report"}, True),
    ],
)
def test_calibration_error_alone_rewards_useless_confidence(
    tmp_path: Path, skill: dict[str, Any] | None, rewarded: bool
) -> None:
    stated = [constraint(metric="calibration_error")]
    if skill:
        beside = constraint("skill", **skill)
        if "at_least" in skill:
            del beside["at_most"]
        stated.append(beside)
    read = read_constraint_set(write(tmp_path / "s.yaml", *stated))
    found = useless_confidence.rewarded(read.constraints)
    assert (found is not None) is rewarded
