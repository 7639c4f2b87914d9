"""What ships is right: recipes, published constraint sets and the example tenants."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from coherence_ft.authority.resolve import resolve
from coherence_ft.documents.constraint_reader import read_constraint_set
from coherence_ft.documents.constraint_set import Enforcement, Level
from coherence_ft.documents.metrics import METRICS
from coherence_ft.documents.recipe import Quantization, read_recipe, read_recipe_and_tenant
from coherence_ft.documents.tenant import Layer, Tenant, read_tenant

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
PUBLISHED = sorted((ROOT / "schema" / "domains").glob("*.yaml"))
SETS = [*PUBLISHED, *sorted((ROOT / "examples" / "tenant" / "constraints").glob("*.yaml"))]
DOCUMENTS = [*RECIPES, *SETS, *sorted((ROOT / "examples" / "tenant").glob("*.yaml"))]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_begins_with_a_modeline_that_finds_its_schema(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    schema = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert schema and (path.parent / schema[1]).is_file()


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_recipe_reads_and_resolves(path: Path) -> None:
    recipe, tenant = read_recipe_and_tenant(path)
    resolved = resolve(tenant, recipe.domain, recipe.constraints)
    loops = {
        METRICS[r.constraint.metric].loop
        for r in resolved.constraints
        if r.constraint.enforcement is Enforcement.HARD
    }
    assert loops == {"calibration", "integrity", "alignment"}
    assert recipe.base.license and (recipe.data.license or recipe.domain == "code")


@pytest.mark.parametrize("domain", ["clinical", "legal", "financial"])
@pytest.mark.parametrize("bits", ["nf4", "int8"])
def test_quantized_variant_differs_in_quantization_only(domain: str, bits: str) -> None:
    plain = read_recipe(ROOT / "recipes" / f"{domain}.yaml")
    variant = read_recipe(ROOT / "recipes" / f"{domain}-qlora-{bits}.yaml")
    assert variant.quantization == Quantization(bits, double=bits == "nf4")  # type: ignore[arg-type]
    assert replace(
        variant,
        name=plain.name,
        output=plain.output,
        quantization=None,
        path=plain.path,
        document=plain.document,
    ) == replace(plain, quantization=None)


def test_dpo_starts_from_what_the_clinical_recipe_writes() -> None:
    clinical = read_recipe(ROOT / "recipes" / "clinical.yaml")
    dpo = read_recipe(ROOT / "recipes" / "clinical-dpo.yaml")
    assert dpo.base.model == f"derivative:{clinical.output / 'derivative'}"
    assert dpo.adapter == clinical.adapter
    assert dpo.probes == clinical.probes


def test_outputs_differ() -> None:
    outputs = [read_recipe(path).output for path in RECIPES]
    assert len(set(outputs)) == len(outputs)


PARAMETERS = {
    "mistral-7b-qlora": 7_248_023_552,
    "mistral-small-qlora": 23_572_403_200,
    "codestral-qlora": 22_247_282_688,
    "mixtral-8x7b-lora": 46_702_792_704,
}


@pytest.mark.parametrize("recipe", PARAMETERS)
def test_architecture_gives_the_published_number_of_parameters(recipe: str) -> None:
    """The models' pages state these sizes: 7.25B, 23.6B, 22.2B and 46.7B. A wrong field would not fit."""
    a = read_recipe(ROOT / "recipes" / f"{recipe}.yaml").base.architecture
    assert a is not None
    hidden, heads, kv, head = (
        a[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim")
    )
    experts = a.get("num_local_experts", 1)
    attention = 2 * hidden * heads * head + 2 * hidden * kv * head
    router = hidden * experts if experts > 1 else 0
    layer = attention + experts * 3 * hidden * a["intermediate_size"] + router + 2 * hidden
    total = a["num_hidden_layers"] * layer + 2 * a["vocab_size"] * hidden + hidden
    assert total == PARAMETERS[recipe]


@pytest.mark.parametrize("path", SETS, ids=name)
def test_set_states_reasons_and_all_loops(path: Path) -> None:
    constraints = read_constraint_set(path).constraints
    assert {METRICS[c.metric].loop for c in constraints} == {"calibration", "integrity", "alignment"}
    assert all(len(c.reason) > 20 for c in constraints)


def test_published_domain_sets_tighten_the_general_one() -> None:
    """Also with the general set above them, which shows every loosening."""
    tenant = read_tenant(ROOT / "examples" / "tenant" / "published.yaml")
    lowered = replace(tenant, layers=tuple(map(_below_general, tenant.layers)))
    for domain in ("clinical", "legal", "financial"):
        assert resolve(lowered, domain).constraints
        assert resolve(lowered, domain).digest != resolve(lowered, "general").digest


def _below_general(layer: Layer) -> Layer:
    return layer if layer.constraint_set.domain is None else replace(layer, level=Level.TENANT)


def test_same_id_is_the_same_measurement_in_every_shipped_set() -> None:
    measured: dict[str, set[tuple[object, ...]]] = defaultdict(set)
    for path in SETS:
        for c in read_constraint_set(path).constraints:
            measured[c.id].add((c.metric, *sorted(c.parameters.items())))
    assert {id: len(kinds) for id, kinds in measured.items() if len(kinds) > 1} == {}


def test_published_sets_are_stricter_than_the_example_tenants() -> None:
    """The refusal that the README shows is a matter of bounds on the same measurements."""
    own = _hard(read_tenant(ROOT / "examples" / "tenant" / "tenant.yaml"))
    published = _hard(read_tenant(ROOT / "examples" / "tenant" / "published.yaml"))
    shared = own.keys() & published.keys()
    assert {"accuracy", "selective-risk-60", "auroc", "contradiction-rate", "violation-rate"} <= shared
    for id in shared - {"brier-gain"}:
        direction = METRICS[_metric(id)].direction
        assert direction.is_looser(own[id], published[id]), id


def _hard(tenant: Tenant) -> dict[str, float]:
    return {
        r.constraint.id: r.constraint.bound
        for r in resolve(tenant, "clinical").constraints
        if r.constraint.enforcement is Enforcement.HARD
    }


def _metric(id: str) -> str:
    sets = [read_constraint_set(path) for path in SETS]
    return next(c.metric for s in sets for c in s.constraints if c.id == id)


def test_the_example_waiver_is_used_and_dated() -> None:
    tenant = read_tenant(ROOT / "examples" / "tenant" / "tenant.yaml")
    (waiver,) = tenant.waivers
    resolved = resolve(tenant, waiver.domain, today=waiver.expires)
    assert [r.waiver for r in resolved.constraints if r.waiver] == [waiver]
