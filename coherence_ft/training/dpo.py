"""Direct preference optimisation (Rafailov et al. 2023) on TRL's DPOTrainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl import DPOConfig, DPOTrainer

from coherence_ft.documents.recipe import Recipe
from coherence_ft.training.arguments import (
    lora_config,
    score_trained_positions_only,
    training_arguments,
)

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def dpo_trainer(
    recipe: Recipe, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Dataset
) -> DPOTrainer:
    """`rows` in TRL's `prompt`/`chosen`/`rejected` form.

    The reference is the model as it was handed in: for a fresh adapter the base (adapter disabled), for a
    derivative a frozen copy of its adapter, which TRL keeps under the name `ref`.
    """
    score_trained_positions_only()
    trainer = DPOTrainer(
        model=model,
        args=DPOConfig(**training_arguments(recipe), beta=recipe.training.beta),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=None if hasattr(model, "peft_config") else lora_config(recipe),
    )
    # TRL makes the adapter of a quantized base bfloat16 and leaves its copy float32, which answers otherwise.
    parameters = dict(trainer.model.named_parameters())
    for name, parameter in parameters.items():
        if ".ref." in name:
            parameter.data = parameter.data.to(parameters[name.replace(".ref.", ".default.")].dtype)
    return trainer
