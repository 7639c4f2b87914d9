"""Recipes: what the command line sets, what paths mean, what types arrive."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.recipe import Adapter, Recipe, Training, read_recipe, read_recipe_and_tenant
from coherence_ft.documents.tenant import ListedKey

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))

TENANT = """\
apiVersion: coherence-ft/v1
kind: tenant
id: example
title: Example
authorities:
  - {id: office, title: Office, level: tenant, powers: [set, attest], public_keys: [keys/office.pub.pem]}
layers:
  - {set: published:general, level: tenant, authority: office}
domains: [veterinary]
"""
RECIPE = """\
apiVersion: coherence-ft/v1
kind: recipe
name: example
domain: veterinary
base: {model: ./models/base.gguf}
tenant: ../tenant.yaml
data: {train: data/train.jsonl}
probes: {calibration: data/calibration.jsonl, certification: data/certification.jsonl, time_budget: 5}
output: ../runs/example
signer: office
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "tenant.yaml").write_text(TENANT)
    (tmp_path / "recipes").mkdir()
    path = tmp_path / "recipes" / "example.yaml"
    path.write_text(RECIPE)
    return path


def _refused(recipe: Path, *options: str) -> CoherenceError:
    with pytest.raises(CoherenceError) as caught:
        read_recipe(recipe, options)
    return caught.value


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_shipped_recipes_are_read(path: Path) -> None:
    assert read_recipe(path).name


def test_paths_are_relative_to_the_recipe(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    read, tenant = read_recipe_and_tenant(recipe)
    assert read.base.model == str(tmp_path / "recipes/models/base.gguf")
    assert read.data.train == str(tmp_path / "recipes/data/train.jsonl")
    assert read.probes.certification == tmp_path / "recipes/data/certification.jsonl"
    assert read.output == tmp_path / "runs/example"
    assert read.tenant == tmp_path / "tenant.yaml"
    assert tenant.authorities[0].public_keys == (ListedKey(tmp_path / "keys/office.pub.pem"),)


def test_what_is_left_out_takes_the_defaults(recipe: Path) -> None:
    read = read_recipe(recipe)
    assert read.training == Training()
    assert read.adapter == Adapter()
    assert read.quantization is None
    assert read.document["name"] == "example" and "training" not in read.document


def test_numbers_arrive_in_the_type_of_their_field(recipe: Path) -> None:
    read = read_recipe(recipe, ["training.epochs=2", "training.seed=7.0", "adapter.rank=16.0"])
    assert (read.training.epochs, read.training.seed) == (2.0, 7)
    assert type(read.training.epochs) is float and type(read.training.seed) is int
    assert read.adapter is not None and type(read.adapter.rank) is int
    assert type(read.probes.time_budget) is float


def test_set_changes_the_document_and_so_its_digest(recipe: Path) -> None:
    read = read_recipe(
        recipe, ["training.report_to=[tensorboard]", "adapter=none", "probes.time_budget=null"]
    )
    assert read.training.report_to == ("tensorboard",)
    assert read.adapter is None
    assert read.probes.time_budget is None
    assert read.document["training"] == {"report_to": ["tensorboard"]}
    assert "time_budget" not in read.document["probes"]


def test_later_options_win(recipe: Path) -> None:
    read = read_recipe(recipe, ["training.epochs=2", "training.epochs=3"])
    assert read.training.epochs == 3.0


def test_paths_on_the_command_line_are_relative_to_where_it_runs(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    read = read_recipe(recipe, ["output=out", "probes={calibration: a.jsonl, certification: b.jsonl}"])
    assert read.output == tmp_path / "out"
    assert read.probes.calibration == tmp_path / "a.jsonl"


@pytest.mark.parametrize(
    ("option", "code"),
    [
        ("training.epochs", "CFT420"),
        ("=2", "CFT420"),
        ("training..epochs=2", "CFT420"),
        ("name.first=x", "CFT420"),
        ("training.epochs=two", "CFT204"),
        ("training.epohcs=2", "CFT202"),
        ("trainig.epochs=2", "CFT202"),
        ("training.seed=010", "CFT113"),
        ("training.seed=&x 1", "CFT105"),
        ("training.report_to=[a", "CFT103"),
        ("training.epochs=", "CFT204"),
        ("tenant=missing.yaml", "CFT411"),
        ("domain=vetrinary", "CFT307"),
        ("signer=ofice", "CFT301"),
        ("kind=tenant", "CFT201"),
        ("name=null", "CFT203"),
    ],
)
def test_a_wrong_option_is_named(recipe: Path, option: str, code: str) -> None:
    (found,) = _refused(recipe, option).diagnostics
    assert found.code == code
    if code != "CFT203":  # the key is gone, and nothing in the option is at fault but its absence
        assert found.path == f"--set {option}"
        assert (found.line, found.column) == (0, 0)


def test_everything_wrong_is_reported_at_once(recipe: Path) -> None:
    recipe.write_text(
        RECIPE.replace("./models/base.gguf", "owner/name") + "adapter: none\nquantization: {bits: nf4}\n"
    )
    tenant = recipe.parent.parent / "tenant.yaml"
    tenant.write_text(TENANT.replace("published:general", "published:nothing"))
    assert set(_refused(recipe).codes) == {"CFT503", "CFT421", "CFT410"}


@given(st.lists(st.text("training.epochs=[]{}:,&*! 019\n'\"nul~", max_size=20), max_size=3))
def test_any_options_give_a_recipe_or_diagnostics(options: list[str]) -> None:
    try:
        assert isinstance(read_recipe(ROOT / "recipes/quickstart.yaml", options), Recipe)
    except CoherenceError as error:
        assert error.diagnostics
