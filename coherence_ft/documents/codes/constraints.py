"""CFT4xx: constraints, recipes, probe sets, estimates."""

from coherence_ft.documents.codes import Code

CODES: tuple[Code, ...] = (
    Code(
        "CFT402",
        "a bound in the wrong direction for its metric",
        "`at_least` on a metric for which less is better would demand a worse model, and pass it.",
        "{metric: selective_risk, at_least: 0.1}",
        "{metric: selective_risk, at_most: 0.1}",
    ),
    Code(
        "CFT403",
        "a parameter that the metric does not take",
        "A parameter without effect suggests that something narrower is measured than is.",
        "{metric: accuracy, coverage: 0.6}",
        "{metric: selective_risk, coverage: 0.6}",
    ),
    Code(
        "CFT404",
        "a parameter that the metric needs",
        "The selective risk is defined only at a stated coverage: who answers one question in ten is "
        "seldom wrong.",
        "{metric: selective_risk, at_most: 0.1}",
        "{metric: selective_risk, at_most: 0.1, coverage: 0.6}",
    ),
    Code(
        "CFT405",
        "a bound outside the metric's range",
        "Such a bound always passes or never does. Rates are fractions.",
        "{metric: violation_rate, at_most: 5}",
        "{metric: violation_rate, at_most: 0.05}",
    ),
    Code(
        "CFT406",
        "an id that is given twice",
        "An id names one thing: with two under the same id it would be open which bound or whose key counts.",
        "constraints: [{id: risk, …}, {id: risk, …}]",
        "constraints: [{id: risk-60, …}, {id: risk-80, …}]",
    ),
    Code(
        "CFT407",
        "a waiver floor stricter than the bound",
        "The floor is the loosest bound that a waiver may grant; no waiver fits between a bound and a "
        "floor that is stricter.",
        "{at_most: 0.1, waiver_floor: 0.05}",
        "{at_most: 0.1, waiver_floor: 0.15}",
    ),
    Code(
        "CFT408",
        "minimum evidence that cannot show the bound",
        "With n units and no error seen, the exact upper limit of a rate is 1 - (1 - confidence)^(1/n). "
        "A smaller minimum promises a verdict that such evidence cannot give: at 95 % confidence, 5 % "
        "needs 59 units, 2 % 149, 1 % 299.",
        "{metric: violation_rate, at_most: 0.05, confidence: 0.95, minimum_evidence: 50}",
        "{metric: violation_rate, at_most: 0.05, confidence: 0.95, minimum_evidence: 59}",
    ),
    Code(
        "CFT410",
        "a published constraint set that does not exist",
        "A layer whose set cannot be found would bind nothing.",
        "set: published:clincal",
        "set: published:clinical",
    ),
    Code(
        "CFT411",
        "a document names a file that does not exist",
        "What is missing says nothing, and nothing is never taken for consent.",
        "tenant: tennant.yaml",
        "tenant: ../examples/tenant/tenant.yaml",
    ),
    Code(
        "CFT412",
        "a folder without documents",
        "Nothing was checked. Success would be reported for a folder that was misspelt or not filled yet.",
        "coherence-ft validate recipe-drafts/",
        "coherence-ft validate recipes/",
    ),
    Code(
        "CFT420",
        "a --set option that cannot be applied",
        "An option that is not understood would silently train with the recipe's own value.",
        "--set training.epochs:2",
        "--set training.epochs=2",
    ),
    Code(
        "CFT421",
        "quantization without an adapter",
        "Weights in 4 or 8 bits have no gradients; only an adapter on top of them can be trained.",
        "adapter: none\nquantization: {bits: nf4}",
        "adapter: {rank: 8}\nquantization: {bits: nf4}",
    ),
    Code(
        "CFT422",
        "double quantization of int8",
        "Double quantization compresses the constants of NF4 blocks; LLM.int8() has none. It would be "
        "ignored.",
        "quantization: {bits: int8, double: true}",
        "quantization: {bits: nf4, double: true}",
    ),
    Code(
        "CFT423",
        "a revision for a base that is not of the hub",
        "Folders, files and packages are pinned by content; a revision beside them would be recorded and"
        " checked by nobody.",
        "base: {model: ./model, revision: main}",
        "base: {model: ./model, sha256: …}",
    ),
    Code(
        "CFT424",
        "data of the hub without a commit",
        "A branch can move between two runs, and then the manifest's data digest names rows that nobody "
        "can find.",
        "train: hub:owner/data#train",
        "train: hub:owner/data@5f0e2a9b…#train",
    ),
    Code(
        "CFT425",
        "training data of a format that is not read",
        "Rows are read from JSONL or Parquet, in TRL's formats.",
        "train: data.csv",
        "train: data.jsonl",
    ),
    Code(
        "CFT427",
        "a setting that the regime does not have",
        "It would be ignored, and the recipe would say something about the run that is not so.",
        "training: {regime: dpo, packing: true}",
        "training: {regime: dpo, beta: 0.1}",
    ),
    Code(
        "CFT428",
        "both epochs and max_steps",
        "Steps win over epochs in the trainer, so that the written number of epochs would be untrue.",
        "training: {epochs: 2, max_steps: 100}",
        "training: {max_steps: 100}",
    ),
    Code(
        "CFT440",
        "a probe set without rows",
        "Without probes nothing is measured; an empty file is usually a build that failed.",
        "an empty file",
        "at least one row",
    ),
    Code(
        "CFT441",
        "a probe id that is given twice",
        "A row that is there twice counts as two pieces of evidence and makes intervals too narrow.",
        '{"id": "q1", …}\n{"id": "q1", …}',
        '{"id": "q1", …}\n{"id": "q2", …}',
    ),
    Code(
        "CFT442",
        "an answer that is not one of the options",
        "The answer is the text of the right option, letter by letter; no model could ever give this one.",
        '"options": ["yes", "no"], "answer": "Yes"',
        '"options": ["yes", "no"], "answer": "yes"',
    ),
    Code(
        "CFT443",
        "a probe group that its relation does not fit",
        "A negation holds between two yes-or-no questions, an implication between two questions; "
        "otherwise it is not defined what contradicts what.",
        '"relation": "negation", "members": [m1, m2, m3]',
        '"relation": "negation", "members": [m1, m2]',
    ),
    Code(
        "CFT444",
        "messages that no model can answer",
        "Chat templates want an optional system message, then user and assistant in turn; the model "
        "replies to the user's last turn. Some templates raise otherwise, others drop a turn.",
        '"messages": [{"role": "assistant", …}]',
        '"messages": [{"role": "user", …}]',
    ),
    Code(
        "CFT445",
        "wrong arguments for a verifier",
        "A check without its argument would hold for every reply.",
        '{"verifier": "max_words", "text": "40"}',
        '{"verifier": "max_words", "words": 40}',
    ),
    Code(
        "CFT446",
        "a regular expression that cannot be compiled",
        "The check could not be made when the model has replied.",
        '{"verifier": "regex", "pattern": "("}',
        '{"verifier": "regex", "pattern": "\\\\("}',
    ),
    Code(
        "CFT449",
        "more problems than are shown",
        "A data file with many broken rows has usually one cause. The first ones are shown, the others "
        "counted.",
        "51 broken rows",
        "mend the first ones and run again",
    ),
    # Estimates and the observations they are made from.
    Code(
        "CFT450",
        "an estimate that is not a finite number",
        "A verdict is taken from a value and its limits. Without numbers there is nothing to compare, and a "
        "comparison with NaN would pass or fail by accident.",
        'value: "nan"',
        'value: "0.140000", lower: "0.104212", upper: "0.187310"',
    ),
    Code(
        "CFT451",
        "a probe observed more than once",
        "Every observation counts as one piece of evidence. Counting one twice makes an interval narrower "
        "than the evidence allows.",
        '{"probe": "icd-0041", …}\n{"probe": "icd-0041", …}',
        '{"probe": "icd-0041", …}\n{"probe": "icd-0042", …}',
    ),
    Code(
        "CFT452",
        "an observation that is no evidence",
        "Probabilities that are not finite, or do not sum to 1, come from a broken model; an answer outside "
        "the options, a probe group without the members its relation speaks of, or a reply without a check "
        "can show nothing. None is dropped in silence, since what breaks is rarely a random sample.",
        "probabilities: [nan, nan], answer: 0",
        "probabilities: [0.83, 0.17], answer: 0",
    ),
    Code(
        "CFT453",
        "splits measured on different models",
        "A calibrator describes one model. Judged on another, its confidence means nothing.",
        "calibration measured on checkpoint-40, certification on checkpoint-80",
        "calibration and certification both measured on checkpoint-80",
    ),
    Code(
        "CFT454",
        "one split both fits and certifies",
        "A calibrator or a threshold looks better on the answers that chose it. On 400 answers a threshold "
        "chosen and judged on the same ones broke its promised risk in about half of all trials.",
        "probes: {calibration: probes.jsonl, certification: probes.jsonl}",
        "probes: {calibration: calibration.jsonl, certification: certification.jsonl}",
    ),
    Code(
        "CFT455",
        "a group of questions in two splits",
        "Questions of one group (one passage, one code family) share what makes them easy or hard. A group "
        "in both splits lets the calibrator see what it is judged on.",
        'calibration.jsonl: {"group": "E11", …}\ncertification.jsonl: {"group": "E11", …}',
        'calibration.jsonl: {"group": "E11", …}\ncertification.jsonl: {"group": "E13", …}',
    ),
    Code(
        "CFT456",
        "a calibrator of another model",
        "How much a stated confidence is worth changes with every fine-tuning, so a calibrator belongs to "
        "the weights on which it was fitted.",
        "copying calibrator.json from one derivative to its sister",
        "fitting it on the derivative itself: `coherence-ft promote`",
    ),
    Code(
        "CFT457",
        "a calibrator file that cannot be read",
        "Confidence without its calibrator is a promise without evidence, so a derivative whose calibrator "
        "is broken does not answer.",
        '{"kind": "platt", "slope": "-0.4", …}',
        '{"kind": "platt", "slope": "0.4", …}',
    ),
    Code(
        "CFT458",
        "a base model measured on another probe set",
        "What fine-tuning gained shows only on the same questions, pair by pair.",
        "base measured on certification.jsonl of last month, derivative on today's",
        "both measured on the same file (same digest)",
    ),
    Code(
        "CFT459",
        "a verifier that is unknown or cannot take its arguments when it runs",
        "A check that cannot run must not count as passed.",
        '{"verifier": "named_constraint", "name": "no dosage"}',
        '{"verifier": "named_constraint", "name": "no dosage", "forbidden": ["mg"]}',
    ),
)
