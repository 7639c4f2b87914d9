"""CFT4xx: constraints, recipes, probe sets, estimates."""

from coherence_ft.documents.codes import Code

CODES: tuple[Code, ...] = (
    Code(
        "CFT410",
        "a published constraint set that does not exist",
        "A layer whose set cannot be found would bind nothing.",
        "set: published:clincal",
        "set: published:clinical",
    ),
    Code(
        "CFT413",
        "a set that extends one for another domain",
        "What was decided for one field of use would silently hold in another.",
        "domain: financial\nextends: [{set: published:clinical, sha256: …}]",
        "domain: clinical\nextends: [{set: published:clinical, sha256: …}]",
    ),
    Code(
        "CFT414",
        "an extended set that is not the one pinned",
        "A set that another one takes over can change without a line in the one under review. The pin makes "
        "each change visible: somebody reads it and moves the pin.",
        "extends: [{set: house.yaml, sha256: 0000…}]",
        "extends: [{set: house.yaml, sha256: …}]   # sha256sum house.yaml",
    ),
    Code(
        "CFT415",
        "a set that extends itself",
        "Two sets that each take over the other have no content of their own to hold.",
        "a.yaml extends b.yaml, and b.yaml extends a.yaml",
        "a.yaml and b.yaml both extend house.yaml",
    ),
    Code(
        "CFT416",
        "a constraint set of a Python package that is not there",
        "A set that cannot be found would bind nothing. Packages are looked up and never imported.",
        "extends: [{set: package:acme_policy/clincal.yaml, sha256: …}]",
        "extends: [{set: package:acme_policy/clinical.yaml, sha256: …}]",
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
        "CFT419",
        "a constraint that the probe set cannot show",
        "A verdict needs evidence. Where the certification split holds fewer probes of a kind than a "
        "constraint's minimum evidence, the verdict is `insufficient` whatever the model does, and after "
        "hours of training promotion is refused.",
        "{metric: violation_rate, category: format, minimum_evidence: 59}   # 8 such conversations",
        "59 conversations of the category format in the file named under `probes.certification`",
    ),
    Code(
        "CFT420",
        "a --set option that cannot be applied",
        "An option that is not understood would silently train with the recipe's own value.",
        "--set training.epochs:2",
        "--set training.epochs=2",
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
