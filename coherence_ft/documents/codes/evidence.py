"""CFT65x: the stored observations behind a manifest's estimates, computed and measured again."""

from coherence_ft.documents.codes import Code

CODES: tuple[Code, ...] = (
    Code(
        "CFT651",
        "stored observations that are not those of every pass",
        "A certified derivative and its base were each measured on two splits. Whoever leaves one of the "
        "four out leaves out what its figures could be checked with.",
        "evidence: [derivative on calibration, derivative on certification]",
        "the four entries that `promote` writes",
    ),
    Code(
        "CFT652",
        "no observations to compute from",
        "Manifests of schema version 1.0 and those of monitoring checkpoints name none. Their signature and "
        "their verdicts can be verified, but their estimates have to be believed.",
        "coherence-ft verify runs/quickstart/checkpoint-113 --recompute",
        "coherence-ft verify runs/quickstart/derivative --recompute",
    ),
    Code(
        "CFT653",
        "stored observations that are not there",
        "The manifest names them by digest, and no file with that name is where they were looked for.",
        "coherence-ft verify DIR --recompute, where they are kept elsewhere",
        "coherence-ft verify DIR --recompute --evidence-store /archive/evidence",
    ),
    Code(
        "CFT654",
        "stored observations that are not the ones signed",
        "Size or sha256 differ from what the manifest states: the file was changed, cut off or exchanged.",
        "a file in the evidence store that was compressed anew",
        "the file as `promote` wrote it",
    ),
    Code(
        "CFT655",
        "stored observations larger than any real ones",
        "Limits hold while they are unpacked, so that a few kilobytes cannot fill the memory.",
        "1 MB that unpacks to 1 TB",
        "the file as `promote` wrote it",
    ),
    Code(
        "CFT656",
        "stored observations that cannot be read",
        "They are read strictly: one gzip stream to its end, one JSON object a line, exactly the fields and "
        "the spelling that are written. What another reader might understand otherwise is refused.",
        '{"kind":"answer","probabilities":[NaN,1.0]}',
        "the file as `promote` wrote it",
    ),
    Code(
        "CFT657",
        "stored observations of something else",
        "Each file says which model, probe set and split it is of, and how many observations follow. "
        "Observations of another pass, however good, say nothing about this one.",
        "the files of the derivative and of the base exchanged",
        "each under its own entry",
    ),
    Code(
        "CFT658",
        "a figure that the observations do not give",
        "Calibrator, routing patterns, estimates, verdicts, threshold and coverage are computed again from "
        "the stored observations, and differ from what is signed. Either they were not computed from them, "
        "or another version of the software gives another result: the manifest names the versions.",
        "signed: accuracy 0.91; from the observations: accuracy 0.74",
        "a derivative promoted by `coherence-ft promote`",
    ),
    Code(
        "CFT659",
        "stored observations that are not of the probe set",
        "Held against the probe file with the signed digest, an observation names a probe, an outcome, a "
        "check or an order that is not there, or a probe was left out.",
        'an answer key of "yes" where the probe says "no"',
        "the file as `promote` wrote it",
    ),
    Code(
        "CFT660",
        "a probe that was measured otherwise than stored",
        "The model was loaded and asked again, and answers otherwise by more than rounding explains.",
        "stored: 0.93 for `yes`; measured again: 0.41",
        "the machine and software that the manifest names, if it is none of its weights",
    ),
)
