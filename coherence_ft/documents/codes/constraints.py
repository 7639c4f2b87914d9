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
        "{metric: violation_rate, category: format, minimum_evidence: 69}   # 8 such conversations",
        "69 conversations of the category format in the file named under `probes.certification`",
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
    # Routing patterns.
    Code(
        "CFT460",
        "observations of another model",
        "A certificate speaks of one set of weights on one base model. What other weights answered, an "
        "earlier checkpoint's too, says nothing of these.",
        "certify checkpoint-80 with observations of checkpoint-40",
        "certify checkpoint-80 with observations that name its weights and its base",
    ),
    Code(
        "CFT461",
        "observations that nobody who may attest vouches for",
        "Whoever measures decides what is signed. Observations name the authority that measured them and the "
        "version of the software; an authority the tenant does not know, or one without the power `attest`, "
        "could hand in whatever passes.",
        "authority: marketing   # powers: [set]",
        "authority: model-risk   # powers: [attest]",
    ),
    Code(
        "CFT462",
        "observations of a split that is no evidence",
        "Answers to the training data show what was memorised. Only the calibration split may fit, and only "
        "the split that is judged may decide.",
        "split: train",
        "split: certification",
    ),
    Code(
        "CFT463",
        "observations of another probe set",
        "The manifest names the probe sets by digest. Observations of other files, or of two mixed, would be "
        "signed under a name that is not theirs.",
        "certification observations of certification-draft.jsonl",
        "observations of the file named under `probes.certification`",
    ),
    Code(
        "CFT465",
        "expert counts that are none",
        "A routing pattern is read from how often each expert was used for an answer. Counts of another "
        "shape, or none at all, come from a capture that was not attached or not finished.",
        "an answer of a mixture of experts without expert counts",
        "experts: whole numbers, (layers, experts), some in every layer",
    ),
    Code(
        "CFT466",
        "a routing codebook of another model",
        "Expert 3 of one model is not expert 3 of another, and fine-tuning moves what reaches the routers. A "
        "codebook holds for the weights and the capture that it was fitted with.",
        "the codebook of one derivative for the observations of its sister, or of a dense model",
        "a codebook fitted on the calibration split of the derivative itself",
    ),
    Code(
        "CFT467",
        "a routing codebook that cannot be read",
        "Patterns decide which correction an answer's confidence gets, so a codebook that is broken or was "
        "edited names none.",
        '{"kind": "routing-codebook", "threshold": 0.2, …}',
        '{"kind": "routing-codebook", "threshold": "0.2", …}',
    ),
    # Calibrators.
    Code(
        "CFT468",
        "a calibrator of another routing codebook or source of confidence",
        "A calibrator corrects one kind of confidence, by routing patterns of one codebook. A pattern of the "
        "same name in another codebook is another pattern, and 0.9 as a likelihood is not a spoken 90 %.",
        "a calibrator fitted with patterns of codebook 3fa1…, observations without patterns",
        "calibrator and observations of the same codebook, or both without",
    ),
    Code(
        "CFT469",
        "answers that fit no temperature and no isotonic curve",
        "Neither has a prior: from no answers nothing follows, and from answers that are all right, or all "
        "wrong, certainty would. The Platt calibrator leans on its prior instead and stays between.",
        "fit_temperature on 12 answers, all of them right",
        "fit_platt on 12 answers, all of them right",
    ),
    # Statistics.
    Code(
        "CFT470",
        "a cell without observations",
        "Nothing was measured, so nothing is shown: the verdict is `insufficient`, and the cell still counts "
        "among those that were asked.",
        "cells: legal × pattern-3, 0 answers",
        "cells: legal × pattern-3, 60 answers",
    ),
    Code(
        "CFT471",
        "a cell with one class",
        "Whether confidence tells right from wrong shows only where there is both. The verdict is "
        "`insufficient`; shares, such as accuracy and selective risk, are measured all the same.",
        "auroc of 40 answers, all of them right",
        "auroc of 400 answers, 12 of them wrong",
    ),
    Code(
        "CFT472",
        "the state of a sequential gate that cannot be read",
        "A gate that stops early is worth what its capital is worth. A state that nobody wrote could stop at "
        "once, so it is never guessed at.",
        '{"n": 40, "below": ["nan", "2.1", "1.7"], …}',
        '{"n": 40, "below": ["1.9", "2.1", "1.7"], …}',
    ),
    Code(
        "CFT473",
        "an observation in a cell that was not declared",
        "Cells that are found in the outcomes are chosen by them, and those left out would not be counted. "
        "Declare them first; one of them may be `unknown`.",
        "declared: clinical, legal; observed: financial",
        "declared: clinical, legal, financial",
    ),
    Code(
        "CFT474",
        "scikit-learn is missing",
        "Temperature and isotonic calibrators are fitted by scikit-learn, which is installed only where they "
        "are wanted. Those already fitted apply without it.",
        "fit_isotonic in an environment without scikit-learn",
        "pip install 'scikit-learn>=1.8'",
    ),
    # Outcomes at run time.
    Code(
        "CFT480",
        "a file without outcomes",
        "An empty file is usually an export that failed; taken for no news, it would hide drift.",
        "coherence-ft evidence add empty.jsonl",
        "coherence-ft evidence add outcomes.jsonl",
    ),
    Code(
        "CFT481",
        "an outcome of another model or calibrator",
        "Outcomes tell whether the confidence of one model, stated through one calibrator, still holds. "
        "Those of its predecessor say nothing about it.",
        '"model": "3fa1…" (the adapter before last)',
        '"model": the digest that `coherence-ft evidence show` prints',
    ),
    Code(
        "CFT482",
        "an outcome whose grounding is not known",
        "Only what was found out independently of the model may change its calibration. Of a source that "
        "nobody named, that cannot be said.",
        '"grounding": "user-clicks"',
        '"grounding": "human"',
    ),
    Code(
        "CFT483",
        "an outcome that was added already",
        "Counting an answer twice makes evidence out of nothing. Adding a file again is harmless: what is "
        "there stays, and nothing is added.",
        '{"id": "a-17", …}\n{"id": "a-17", …}',
        '{"id": "a-17", …}\n{"id": "a-18", …}',
    ),
    Code(
        "CFT484",
        "an outcome on questions that made the derivative",
        "A model is right more often on what it was trained on, and a calibrator fits what it was fitted "
        "on. Such outcomes would hide drift.",
        '"split": "training"',
        '"split": "served"',
    ),
    Code(
        "CFT485",
        "run-time evidence that cannot be read, or was edited",
        "It holds the adjustments that keep a derivative's confidence true. Going on without them would "
        "deliver what was stopped, so the derivative is not loaded.",
        "a line of state/TENANT/….jsonl changed in an editor",
        "the file restored from a backup",
    ),
    Code(
        "CFT486",
        "run-time evidence that cannot be written",
        "A full disk, or a folder without write access. A file of outcomes is added as a whole or not at "
        "all, so it can be added again.",
        "state/ on a full or read-only disk",
        "space or access granted, then `coherence-ft evidence add` once more",
    ),
    Code(
        "CFT487",
        "an outcome of the future",
        "What has not happened yet cannot have been observed: the clock or the export is wrong, and the "
        "other fields with it, perhaps.",
        '"observed_at": "2062-05-20T12:00:00Z"',
        '"observed_at": "2026-05-20T12:00:00Z"',
    ),
    Code(
        "CFT488",
        "outcomes for a derivative that states no confidence",
        "Without a calibrator and a certified threshold it abstains on everything, so there is no statement"
        " that outcomes could prove wrong.",
        "evidence for a derivative without an abstention threshold",
        "evidence for a derivative whose selective risk was certified",
    ),
    Code(
        "CFT489",
        "an addition of outcomes that was interrupted",
        "A batch counts when its last line is on the disk. What a kill or power cut left of one is not "
        "read; the next addition cuts it off.",
        "the machine went down during `coherence-ft evidence add`",
        "the same file added again",
    ),
    Code(
        "CFT476",
        "a manifest that the portfolio does not approve",
        "An older manifest of the same derivative, put back with its files, verifies: it was signed for "
        "these very files. The portfolio says which manifest is approved now, so that a rollback is found.",
        "the folder holds the derivative of March, the portfolio lists the manifest of May",
        "put the derivative of May back, or list the one of March if it is the one to be used",
    ),
    Code(
        "CFT477",
        "a portfolio of another tenant",
        "Whose keys count is said by the tenant document, and derivatives of one tenant are held to its "
        "constraints. Under another tenant's document nothing in the portfolio could verify.",
        "coherence-ft portfolio northwind.portfolio.yaml --tenant southwind.tenant.yaml",
        "coherence-ft portfolio northwind.portfolio.yaml --tenant northwind.tenant.yaml",
    ),
)
