"""`coherence-ft resolve`: usage, JSON, and the recipe's own layer."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from coherence_ft.authority.resolve import resolve
from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.cli.resolve import command
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.strictness import MERGED
from coherence_ft.documents.tenant import read_tenant

ROOT = Path(__file__).parent.parent
TENANT = ROOT / "examples" / "tenant" / "tenant.yaml"
RECIPE = ROOT / "recipes" / "quickstart.yaml"


def test_json_holds_exactly_what_is_signed_and_the_places_beside() -> None:
    run = CliRunner().invoke(command, ["--tenant", str(TENANT), "--domain", "legal", "--format", "json"])
    assert run.exit_code == 0, run.exception
    data = json.loads(run.stdout)
    expected = resolve(read_tenant(TENANT), "legal")
    assert data["digest"] == expected.digest
    assert ResolvedConstraints.from_json(data).digest == expected.digest
    accuracy = next(c for c in data["constraints"] if c["id"] == "accuracy")
    assert accuracy["sources"]["bound"]["layer"] == "tenant: northwind-legal"
    assert ":" in accuracy["replaced"][0]["place"]


def test_recipe_and_tenant_with_domain_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    by_recipe = CliRunner().invoke(command, [str(RECIPE)])
    by_domain = CliRunner().invoke(command, ["--domain", "clinical"])  # tenant from pyproject.toml
    assert by_recipe.exit_code == 0, by_recipe.exception
    assert by_recipe.stdout == by_domain.stdout
    assert "from tenant: northwind-clinical (examples/tenant/constraints/clinical.yaml:" in by_recipe.stdout


def test_a_recipe_that_loosens_is_refused_by_set() -> None:
    loose = (
        "constraints=[{id: accuracy, metric: accuracy, at_least: 0.5, confidence: 0.95, "
        "minimum_evidence: 250, enforcement: hard, owner: clinical-lead, reason: Easier}]"
    )
    run = CliRunner().invoke(command, [str(RECIPE), "--set", loose])
    assert getattr(run.exception, "codes", None) == ("CFT305",)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [str(RECIPE), "--domain", "legal"],
        [str(RECIPE), "--tenant", str(TENANT)],
        ["--domain", "legal", "--set", "name=x"],
    ],
)
def test_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(command, arguments).exit_code == 2


# --- conversations, queries, explanations -----------------------------------------------------------------

GOLDEN = Path(__file__).parent / "golden" / "resolve" / "everything"
SET = {
    "apiVersion": "coherence-ft/v1",
    "kind": "constraint-set",
    "id": "talk",
    "title": "This conversation",
}
STATED = {
    "id": "selective-risk-60",
    "metric": "selective_risk",
    "coverage": 0.6,
    "at_most": 0.05,
    "confidence": 0.95,
    "minimum_evidence": 103,
    "enforcement": "hard",
    "owner": "adopter",
    "waiver_floor": 0.12,
    "reason": "The user asked for care.",
}
RESTRICTION = {"id": "no-slang", "forbidden": ["dude"], "owner": "adopter", "reason": "The user asked."}


def run(*arguments: str | Path) -> Result:
    given = ["--tenant", str(GOLDEN / "tenant.yaml"), "--domain", "clinical", *map(str, arguments)]
    return CliRunner().invoke(command, given)


def talk(folder: Path, name: str = "talk", **more: object) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({**SET, "id": name, "constraints": [STATED], **more}))
    return path


def test_a_conversation_and_a_query_are_layers_below_the_tenants(tmp_path: Path) -> None:
    said = talk(tmp_path, named_constraints=[RESTRICTION])
    asked = talk(tmp_path, "ask", constraints=[{**STATED, "at_most": 0.04}])
    result = run("--conversation", said, "ward-lead", "--query", asked, "ward-lead", "--format", "json")
    assert result.exit_code == 0, result.exception
    data = json.loads(result.stdout)
    risk = next(c for c in data["constraints"] if c["id"] == "selective-risk-60")
    assert (risk["bound"], risk["layer"]) == ("0.04", "query: ask")
    assert {lost["layer"] for lost in risk["replaced"]} >= {"conversation: talk", "tenant: night-shift"}
    assert "conversation: talk" in [c["layer"] for c in data["named_constraints"]]
    assert json.loads(run("--format", "json").stdout)["digest"] != data["digest"]


@pytest.mark.parametrize(
    ("level", "authority", "changes", "codes"),
    [
        ("--conversation", "ward-lead", {"at_most": 0.11}, {"CFT305"}),
        ("--query", "ward-lead", {"at_most": 0.11}, {"CFT305"}),
        ("--conversation", "nobody", {}, {"CFT301"}),
        ("--conversation", "ward-lead", {"coverage": 0.7}, {"CFT304"}),
        ("--query", "ward-lead", {"owner": "nobody"}, {"CFT301"}),
    ],
)
def test_what_is_said_below_cannot_loosen(
    tmp_path: Path, level: str, authority: str, changes: dict[str, object], codes: set[str]
) -> None:
    result = run(level, talk(tmp_path, constraints=[{**STATED, **changes}]), authority)
    assert isinstance(result.exception, CoherenceError)
    assert set(result.exception.codes) == codes


@pytest.mark.parametrize("form", ["canonical", "json", "text"])
def test_the_digest_is_that_of_the_canonical_bytes(form: str) -> None:
    canonical = run("--format", "canonical").stdout_bytes
    digest = hashlib.sha256(canonical).hexdigest()
    assert json.loads(canonical)["domain"] == "clinical"
    assert not canonical.endswith(b"\n")
    shown = run("--format", form).stdout
    assert digest in shown or form == "canonical"
    assert run("--format", "canonical").stdout_bytes == canonical


@pytest.mark.parametrize("path", ["selective-risk-60.bound", "constraints.selective-risk-60.bound"])
def test_explain_shows_every_layer_and_which_one_wins(path: str) -> None:
    text = run("--explain", path).stdout
    first, *stated = text.splitlines()
    assert first == "selective-risk-60.bound is at_most 0.08, from tenant: night-shift"
    assert [line.split()[:-3] for line in stated[:2]] == [["at_most", "0.1"], ["→", "at_most", "0.08"]]
    assert f"{GOLDEN.name}/night.yaml:" in stated[1]
    assert "waived to 0.12 until 2099-12-31" in text
    assert text.rstrip().endswith("owner compliance; reason: Nobody is there to ask at night.")


def test_explain_of_a_constraint_speaks_of_all_of_its_values() -> None:
    text = run("--explain", "selective-risk-60").stdout
    for field in MERGED:
        assert f"selective-risk-60.{field} is " in text


@pytest.mark.parametrize("path", ["risk", "selective-risk-60.colour", "", ".bound", "wording"])
def test_explain_of_nothing_is_a_usage_error(path: str) -> None:
    result = run("--explain", path)
    assert result.exit_code == 2
    assert "selective-risk-60" in result.output  # says what there is


def test_a_waiver_for_one_recipe_shows_for_that_recipe(tmp_path: Path) -> None:
    for name in ("constraints", "house", "night"):
        (tmp_path / f"{name}.yaml").write_bytes((GOLDEN / f"{name}.yaml").read_bytes())
    tenant = (GOLDEN / "tenant.yaml").read_text().replace("bound: 0.12", "bound: 0.12\n    recipe: ward")
    (tmp_path / "tenant.yaml").write_text(tenant)
    shown = CliRunner().invoke(command, ["--tenant", str(tmp_path / "tenant.yaml"), "--domain", "clinical"])
    assert shown.exit_code == 0
    assert "waived" not in shown.stdout
    recipe = {
        "apiVersion": "coherence-ft/v1",
        "kind": "recipe",
        "name": "ward",
        "domain": "clinical",
        "tenant": "tenant.yaml",
        "signer": "model-risk",
        "base": {"model": "./model"},
        "data": {"train": "train.jsonl"},
        "probes": {"calibration": "calibration.jsonl", "certification": "certification.jsonl"},
        "output": "runs",
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    shown = CliRunner().invoke(command, [str(tmp_path / "recipe.yaml")])
    assert "waived to 0.12" in shown.stdout
    shown = CliRunner().invoke(command, [str(tmp_path / "recipe.yaml"), "--set", "name=other"])
    assert shown.exit_code == 0
    assert "waived" not in shown.stdout
