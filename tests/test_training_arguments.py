"""The fused head that leaves out masked positions computes the loss and gradients of TRL's own."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_model
from trl.trainer import utils

from coherence_ft.training.arguments import score_trained_positions_only


def test_masked_positions_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils, "_use_triton", lambda device: False)
    theirs = _loss_and_gradient()
    score_trained_positions_only()
    assert utils._use_triton(torch.device("cpu"))
    score_trained_positions_only()  # once more changes nothing
    ours = _loss_and_gradient()
    assert ours[0] == pytest.approx(theirs[0], abs=1e-6)
    torch.testing.assert_close(ours[1], theirs[1], atol=1e-6, rtol=1e-4)


def _loss_and_gradient() -> tuple[float, torch.Tensor]:
    model = tiny_model()
    utils.add_fused_lm_head(model)
    ids = torch.arange(24).reshape(2, 12) % 20 + 4
    labels = ids.masked_fill(torch.arange(12) < 9, -100)
    loss = model(input_ids=ids, labels=labels, fused_lm_head=True).loss
    loss.backward()
    return loss.item(), model.get_input_embeddings().weight.grad.clone()
