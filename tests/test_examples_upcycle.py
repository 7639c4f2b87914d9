"""The upcycled mixture computes what the dense model did, and its routers tell kinds of text apart."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_model

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import upcycle_moe

from coherence_ft.models.routing import routing_capture


@pytest.fixture(scope="module")
def rows() -> upcycle_moe.Rows:
    """Kinds differ in the tokens that they use."""
    dice = torch.Generator().manual_seed(0)
    return [
        (kind, torch.randint(90 * kind + 10, 90 * kind + 90, (24,), generator=dice).tolist())
        for _ in range(8)
        for kind in range(len(upcycle_moe.KINDS))
    ]


@pytest.fixture
def dense() -> Any:
    return tiny_model("llama")


def test_before_training_nothing_is_changed(dense: Any, rows: upcycle_moe.Rows) -> None:
    model = upcycle_moe.upcycled(dense, upcycle_moe.routers(dense, rows))
    assert model.config.model_type == "mixtral" and model.config.num_local_experts == 4
    tokens = torch.tensor([rows[0][1], rows[1][1]])
    with torch.no_grad():
        assert float((model(tokens).logits - dense(tokens).logits).abs().max()) < 5e-5
        model.model.layers[1].mlp.experts.down_proj[0].zero_()
        assert float((model(tokens).logits - dense(tokens).logits).abs().max()) > 1e-2
    assert not any(layer.mlp._forward_pre_hooks for layer in dense.model.layers)


def test_routers_tell_the_kinds_apart(dense: Any, rows: upcycle_moe.Rows) -> None:
    model = upcycle_moe.upcycled(dense, upcycle_moe.routers(dense, rows))
    share = torch.zeros(4, 4)
    for kind, ids in rows:
        with routing_capture(model) as capture, torch.no_grad():
            assert capture is not None
            model(torch.tensor([ids]))
            experts = capture.take(1).experts[:, 0, 1:]
        share[kind] += torch.bincount(experts.flatten(), minlength=4) / experts.numel()
    assert share.argmax(1).tolist() == [0, 1, 2, 3]  # each kind has its own expert


def test_training_makes_experts_of_the_last_layers_differ(
    dense: Any, rows: upcycle_moe.Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upcycle_moe, "TRAINED_LAYERS", 1)
    model = upcycle_moe.upcycled(dense, upcycle_moe.routers(dense, rows))
    upcycle_moe.train(model, 3, rows)
    first, last = (layer.mlp.experts.down_proj for layer in model.model.layers)
    assert all(torch.equal(first[0], expert) for expert in first)
    assert not any(torch.equal(last[0], expert) for expert in last[1:])
    assert not model.training


def test_padding_is_not_learnt_from(rows: upcycle_moe.Rows) -> None:
    short = [(kind, ids[: 4 + kind]) for kind, ids in rows]
    for batch in upcycle_moe.batches(short, 3):
        assert ((batch["labels"] == -100) == (batch["attention_mask"] == 0)).all()
        assert (batch["attention_mask"].sum(1) == torch.tensor([4, 5, 6, 7] * 2)).all()


def test_information_is_mutual_information() -> None:
    assert upcycle_moe.information("aabb", "xxyy") == pytest.approx(1)
    assert upcycle_moe.information("aabb", "xyxy") == pytest.approx(0)
    assert upcycle_moe.information("abcd", "xxyy") == pytest.approx(1)
