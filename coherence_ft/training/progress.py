"""The progress bar of a run, with lines that a person can read beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transformers import ProgressCallback

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments


class TrainingBar(ProgressCallback):
    """transformers' bar; of what is logged it prints one short line, the trackers get everything."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.training_bar is not None and logs and (line := summary(logs)):
            self.training_bar.write(f"step {state.global_step}: {line}")


def summary(logs: Mapping[str, Any]) -> str:
    """One line of a log entry: verdicts counted, or loss and learning rate; empty for anything else."""
    verdicts = [value for name, value in logs.items() if name.endswith("/lets_through")]
    if verdicts:
        return f"{int(sum(verdicts))} of {len(verdicts)} constraints hold on the calibration split"
    if "loss" in logs:
        return f"loss {float(logs['loss']):.4f}, learning rate {float(logs['learning_rate']):.2e}"
    return ""
