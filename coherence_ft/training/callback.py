"""CoherenceCallback: the three loops attached to a TRL trainer.

At every evaluation the model is probed within a budget, the loops turn what was seen into estimates and
verdicts, and the trackers get them. At every save the checkpoint gets its signed manifest. The training
itself is not touched: the weights are the same, bit for bit, with and without it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState

from coherence_ft.documents.probe_set import ProbeSet
from coherence_ft.evidence.assessment import Assessment
from coherence_ft.evidence.calibrators import Calibrator
from coherence_ft.loops.engine import CoherenceEngine
from coherence_ft.loops.observation import Observations
from coherence_ft.manifest.statement import Stage, TrainingFacts
from coherence_ft.probing.probe import Budget, probe
from coherence_ft.training.checkpoint import Provenance, seal

if TYPE_CHECKING:
    from transformers import (
        PreTrainedModel,
        PreTrainedTokenizerBase,
        TrainerControl,
        TrainerState,
        TrainingArguments,
    )

    from coherence_ft.authority.keys import AnySigner


class CoherenceCallback(TrainerCallback, ExportableState):
    """Attach the loops to any TRL or transformers trainer of a causal language model.

    In a script of your own::

        loops = CoherenceCallback.for_tenant("tenant.yaml", "clinical", probes="calibration.jsonl", …)
        trainer = SFTTrainer(…, callbacks=[loops])
        loops.attach(trainer)  # so that estimates reach the trackers

    `every`: probe each that many steps, besides the trainer's own evaluations and saves.
    `budget` bounds one pass. A manifest that cannot be written raises CoherenceError (CFT617)
    or OSError, which ends the training.
    """

    def __init__(
        self,
        provenance: Provenance,
        probes: ProbeSet,
        key: AnySigner,
        *,
        every: int | None = None,
        budget: Budget | None = None,
        base_observations: Observations | None = None,
    ) -> None:
        self.engine = CoherenceEngine(provenance.constraints)
        self.provenance = provenance
        self.probes = probes
        self.key = key
        self.every = every
        self.budget = budget or Budget()
        self.base = base_observations  # of the same probes: fills the base column and brier_gain
        self.history: list[dict[str, Any]] = []  # one entry a pass; part of the checkpoint's state
        self.probe_seconds = 0.0
        self._latest: tuple[int, Assessment, Calibrator] | None = None
        self._log: Callable[[dict[str, float]], None] | None = None

    @classmethod
    def for_tenant(
        cls,
        tenant: str | Path,
        domain: str,
        *,
        base: str | Path,
        probes: str | Path,
        signer: str,
        tokenizer: PreTrainedTokenizerBase,
        precision: str = "bfloat16",
        **settings: Any,
    ) -> CoherenceCallback:
        """The loops under a tenant's constraints, for a script that has no recipe.

        `base`: what the model was loaded from, as in a recipe (`base.model`), in which `precision`.
        `signer`: the authority whose private key signs. `settings`: keyword arguments of the constructor.
        Raises CoherenceError when a document is wrong or the key is missing.
        """
        from coherence_ft.training.provenance import script_provenance

        provenance, probe_set, key = script_provenance(
            Path(tenant),
            domain,
            base=str(base),
            probes=Path(probes),
            signer_name=signer,
            tokenizer=tokenizer,
            precision=precision,
        )
        return cls(provenance, probe_set, key, **settings)

    def attach(self, trainer: Trainer) -> CoherenceCallback:
        """Let estimates reach the trainer's trackers: a callback alone cannot log through the trainer."""
        # Not the trainer's own `log`: TRL's empties the metrics that it has gathered for its next line.
        self._log = partial(Trainer.log, trainer)
        if self not in trainer.callback_handler.callbacks:
            trainer.add_callback(self)
        return self

    def state(self) -> dict[str, Any]:
        """What travels in the checkpoint's trainer state; `on_train_begin` takes it back on resume."""
        return {"args": {}, "attributes": {"history": self.history}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._latest = None  # of another training, perhaps at the same step
        # transformers' own restoring builds the callback anew from JSON, which cannot carry models and keys.
        saved = state.stateful_callbacks.get(type(self).__name__)
        if isinstance(saved, dict):
            self.history = list(saved["attributes"]["history"])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Before a save, not at it: what is seen must be in the state that the checkpoint carries.
        if control.should_save or (self.every and state.global_step % self.every == 0):
            due = control.should_log
            self._observe(args, state, kwargs)
            # Writing our line made the trainer think that this step's loss is logged.
            control.should_log = due

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # With several evaluation sets this fires once for each; the model is probed once.
        assessment, _ = self._observe(args, state, kwargs)
        if (metrics := kwargs.get("metrics")) is not None:
            metrics.update({f"eval_{name}": value for name, value in scalars(assessment).items()})

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        assessment, calibrator = self._observe(args, state, kwargs)
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        seal(
            folder,
            self.provenance,
            self.key,
            assessment=assessment,
            calibrator=calibrator,
            training=TrainingFacts(
                steps=state.global_step,
                epoch=state.epoch or 0.0,
                trained_tokens=state.num_input_tokens_seen or None,
                training_compute=int(state.total_flos) or None,
            ),
            stage=Stage.MONITORING,
        )

    def _observe(
        self, args: TrainingArguments, state: TrainerState, event: dict[str, Any]
    ) -> tuple[Assessment, Calibrator]:
        """Probe at most once a step."""
        if self._latest is not None and self._latest[0] == state.global_step:
            return self._latest[1:]
        model: PreTrainedModel = event["model"]
        seen = probe(
            model,
            event["processing_class"],
            self.probes,
            model_digest=f"{self.provenance.name}@{state.global_step}",
            split="calibration",
            budget=self.budget,
            progress=_progress_line(args, state),
            confidence=self.engine.resolved.measurement.confidence.value,
        )
        self.probe_seconds += seen.seconds
        assessment, calibrator = self.engine.assess(seen, base=(self.base, self.base) if self.base else None)
        self._latest = (state.global_step, assessment, calibrator)
        values = scalars(assessment)
        self.history.append({"step": state.global_step, "seconds": round(seen.seconds, 3), **values})
        if self._log is not None:
            self._log(values)
        else:
            state.log_history.append({**values, "step": state.global_step})
        return assessment, calibrator


def scalars(assessment: Assessment) -> dict[str, float]:
    """Flat numbers for trackers: estimate, limits, and 1 where the constraint lets through."""
    flat: dict[str, float] = {}
    for result in assessment.results:
        name = f"coherence/{result.constraint}"
        flat[f"{name}/lets_through"] = float(result.verdict.lets_through)
        if result.estimate is not None:
            flat[name] = result.estimate.value
            flat[f"{name}/lower"] = result.estimate.lower
            flat[f"{name}/upper"] = result.estimate.upper
    flat["coherence/skipped"] = float(assessment.skipped)
    return flat


def _progress_line(args: TrainingArguments, state: TrainerState) -> Callable[[int, int], None] | None:
    """A line on a terminal that says how far probing is; nothing in a log file."""
    if args.disable_tqdm or not state.is_world_process_zero or not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        end = "\r" if done < total else "\r\033[K"
        sys.stderr.write(f"\r\033[Kprobing at step {state.global_step}: {done}/{total}{end}")
        sys.stderr.flush()

    return show
