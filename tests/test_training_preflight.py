"""Preflight: every way in which training would go on silently and wrong is refused before the first step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from peft import get_peft_model
from tiny import CHAT_TEMPLATE, tiny_model, tiny_model_folder
from workshop import DPO, Workshop, checkpoint_names, coherence_ft

from coherence_ft.documents.diagnostics import CoherenceError, Diagnostic
from coherence_ft.documents.recipe import read_recipe
from coherence_ft.training.arguments import lora_config
from coherence_ft.training.preflight import preflight_recipe
from coherence_ft.training.run import prepare

NO_MARKERS = CHAT_TEMPLATE.replace("{%- generation -%}", "").replace("{%- endgeneration -%}", "")
END_OUTSIDE = CHAT_TEMPLATE.replace(
    "+ '<|im_end|>' -}}{%- endgeneration -%}{{- '\n' -}}",
    "-}}{%- endgeneration -%}{{- '<|im_end|>\n' -}}",
)
NO_END = CHAT_TEMPLATE.replace("message['content'] + '<|im_end|>' -}}", "message['content'] -}}")

MESSAGES = {"data": {"train": "messages.jsonl"}}
ASSISTANT = {**MESSAGES, "training": {"assistant_only_loss": True}}

MIXTRAL = {
    "model_type": "mixtral",
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}


def found(recipe: Path) -> tuple[Diagnostic, ...]:
    """What `prepare` says; nothing for a recipe that can be trained."""
    try:
        prepare(read_recipe(recipe))
    except CoherenceError as error:
        return error.diagnostics
    return ()


def codes(recipe: Path) -> list[str]:
    return [diagnostic.code for diagnostic in found(recipe)]


def with_template(workshop: Workshop, name: str, template: str, **changes: Any) -> Path:
    (workshop.root / f"{name}.jinja").write_text(template)
    return workshop.recipe(name, **{**changes, "base": {"chat_template": f"{name}.jinja"}})


@pytest.mark.parametrize(
    "changes",
    [{}, MESSAGES, ASSISTANT, DPO, {"adapter": "none"}, {"quantization": {"bits": "int8"}}],
    ids=["pairs", "messages", "assistant", "dpo", "full", "int8"],
)
def test_right_recipes_are_let_through(workshop: Workshop, changes: dict[str, Any]) -> None:
    assert found(workshop.recipe("right", **changes)) == ()


def test_templates_of_these_tests_differ() -> None:
    assert len({CHAT_TEMPLATE, NO_MARKERS, END_OUTSIDE, NO_END}) == 4


@pytest.mark.parametrize(
    ("template", "changes"),
    [(END_OUTSIDE, ASSISTANT), (NO_END, {}), (NO_END, DPO)],
    ids=["outside-of-the-mask", "pairs-without-end", "preferences-without-end"],
)
def test_cft701_the_end_of_the_turn_is_not_trained(
    workshop: Workshop, template: str, changes: dict[str, Any]
) -> None:
    (diagnostic,) = found(with_template(workshop, "cft701", template, **changes))
    assert diagnostic.code == "CFT701"
    assert "24 of 24 rows" in diagnostic.found
    assert "<|im_end|>" in diagnostic.expected


def test_cft701_does_not_ask_for_the_markers_where_the_loss_is_on_everything(workshop: Workshop) -> None:
    assert codes(with_template(workshop, "outside", END_OUTSIDE, **MESSAGES)) == []


def test_cft702_assistant_loss_without_markers(workshop: Workshop) -> None:
    assert codes(with_template(workshop, "cft702", NO_MARKERS, **ASSISTANT)) == ["CFT702"]
    assert codes(with_template(workshop, "no-markers", NO_MARKERS, **MESSAGES)) == []


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('never') }}",
        "{% for m in messages %}{{ m.content",
        "{{ messages[7].content + 1 }}",
    ],
    ids=["refuses", "no-template", "fails"],
)
def test_cft512_a_template_that_cannot_write_rows_or_probes(workshop: Workshop, template: str) -> None:
    diagnostics = found(with_template(workshop, "cft512", template))
    assert {d.code for d in diagnostics} == {"CFT512"}
    assert len(diagnostics) == 4  # the rows, and each of three splits


def test_cft512_a_probe_that_the_template_refuses_is_known_before_training(own_workshop: Workshop) -> None:
    """Not hours later, when the certification split is first looked at."""
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    path = own_workshop.probes("certification")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[3]["messages"].insert(0, {"role": "system", "content": "Be brief."})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (diagnostic,) = found(with_template(own_workshop, "no-system", template + CHAT_TEMPLATE))
    assert (diagnostic.code, diagnostic.path) == ("CFT512", str(path))
    assert "no system turn" in diagnostic.message


def test_cft512_a_base_without_a_template(own_workshop: Workshop) -> None:
    (own_workshop.base / "chat_template.jinja").unlink()
    assert "CFT512" in codes(own_workshop.recipe("bare"))


def test_cft703_truncation_leaves_nothing(workshop: Workshop) -> None:
    for name, changes in (("pairs", {}), ("preferences", DPO)):
        training = {**changes.get("training", {}), "max_length": 16}
        (diagnostic,) = found(workshop.recipe(f"cft703-{name}", **{**changes, "training": training}))
        assert diagnostic.code == "CFT703"
        assert "24 of 24 rows" in diagnostic.found


def test_cft703_counts_rows_not_sequences(own_workshop: Workshop) -> None:
    """One long row among short ones: its number is given, counted from 1."""
    path = own_workshop.root / "pairs.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[4]["prompt"][0]["content"] *= 20
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (diagnostic,) = found(own_workshop.recipe("long"))
    assert diagnostic.code == "CFT703"
    assert diagnostic.found == "1 of 24 rows looked at, first row 5"


def test_cft704_another_template_than_the_parents(workshop: Workshop, derivative: Path) -> None:
    base = {"model": f"derivative:{derivative}"}
    assert codes(workshop.recipe("child", base=base)) == []
    (workshop.root / "other.jinja").write_text(NO_MARKERS)
    (workshop.root / "same.jinja").write_text(CHAT_TEMPLATE)
    assert codes(workshop.recipe("same", base={**base, "chat_template": "same.jinja"})) == []
    assert codes(workshop.recipe("cft704", base={**base, "chat_template": "other.jinja"})) == ["CFT704"]


def test_cft705_probes_in_the_training_data(own_workshop: Workshop) -> None:
    rows = (own_workshop.root / "pairs.jsonl").read_text().splitlines()
    trained = json.loads(rows[0])["prompt"][0]["content"]
    for split in ("calibration", "test"):
        path = own_workshop.probes(split)
        lines = path.read_text().splitlines()
        question = json.loads(lines[0])
        question["messages"][0]["content"] = trained.upper() + "  "  # the same to a reader
        path.write_text("\n".join([json.dumps(question), *lines[1:]]) + "\n")
    diagnostics = found(own_workshop.recipe("cft705"))
    assert [d.code for d in diagnostics] == ["CFT705", "CFT705"]
    assert {Path(d.path).name for d in diagnostics} == {"calibration.jsonl", "test.jsonl"}
    assert "1 prompts" in diagnostics[0].message


def test_cft706_an_adapter_on_the_router(workshop: Workshop) -> None:
    base = {"model": "org/moe", "revision": "a" * 40, "architecture": MIXTRAL}
    for module in ("gate", "block_sparse_moe.gate", "router"):
        adapter = {"target_modules": ["q_proj", module], "dropout": 0.0}
        recipe = workshop.recipe("cft706", base=base, adapter=adapter)
        assert preflight_recipe(read_recipe(recipe))[0].code == "CFT706", module
        asked = workshop.recipe("asked", base=base, adapter={**adapter, "adapt_router": True})
        assert "CFT706" not in [d.code for d in preflight_recipe(read_recipe(asked))]
    dense = workshop.recipe("gate-proj", adapter={"target_modules": ["gate_proj"]})
    assert preflight_recipe(read_recipe(dense)) == []


def test_cft706_all_linear_takes_in_the_router(workshop: Workshop) -> None:
    base = {"model": "org/moe", "revision": "a" * 40, "architecture": MIXTRAL}
    adapter = {"target_modules": ["all-linear"], "dropout": 0.0}
    recipe = workshop.recipe("all-linear", base=base, adapter=adapter)
    assert [d.code for d in preflight_recipe(read_recipe(recipe))] == ["CFT706"]
    asked = workshop.recipe("all-asked", base=base, adapter={**adapter, "adapt_router": True})
    assert preflight_recipe(read_recipe(asked)) == []
    assert codes(workshop.recipe("all-dense", adapter=adapter)) == []


@pytest.mark.parametrize(
    ("kind", "experts"),
    [("mixtral", ["w1", "w2", "w3"]), ("qwen3_moe", ["gate_proj", "up_proj", "down_proj"])],
)
def test_adapters_on_experts_leave_the_router_alone(
    workshop: Workshop, kind: str, experts: list[str]
) -> None:
    """Held to PEFT itself, which rewrites the names of experts for these models."""
    adapter = {"target_modules": ["q_proj", *experts], "dropout": 0.0}
    config = lora_config(read_recipe(workshop.recipe("modules", adapter=adapter)))
    assert config is not None
    model = get_peft_model(tiny_model(kind), config)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert any("q_proj" in name for name in trained)
    assert not any(".gate." in name or ".router." in name for name in trained)


def test_cft707_dropout_on_experts(workshop: Workshop) -> None:
    base = {"model": "org/moe", "revision": "a" * 40, "architecture": MIXTRAL}
    adapter = {"target_modules": ["all-linear"], "dropout": 0.1, "adapt_router": True}
    recipe = workshop.recipe("cft707", base=base, adapter=adapter)
    assert [d.code for d in preflight_recipe(read_recipe(recipe))] == ["CFT707"]
    without = workshop.recipe("without", base=base, adapter={**adapter, "dropout": 0.0})
    assert preflight_recipe(read_recipe(without)) == []
    attention = workshop.recipe(
        "attention", base=base, adapter={"target_modules": ["q_proj"], "dropout": 0.1}
    )
    assert preflight_recipe(read_recipe(attention)) == []


def test_checks_on_experts_hold_for_a_base_on_disk(own_workshop: Workshop) -> None:
    tiny_model_folder(own_workshop.root, "mixtral")
    recipe = own_workshop.recipe(
        "moe",
        base={"model": "./tiny-mixtral"},
        adapter={"target_modules": ["all-linear"]},
        quantization={"bits": "nf4"},
    )
    # Experts in three dimensions stay unquantized (bitsandbytes 1849), which no memory plan may hide.
    assert codes(recipe) == ["CFT707", "CFT706", "CFT515"]


@pytest.mark.parametrize("target", ["qproj", "proj", "model"])
def test_cft519_modules_that_cannot_be_adapted(workshop: Workshop, target: str) -> None:
    recipe = workshop.recipe("cft519", adapter={"target_modules": ["q_proj", target]})
    assert codes(recipe) == ["CFT519"]


def test_cft519_modules_that_are_fused_with_others(own_workshop: Workshop) -> None:
    tiny_model_folder(own_workshop.root, "mixtral")
    adapter = {"target_modules": ["w1"], "dropout": 0.0}
    recipe = own_workshop.recipe("fused", base={"model": "./tiny-mixtral"}, adapter=adapter)
    (diagnostic,) = found(recipe)
    assert diagnostic.code == "CFT519"


def test_cft730_trackers_that_are_not_there(workshop: Workshop) -> None:
    recipe = workshop.recipe("cft730", training={"report_to": ["nothing-like-it"]})
    assert codes(recipe) == ["CFT730"]
    assert codes(workshop.recipe("quiet", training={"report_to": ["none"]})) == []


def test_cft716_packing(workshop: Workshop) -> None:
    assert codes(workshop.recipe("cft716", training={"packing": True})) == ["CFT716"]


def test_cft718_splits_that_share_a_group(own_workshop: Workshop) -> None:
    path = own_workshop.probes("certification")
    rows = path.read_text().replace('"group": "certification-0"', '"group": "calibration-7"')
    path.write_text(rows)
    (diagnostic,) = found(own_workshop.recipe("cft718"))
    assert diagnostic.code == "CFT718"
    assert "calibration and the certification" in diagnostic.message
    assert "calibration-7" in diagnostic.found


def test_cft719_fewer_rows_than_a_step_takes(workshop: Workshop) -> None:
    step = {"batch_size": 5, "gradient_accumulation": 5}
    (diagnostic,) = found(workshop.recipe("cft719", training=step))
    assert diagnostic.code == "CFT719"
    assert diagnostic.found == "24 rows"
    assert "25" in diagnostic.expected
    assert codes(workshop.recipe("exact", training={"batch_size": 24})) == []


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("adapter", {"adapter": {"rank": 8}}),
        ("adapter", {"adapter": {"dropout": 0.0}}),
        ("adapter", {"adapter": "none"}),
        ("quantization", {"quantization": {"bits": "nf4"}}),
        ("precision", {"training": {"precision": "bfloat16"}}),
    ],
)
def test_cft728_what_the_parent_is_not(
    workshop: Workshop, derivative: Path, name: str, changes: dict[str, Any]
) -> None:
    recipe = workshop.recipe("cft728", **{"base": {"model": f"derivative:{derivative}"}, **changes})
    (diagnostic,) = found(recipe)
    assert diagnostic.code == "CFT728"
    assert name in diagnostic.message


def test_cft728_an_adapter_on_a_parent_of_full_weights(workshop: Workshop) -> None:
    """It would be trained on the parent's weights and served on the base's."""
    full = workshop.recipe("whole-parent", adapter="none", training={"max_steps": 2, "learning_rate": 0.001})
    assert coherence_ft("train", full) == 0
    base = {"model": f"derivative:{workshop.run('whole-parent') / 'checkpoint-2'}"}
    assert codes(workshop.recipe("adapter-on-full", base=base)) == ["CFT728"]
    assert codes(workshop.recipe("full-on-full", base=base, adapter="none")) == []


def test_everything_is_found_at_once(own_workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    path = own_workshop.probes("certification")
    path.write_text(path.read_text().replace('"group": "certification-0"', '"group": "calibration-7"'))
    recipe = own_workshop.recipe(
        "many",
        base={"chat_template": "end.jinja"},
        training={"packing": True, "batch_size": 30, "max_length": 16},
        adapter={"target_modules": ["q_proj", "router"]},
    )
    (own_workshop.root / "end.jinja").write_text(NO_END)
    assert codes(recipe) == ["CFT719", "CFT718", "CFT706", "CFT519", "CFT716", "CFT701", "CFT703"]
    assert coherence_ft("train", recipe) == 1
    said = capsys.readouterr().err
    assert said.count("error[CFT7") == 6
    assert not own_workshop.run("many").exists()


def test_broken_rows_and_probes_are_found_together(own_workshop: Workshop) -> None:
    with (own_workshop.root / "pairs.jsonl").open("a") as rows:
        rows.write('{"prompt": "alone"}\n')
    with own_workshop.probes("calibration").open("a") as rows:
        rows.write("no json\n")
    own_workshop.probes("test").unlink()
    assert codes(own_workshop.recipe("broken")) == ["CFT753", "CFT120", "CFT101"]


def test_a_dry_run_finds_what_needs_no_data(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = workshop.recipe("dry-packing", data={"train": "missing.jsonl"}, training={"packing": True})
    assert coherence_ft("train", recipe, "--dry-run") == 1
    assert "error[CFT716]" in capsys.readouterr().err
    assert checkpoint_names(workshop.run("dry-packing")) == []
