"""CFT7xx: training, its preflight checks and data, promotion and loading."""

from coherence_ft.documents.codes import Code

_DATA: tuple[Code, ...] = (
    Code(
        id="CFT750",
        summary="The training data does not exist",
        reason="The recipe names a file that is not there. Data sets of the examples are built on each "
        "machine and are never part of the repository.",
        wrong="train: data/clinical/train.jsonl   # not built yet",
        right="python examples/build_clinical.py",
    ),
    Code(
        id="CFT751",
        summary="The training data cannot be read",
        reason="Rows come from JSON lines (.jsonl) or Parquet (.parquet); the file is of another kind, "
        "damaged, or may not be read by this user.",
        wrong="train: rows.csv",
        right="train: rows.jsonl",
    ),
    Code(
        id="CFT752",
        summary="A line of the training data is not JSON",
        reason="Each line of a .jsonl file is one JSON object in UTF-8. All broken lines are reported.",
        wrong="{'prompt': 'single quotes'}",
        right='{"prompt": "…", "completion": "…"}',
    ),
    Code(
        id="CFT753",
        summary="A training row has the wrong shape",
        reason="A row that is skipped or half read would train on something else than the manifest states. "
        "SFT takes messages, or prompt and completion; DPO takes prompt, chosen and rejected. Each turn has "
        "a role and a text, user and assistant take turns, the assistant is last. All rows have one shape.",
        wrong='{"messages": [{"role": "user", "content": "Is gout a disease of the joints?"}]}',
        right='{"messages": [{"role": "user", "content": "Is gout a disease of the joints?"}, '
        '{"role": "assistant", "content": "yes"}]}',
    ),
    Code(
        id="CFT754",
        summary="The training data holds no rows",
        reason="An empty file would train nothing and give a derivative that equals its base.",
        wrong="an empty train.jsonl",
        right="a train.jsonl with at least one row",
    ),
    Code(
        id="CFT755",
        summary="Data of the hub is not pinned or cannot be loaded",
        reason="Without a revision the same recipe trains on other rows tomorrow. The manifest states the "
        "digest of the rows that were trained on.",
        wrong="train: hub:organisation/rows",
        right="train: hub:organisation/rows@9f2c1e0#train",
    ),
)

CODES: tuple[Code, ...] = (
    *_DATA,
    Code(
        "CFT701",
        "the end-of-turn token is not trained on",
        "A model that never sees the end of its turn inside the loss never learns to stop. The loss looks "
        "fine; generation runs on until the length limit (trl issues 5988 and 7230).",
        "a template whose generation block closes before <|im_end|>",
        "{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}",
    ),
    Code(
        "CFT702",
        "assistant-only loss without generation markers",
        "TRL finds assistant turns by the markers {% generation %} in the chat template. Without them "
        "every token is masked, or every token is trained on.",
        "training: {assistant_only_loss: true}  # with Mistral's own template",
        "base: {chat_template: templates/smollm2.jinja}",
    ),
    Code(
        "CFT703",
        "truncation leaves no trained token",
        "A row whose prompt fills max_length has its whole completion cut off. It is dropped without a "
        "word, or turns the loss into NaN (trl issue 3927).",
        "training: {max_length: 64}  # prompts of 90 tokens",
        "training: {max_length: 128}",
    ),
    Code(
        "CFT704",
        "another chat template than the parent's",
        "A derivative was measured with one way of writing a conversation. Trained or served with "
        "another, neither its answers nor its confidence are those that were measured.",
        "base: {model: derivative:runs/clinical/derivative, chat_template: other.jinja}",
        "base: {model: derivative:runs/clinical/derivative}",
    ),
    Code(
        "CFT705",
        "probes that are in the training data",
        "A probe that was trained on measures memory. Every estimate from it is too good, and the gate's "
        "promise does not hold.",
        "the same prompt in train.jsonl and certification.jsonl",
        "splits made by group, so that no prompt is in two of them",
    ),
    Code(
        "CFT706",
        "the router of a mixture of experts would be adapted",
        "A changed router sends the same question to other experts, so every baseline by routing pattern "
        "stops being valid. It has to be asked for.",
        "adapter: {target_modules: [q_proj, gate]}",
        "adapter: {target_modules: [q_proj, gate], adapt_router: true}",
    ),
    Code(
        "CFT707",
        "dropout on expert parameters",
        "Experts are 3-D parameters in transformers 5, and PEFT refuses dropout on them after the model "
        "has been loaded. It is better known before.",
        "adapter: {dropout: 0.05, target_modules: [all-linear]}  # Mixtral",
        "adapter: {dropout: 0.0, target_modules: [q_proj, v_proj]}",
    ),
    Code(
        "CFT708",
        "the disk is full",
        "A save that could not be finished is never left in the place of a good one: what was saved before "
        "is intact and the run resumes from it.",
        "No space left on device",
        "free space, then: coherence-ft train RECIPE --resume",
    ),
    Code(
        "CFT709",
        "a package of an extra is not installed",
        "The core validates, resolves and verifies without torch. Training and probing need the extra.",
        "pip install coherence-ft",
        "pip install 'coherence-ft[train]'",
    ),
    Code(
        "CFT712",
        "the output folder already holds a run",
        "Starting over would rotate away the checkpoints of the run before. Nothing is ever overwritten.",
        "coherence-ft train recipes/quickstart.yaml  # twice",
        "coherence-ft train recipes/quickstart.yaml --resume",
    ),
    Code(
        "CFT713",
        "nothing to resume from",
        "Only a checkpoint whose manifest verifies is continued: one that was cut off or touched would "
        "make another model than the uninterrupted run.",
        "coherence-ft train recipes/quickstart.yaml --resume  # before the first save",
        "coherence-ft train recipes/quickstart.yaml",
    ),
    Code(
        "CFT714",
        "a checkpoint of another recipe, data or base",
        "Resuming is exact: the weights at the end are those of a run that was never interrupted. With "
        "anything changed that is not true, and the manifest would lie.",
        "coherence-ft train recipes/legal.yaml --resume runs/clinical/checkpoint-40",
        "coherence-ft train recipes/clinical.yaml --resume runs/clinical/checkpoint-40",
    ),
    Code(
        "CFT716",
        "packing with an attention that leaks",
        "With SDPA, rows packed into one sequence attend to each other; log-probabilities were off by "
        "0.27 to 0.70 in our measurement.",
        "training: {packing: true}",
        "training: {packing: false}",
    ),
    Code(
        "CFT717",
        "promotion refused",
        "A checkpoint becomes a derivative only when every hard constraint passes on the certification "
        "split, or a waiver in force covers it. Too little evidence is no pass.",
        "selective_risk: 0.34 measured, at most 0.30 demanded",
        "selective_risk: 0.14 measured, at most 0.18 with 95 % confidence",
    ),
    Code(
        "CFT718",
        "splits that share question groups",
        "The calibrator is fitted on one split and certified on another. A group in both makes the "
        "certificate optimistic.",
        "group A00 in calibration.jsonl and in certification.jsonl",
        "every group in one split only",
    ),
    Code(
        "CFT719",
        "fewer rows than one optimizer step takes",
        "The first and only step would be on a partial batch, and the learning-rate schedule would be "
        "over before it began.",
        "batch_size 32 with 20 rows",
        "batch_size 4 with 20 rows",
    ),
    Code(
        "CFT720",
        "another base model than the manifest names",
        "An adapter on another base is another model, of which nothing was measured.",
        "load_derivative(folder, base='another-model')",
        "the base whose digest is in the manifest",
    ),
    Code(
        "CFT721",
        "a choice without two different options",
        "Confidence is the share of likelihood among options: with one option it would always be 1, and an "
        "option that is given twice would take half of its own share.",
        "derivative.answer(question, options=['yes'])",
        "derivative.answer(question, options=['yes', 'no'])",
    ),
    Code(
        "CFT722",
        "a signer that may not sign",
        "A manifest counts only when an authority with the power to attest signed it. This is known "
        "before training, so it is refused before training.",
        "signer: intern",
        "signer: model-risk  # powers: [attest]",
    ),
    Code(
        "CFT723",
        "a checkpoint that does not verify was set aside",
        "A save that was cut off leaves files without a manifest. They are kept under another name and "
        "not used.",
        "checkpoint-40 without coherence_manifest.json",
        "unsigned-checkpoint-40, and the run goes on from checkpoint-20",
    ),
    Code(
        "CFT724",
        "the recipe of a checkpoint is not known",
        "The run's record beside its checkpoints says which recipe made them. Without it, probes and "
        "constraints must be named.",
        "coherence-ft promote /copied/checkpoint-40",
        "coherence-ft promote /copied/checkpoint-40 --recipe recipes/quickstart.yaml",
    ),
    Code(
        "CFT725",
        "a derivative is there already",
        "A certified derivative may be in use. It is never overwritten.",
        "coherence-ft promote runs/quickstart/checkpoint-58  # twice",
        "coherence-ft promote runs/quickstart/checkpoint-58 --output runs/quickstart/derivative-2",
    ),
    Code(
        "CFT726",
        "other probes than the run was started with",
        "A certification split must be fixed before training, or it can be chosen to please.",
        "certification.jsonl rebuilt with another seed after training",
        "the files whose digests the checkpoint's manifest names",
    ),
    Code(
        "CFT727",
        "a split that the recipe does not name",
        "Each split has one use. What is not named cannot be measured on.",
        "coherence-ft evaluate … --split test  # no probes.test",
        "probes: {test: ../data/clinical/icd/test.jsonl}",
    ),
    Code(
        "CFT728",
        "another adapter or precision than the parent's",
        "A derivative's own adapter or weights are trained further, on the base as it was loaded for it. A "
        "recipe that says otherwise would put into the manifest what was not done, and serve what was not "
        "trained.",
        "base: {model: derivative:runs/clinical/derivative}, adapter: {rank: 16}  # its adapter has rank 8",
        "base: {model: derivative:runs/clinical/derivative}, adapter: {rank: 8}",
    ),
    Code(
        "CFT729",
        "another recipe than the checkpoint's",
        "A checkpoint is certified under the domain, the constraints and the probes that were declared "
        "before it was trained. Another recipe could be chosen to please.",
        "coherence-ft promote runs/clinical/checkpoint-40 --recipe recipes/general.yaml",
        "coherence-ft promote runs/clinical/checkpoint-40",
    ),
    Code(
        "CFT730",
        "a tracker that cannot be used",
        "The names under `report_to` are those of transformers, and each needs its package. Without it the "
        "run would end after the model has been loaded.",
        "training: {report_to: [wandb]}  # not installed",
        "training: {report_to: [tensorboard]}  # pip install tensorboard",
    ),
    Code(
        "CFT731",
        "the output folder cannot be written",
        "A run keeps its record and its checkpoints there, and a look at the certification split is written "
        "down before it is taken. It is better known before training than at the first save.",
        "output: /usr/share/runs  # as a user who may not write there",
        "output: ../runs/clinical",
    ),
    Code(
        "CFT732",
        "the projection cannot be written",
        "Nothing is left half written: a BOM or a report that ends in the middle might still be read.",
        "coherence-ft export runs/derivative --as cyclonedx --output /usr/share/bom.json",
        "coherence-ft export runs/derivative --as cyclonedx --output bom.json",
    ),
    Code(
        "CFT733",
        "an output inside of a derivative's folder",
        "The manifest lists every file of the folder. One that it does not list may hide anything, so a "
        "folder with one more file no longer verifies.",
        "coherence-ft export runs/derivative --as model-card --output runs/derivative/README.md",
        "coherence-ft export runs/derivative --as model-card --output runs/derivative-README.md",
    ),
    Code(
        "CFT756",
        "a loop that the manifest names is not attached",
        "What was certified is an answer with its calibrated confidence, its threshold and the tenant's "
        "boundaries. A service that answers without one of them serves something that nobody measured.",
        'runtime: {"loops": ["calibration", "integrity", "alignment"]}, loaded by engine version 1',
        "a derivative certified again, whose manifest names what the engine attaches",
    ),
)
