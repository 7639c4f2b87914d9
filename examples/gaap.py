"""US-GAAP concepts: the primary statement and section of each, as the mapping of edgartools gives them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from probes import (
    SPLITS,
    YES_NO,
    Files,
    Row,
    Source,
    binary_preference,
    pick,
    probe_group,
    question,
    shuffled,
    split_of,
    train_row,
)

SOURCE = Source(
    "package:edgartools==5.62.0/edgar/xbrl/standardization/gaap_mappings.json",
    "6355648d056e171cdb2d280e042181f1c3486a10c2d21eb0ad818b8ec387ff70",
    "MIT",
    "US-GAAP concepts by statement and section, of edgartools",
)
SPLIT_RULE = "US-GAAP: by family, the first two words of the concept (proceeds from, income tax, …)"
SHARES = {"train": 0.40, "calibration": 0.18, "certification": 0.21, "test": 0.21}
QUESTIONS = {"train": 720, "calibration": 240, "certification": 340, "test": 340}
GROUPS = {
    "calibration": 60,
    "certification": 70,
    "test": 70,
}  # implication, exclusion; others share with calendars
PREFERENCES = 180
STATEMENTS = {
    "BalanceSheet": "the balance sheet",
    "IncomeStatement": "the income statement",
    "CashFlowStatement": "the cash flow statement",
    "ComprehensiveIncome": "the statement of comprehensive income",
}
SECTIONS = {
    "Current Assets": "current assets",
    "Non-Current Assets": "non-current assets",
    "Current Liabilities": "current liabilities",
    "Non-Current Liabilities": "non-current liabilities",
    "Equity": "equity",
    "Revenue": "revenue",
    "Cost of Revenue": "cost of revenue",
    "Operating Expenses": "operating expenses",
    "Non-Operating Items": "non-operating items",
    "Income Tax": "income tax",
}
_SALT = "gaap-1"
_DOMAIN = "financial"
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


@dataclass(frozen=True, slots=True)
class Concept:
    name: str  # in words
    statement: str  # with its article
    section: str | None  # 'current assets of the balance sheet'; None where the mapping's is too general


def read(path: Path) -> list[Concept]:
    """Concepts with one place: ambiguous ones, and those that an industry reports elsewhere, are left out."""
    concepts = {}
    for key, entry in json.loads(path.read_text(encoding="utf-8")).items():
        if not isinstance(entry, dict) or not key.isalnum() or entry.get("ambiguous"):
            continue
        statement, section = STATEMENTS.get(entry.get("statement", "")), entry.get("section")
        elsewhere = [o for o in entry.get("industry_overrides", {}).values() if o.get("section") != section]
        name = " ".join(_WORD.findall(key))
        if statement and not elsewhere and len(name) <= 80:
            place = f"{SECTIONS[section]} of {statement}" if section in SECTIONS else None
            concepts[name.lower()] = Concept(name, statement, place)
    return sorted(concepts.values(), key=lambda concept: concept.name)


def _family(concept: Concept) -> str:
    return " ".join(concept.name.lower().split()[:2])


def ask(concept: Concept, statement: str) -> str:
    return f'Is the US-GAAP concept "{concept.name}" primarily shown in {statement}?'


def _ask_section(concept: Concept, section: str) -> str:
    return f'Is the US-GAAP concept "{concept.name}" primarily shown under {section}?'


def _ask_primary(concept: Concept, statement: str) -> str:
    return f'Is {statement} the primary statement of the US-GAAP concept "{concept.name}"?'


def _ask_outside(concept: Concept, statement: str) -> str:
    return f'Is the US-GAAP concept "{concept.name}" primarily shown outside {statement}?'


def _ask_same(first: Concept, second: Concept) -> str:
    return (
        f'Are the US-GAAP concepts "{first.name}" and "{second.name}" primarily shown in the same statement?'
    )


def _statement_for(concept: Concept, among: Sequence[Concept], salt: str, truth: bool) -> str:
    if truth:
        return concept.statement
    others = [other.statement for other in among if other.statement != concept.statement]
    return pick(others, f"{salt}/{concept.name}")


def _section_for(concept: Concept, among: Sequence[Concept], salt: str, truth: bool) -> str:
    if truth and concept.section:
        return concept.section
    others = [o.section for o in among if o.section and o.section != concept.section]
    return pick(others, f"{salt}/section/{concept.name}")


def _asked(concept: Concept, among: Sequence[Concept], salt: str, index: int) -> tuple[str, str]:
    """Text and answer of question number `index`: sections are asked in two rows of five."""
    truth = index % 2 == 0
    if concept.section and index // 2 % 5 >= 3:
        return _ask_section(concept, _section_for(concept, among, salt, truth)), YES_NO[index % 2]
    return ask(concept, _statement_for(concept, among, salt, truth)), YES_NO[index % 2]


def build(concepts: Sequence[Concept]) -> Files:
    files: Files = {}
    for split in SPLITS:
        mine = [one for one in concepts if split_of(_family(one), SHARES, _SALT) == split]
        mine = shuffled(mine, f"gaap/{split}", key=lambda one: one.name)
        if split == "train":
            files[split] = _train(mine)
            files["preferences"] = _preferences(mine)
        else:
            files[split] = _questions(mine, split) + _groups(mine, split)
    return files


def _train(mine: Sequence[Concept]) -> list[Row]:
    rows = []
    for index, one in enumerate(mine[: QUESTIONS["train"]]):
        statement = _statement_for(one, mine, "train", index % 2 == 0)
        if index // 2 % 9 == 4:
            rows.append(train_row(_ask_primary(one, statement), YES_NO[index % 2]))
        elif index // 2 % 9 == 8:
            rows.append(train_row(_ask_outside(one, statement), YES_NO[index % 2 == 0]))
        else:
            rows.append(train_row(*_asked(one, mine, "train", index)))
    return rows


def _key(concept: Concept) -> str:
    return concept.name.replace(" ", "")


def _questions(mine: Sequence[Concept], split: str) -> list[Row]:
    rows = []
    for index, one in enumerate(mine[: QUESTIONS[split]]):
        text, answer = _asked(one, mine, "question", index)
        rows.append(question(f"gaap-{_key(one)}", _DOMAIN, f"gaap-{_key(one)}", text, answer))
    return rows


def _groups(mine: Sequence[Concept], split: str) -> list[Row]:
    count = GROUPS[split]
    rows = []

    def some(relation: str, number: int) -> list[Concept]:
        return shuffled(mine, relation, key=lambda one: one.name)[:number]

    def add(relation: str, one: Concept, *texts: str) -> None:
        rows.append(probe_group(f"gaap-{relation}-{_key(one)}", _DOMAIN, relation, texts))

    for index, one in enumerate(some("paraphrase", count // 2)):
        statement = _statement_for(one, mine, "paraphrase", index % 2 == 0)
        add("paraphrase", one, ask(one, statement), _ask_primary(one, statement))
    for index, one in enumerate(some("negation", count // 2)):
        statement = _statement_for(one, mine, "negation", index % 2 == 0)
        add("negation", one, ask(one, statement), _ask_outside(one, statement))
    placed = [one for one in some("implication", len(mine)) if one.section]
    for index, one in enumerate(placed[: count // 2]):
        section = _section_for(one, mine, "implication", index % 2 == 0)
        statement = next(s for s in STATEMENTS.values() if section.endswith(s))
        add("implication", one, _ask_section(one, section), ask(one, statement))
    for index, one in enumerate(some("exclusion", count)):
        first = _statement_for(one, mine, "exclusion", index % 2 == 0)
        second = pick([s for s in STATEMENTS.values() if s != first], f"exclusion/{one.name}")
        add("exclusion", one, ask(one, first), ask(one, second))
    for one in some("symmetry", count // 2):
        partner = pick([other for other in mine if other != one], f"symmetry/{one.name}")
        add("symmetry", one, _ask_same(one, partner), _ask_same(partner, one))
    return rows


def _preferences(mine: Sequence[Concept]) -> list[Row]:
    return [
        binary_preference(
            ask(one, _statement_for(one, mine, "preference", index // 2 % 2 == 0)),
            YES_NO[index // 2 % 2],
            f"It is mostly reported in {one.statement}.",
            "Please check the filing itself.",
            index,
        )
        for index, one in enumerate(mine[:PREFERENCES])
    ]
