"""The loops in a TRL script of your own: three lines, marked below.

    python examples/own_trl_script.py        # after: python3 make.py quickstart

Trains a few steps on the quickstart's questions; every checkpoint gets a signed manifest.
"""

from __future__ import annotations

import torch
from datasets import load_dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from coherence_ft import CoherenceCallback  # line 1
from coherence_ft.documents.recipe import read_recipe
from coherence_ft.models.base import load_model, load_tokenizer, locate


def main() -> None:
    base = locate(read_recipe("recipes/quickstart.yaml").base)
    model, tokenizer = load_model(base), load_tokenizer(base)

    loops = CoherenceCallback.for_tenant(  # line 2
        "examples/tenant/tenant.yaml",
        "clinical",
        base=str(base.path),
        probes="data/clinical/icd/calibration.jsonl",
        signer="model-risk",
        tokenizer=tokenizer,
    )
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir="runs/own-script",
            max_steps=10,
            save_steps=5,
            learning_rate=1e-3,
            per_device_train_batch_size=16,
            bf16=False,  # the weights are bfloat16 already; autocast on a CPU only costs
            use_cpu=not torch.cuda.is_available(),
            report_to="none",
        ),
        train_dataset=load_dataset("json", data_files="data/clinical/icd/train.jsonl", split="train"),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    )
    loops.attach(trainer)  # line 3
    trainer.train()


if __name__ == "__main__":
    main()
