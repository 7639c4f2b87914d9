"""What every regime hands to transformers' `TrainingArguments`, from the recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from coherence_ft.documents.recipe import Recipe

if TYPE_CHECKING:
    from peft import LoraConfig


def training_arguments(recipe: Recipe) -> dict[str, Any]:
    """Keyword arguments that SFTConfig and DPOConfig share."""
    t = recipe.training
    on_cpu = not torch.cuda.is_available()
    return {
        "output_dir": str(recipe.output),
        "seed": t.seed,
        "data_seed": t.seed,
        "num_train_epochs": t.epochs,
        "max_steps": t.max_steps or -1,
        "learning_rate": t.learning_rate,
        "lr_scheduler_type": t.scheduler,
        "warmup_steps": t.warmup_ratio,  # transformers 5 reads a value below 1 as a ratio
        "weight_decay": t.weight_decay,
        "max_grad_norm": t.max_grad_norm,
        "per_device_train_batch_size": t.batch_size,
        "gradient_accumulation_steps": t.gradient_accumulation,
        "max_length": t.max_length,
        "gradient_checkpointing": t.gradient_checkpointing,
        # The weights are loaded in the precision asked for. Autocast on top of float32 adapters is several
        # times slower on a CPU and changes nothing that we want there.
        "bf16": t.precision == "bfloat16" and not on_cpu,
        "use_cpu": on_cpu,
        "eval_strategy": "no",  # the loops are the evaluation: CoherenceCallback
        "save_strategy": "steps",
        "save_steps": t.save_every,
        # Never below two: transformers rotates old checkpoints before the new one is signed, and a crash in
        # between must leave a signed one.
        "save_total_limit": max(2, t.keep_checkpoints),
        "logging_steps": max(1, t.save_every // 10),
        "report_to": list(t.report_to) or "none",
        "push_to_hub": False,
        "dataloader_pin_memory": not on_cpu,
        "disable_tqdm": False,
    }


def score_trained_positions_only() -> None:
    """Let TRL's fused head leave out masked positions on a CPU, as it does on a GPU.

    It scores every position where Triton is missing, lest changing shapes recompile (Neuron). A CPU compiles
    nothing, and with a short answer after a long question the head was 45 % of a step. The loss is the same.
    TRL 1.16, `_fused_forward` in trainer/utils.py; can go when TRL tells a CPU from such devices.
    """
    from trl.trainer import utils

    on_triton = utils._use_triton
    if getattr(on_triton, "compacts_on_cpu", False):
        return

    def compacts(device: torch.device) -> bool:
        return device.type == "cpu" or on_triton(device)

    compacts.compacts_on_cpu = True  # type: ignore[attr-defined]
    utils._use_triton = compacts


def lora_config(recipe: Recipe) -> LoraConfig | None:
    """PEFT's LoRA settings, or None for full fine-tuning."""
    from peft import LoraConfig

    a = recipe.adapter
    if a is None:
        return None
    return LoraConfig(
        r=a.rank,
        lora_alpha=a.alpha,
        lora_dropout=a.dropout,
        target_modules=a.target_modules[0] if a.target_modules == ("all-linear",) else list(a.target_modules),
        task_type="CAUSAL_LM",
    )
