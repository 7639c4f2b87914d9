"""What a run prints beside its bar."""

from __future__ import annotations

from coherence_ft.training.progress import summary


def test_one_short_line_for_each_kind_of_log_entry() -> None:
    assert summary({"loss": "0.25", "learning_rate": "0.001"}) == "loss 0.2500, learning rate 1.00e-03"
    verdicts = {"coherence/a/lets_through": 1.0, "coherence/b/lets_through": 0.0, "coherence/a": 0.3}
    assert summary(verdicts) == "1 of 2 constraints hold on the calibration split"
    assert summary({"train_runtime": 3.0}) == ""
