"""Supervised fine-tuning on TRL's SFTTrainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl import SFTConfig, SFTTrainer

from coherence_ft.documents.recipe import Recipe
from coherence_ft.training.arguments import (
    lora_config,
    score_trained_positions_only,
    training_arguments,
)

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def sft_trainer(
    recipe: Recipe, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Dataset
) -> SFTTrainer:
    """`rows` in TRL's `messages` or `prompt`/`completion` form.

    A `model` that already carries an adapter (a derivative) has that adapter trained further.
    """
    t = recipe.training
    score_trained_positions_only()
    return SFTTrainer(
        model=model,
        args=SFTConfig(
            **training_arguments(recipe),
            packing=t.packing,
            assistant_only_loss=t.assistant_only_loss,
        ),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=None if hasattr(model, "peft_config") else lora_config(recipe),
    )
