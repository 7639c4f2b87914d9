"""`coherence-ft resolve`: usage, JSON, and the recipe's own layer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from coherence_ft.authority.resolve import resolve
from coherence_ft.authority.resolved import ResolvedConstraints
from coherence_ft.cli.resolve import command
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
