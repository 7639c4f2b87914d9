"""ICD-10-CM: questions and probe groups that follow from the tabular list with certainty.

The tabular list is a tree: chapter, block, category (three characters), code. A category has exactly one
chapter, which gives answers, implications and exclusions; an Excludes1 note names two conditions of which
`may these be coded together` has the same answer in either order.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
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
    "package:simple-icd-10-cm==1.5.0/simple_icd_10_cm/data/icd10c-tabular-April-1-2026.xml",
    "f161f8182aff3ce3a2a78e202f8259c08eaee2c670a9e45b0072445c52302935",
    "public domain (CDC/NCHS); package: MIT",
    "ICD-10-CM tabular list of April 2026",
)
SPLIT_RULE = (
    "ICD-10-CM: by category, the family of codes that share three characters (sha256 of it): each split is a "
    "random sample of the catalogue's categories, and no category is in two"
)
SHARES = {"train": 0.44, "calibration": 0.16, "certification": 0.21, "test": 0.19}
QUESTIONS = {"train": 900, "calibration": 300, "certification": 400, "test": 340}
GROUPS = {"calibration": 60, "certification": 70, "test": 70}  # per relation
PREFERENCES = 240
_SALT = "icd-categories"
_DOMAIN = "clinical"

_RANGE = re.compile(r"\s*\([A-Z][0-9A-Z]{2}(?:-[A-Z][0-9A-Z]{2})?\)\s*$")
_TARGET = re.compile(r"\(([A-Z][0-9][0-9A-Z](?:\.[0-9A-Z]+)?)[.-]*\)\s*$")


@dataclass(frozen=True, slots=True)
class Category:
    code: str
    title: str
    block: str  # title of the block of categories that it stands in
    chapter: str  # title of the chapter
    excludes: tuple[tuple[str, str], ...]  # Excludes1: code and title of the other condition


@dataclass(frozen=True, slots=True)
class Icd:
    categories: tuple[Category, ...]
    blocks: dict[str, str]  # title of a block -> title of its chapter

    def of(self, split: str) -> list[Category]:
        return [c for c in self.categories if split_of(c.code, SHARES, _SALT) == split]


def read(path: Path) -> Icd:
    root = ElementTree.parse(path).getroot()  # noqa: S314 - the digest of the file is pinned
    titles = {_text(diag, "name"): _text(diag, "desc") for diag in root.iter("diag")}
    found: list[tuple[ElementTree.Element, str, str]] = []
    blocks: dict[str, str] = {}
    for chapter in root.findall("chapter"):
        chapter_title = _RANGE.sub("", _text(chapter, "desc"))
        for section in chapter.findall("section"):
            categories = section.findall("diag")
            if not categories:
                continue  # a range that only holds further blocks
            block = _RANGE.sub("", _text(section, "desc"))
            blocks[block] = chapter_title
            for diag in categories:
                found.append((diag, block, chapter_title))
    categories = []
    for diag, block, chapter_title in found:
        direct = [note.text or "" for e in diag.findall("excludes1") for note in e]
        targets = {match[1] for note in direct if (match := _TARGET.search(note)) and match[1] in titles}
        code = _text(diag, "name")
        categories.append(
            Category(
                code,
                titles[code],
                block,
                chapter_title,
                tuple((target, titles[target]) for target in sorted(targets) if target != code),
            )
        )
    return Icd(tuple(categories), blocks)


def _text(element: ElementTree.Element, tag: str) -> str:
    return " ".join((element.findtext(tag) or "").split())


def ask(title: str, block: str) -> str:
    return f'Is "{title}" in the ICD-10-CM block "{block}"?'


def _ask_belongs(title: str, block: str) -> str:
    return f'Does "{title}" belong to the ICD-10-CM block "{block}"?'


def _ask_contains(title: str, block: str) -> str:
    """Never trained on: a wording that is new to the derivative."""
    return f'Does the ICD-10-CM block "{block}" contain "{title}"?'


def _ask_outside(title: str, block: str) -> str:
    return f'Is "{title}" outside the ICD-10-CM block "{block}"?'


def _ask_chapter(title: str, chapter: str) -> str:
    return f'Is "{title}" in the ICD-10-CM chapter "{chapter}"?'


def _ask_together(first: str, second: str) -> str:
    return f'In ICD-10-CM, may "{first}" and "{second}" be coded together?'


def wrong_block(category: Category, among: Sequence[Category], salt: str) -> str:
    """The block of another category.

    So it follows the frequency of blocks among the right answers: a block alone tells nothing.
    """
    for attempt in range(1000):
        other = pick(among, f"{salt}/{category.code}/{attempt}").block
        if other != category.block:
            return other
    raise ValueError(f"no other block beside {category.block!r}")


def _block_for(category: Category, among: Sequence[Category], salt: str, truth: bool) -> str:
    return category.block if truth else wrong_block(category, among, salt)


def build(icd: Icd) -> Files:
    """`train`, the probe splits (questions and groups) and `preferences`."""
    files: Files = {}
    for split in SPLITS:
        mine = shuffled(icd.of(split), f"icd/{split}", key=lambda c: c.code)
        if split == "train":
            files["train"] = _train(mine)
            files["preferences"] = _preferences(mine[:PREFERENCES], mine)
        else:
            files[split] = _questions(mine, QUESTIONS[split]) + _groups(icd, mine, split)
    return files


def _train(mine: Sequence[Category]) -> list[Row]:
    """A second pass over the categories asks for the opposite; one row in eight is reworded."""
    rows: list[tuple[str, Row]] = []
    for index in range(QUESTIONS["train"]):
        turn, place = divmod(index, len(mine))
        category = mine[place]
        truth = (place + turn) % 2 == 0
        block = _block_for(category, mine, "train", truth)
        # Both parities of `place` get both forms, so that neither wording tells the answer.
        wording = _ask_belongs if (place // 2) % 8 == 3 else ask
        row = train_row(wording(category.title, block), YES_NO[0 if truth else 1])
        rows.append((f"{category.code}/{turn}", row))
    return [row for _, row in shuffled(rows, "icd/train/order", key=lambda pair: pair[0])]


def _questions(mine: Sequence[Category], count: int) -> list[Row]:
    """One question a category, which is the independent unit; right and wrong blocks alternate."""
    return [
        question(
            f"icd-{category.code}",
            _DOMAIN,
            f"icd-{category.code}",
            ask(category.title, _block_for(category, mine, "question", index % 2 == 0)),
            YES_NO[index % 2],
        )
        for index, category in enumerate(mine[:count])
    ]


def _groups(icd: Icd, mine: Sequence[Category], split: str) -> list[Row]:
    count = GROUPS[split]
    rows = []
    for index, category in enumerate(shuffled(mine, "paraphrase", key=lambda c: c.code)[:count]):
        block = _block_for(category, mine, "paraphrase", index % 2 == 0)
        second = (_ask_belongs, _ask_contains)[index // 2 % 2]
        texts = [ask(category.title, block), second(category.title, block)]
        rows.append(_group("paraphrase", category.code, texts))
    for index, category in enumerate(shuffled(mine, "negation", key=lambda c: c.code)[:count]):
        block = _block_for(category, mine, "negation", index % 2 == 0)
        texts = [ask(category.title, block), _ask_outside(category.title, block)]
        rows.append(_group("negation", category.code, texts))
    for index, category in enumerate(shuffled(mine, "implication", key=lambda c: c.code)[:count]):
        block, chapter = category.block, category.chapter
        if index % 2:
            block, chapter = pick(sorted(icd.blocks.items()), f"implication/{category.code}")
        texts = [ask(category.title, block), _ask_chapter(category.title, chapter)]
        rows.append(_group("implication", category.code, texts))
    for index, category in enumerate(shuffled(mine, "exclusion", key=lambda c: c.code)[:count]):
        first = _block_for(category, mine, "exclusion", index % 2 == 0)
        second = wrong_block(category, [c for c in mine if c.block != first], "exclusion/second")
        rows.append(_group("exclusion", category.code, [ask(category.title, b) for b in (first, second)]))
    noted = [category for category in mine if category.excludes]
    for category in shuffled(noted, "symmetry", key=lambda c: c.code)[: count // 2]:
        other_code, other = pick(category.excludes, f"symmetry/{category.code}")
        rows.append(_symmetry(category, other_code, other))
    for category in shuffled(mine, "symmetry/any", key=lambda c: c.code)[: count - count // 2]:
        partner = pick([c for c in mine if c != category], f"symmetry/any/{category.code}")
        rows.append(_symmetry(category, partner.code, partner.title))
    return rows


def _symmetry(category: Category, other_code: str, other: str) -> Row:
    texts = [_ask_together(category.title, other), _ask_together(other, category.title)]
    return _group("symmetry", f"{category.code}-{other_code}", texts)


def _group(relation: str, code: str, texts: Sequence[str]) -> Row:
    return probe_group(f"icd-{relation}-{code}", _DOMAIN, relation, texts)


def _preferences(some: Sequence[Category], mine: Sequence[Category]) -> list[Row]:
    """The right answer names the place in the tabular list and says what to confirm."""
    rows = []
    for index, category in enumerate(some):
        truth = index // 2 % 2 == 0
        block = _block_for(category, mine, "preference", truth)
        reason = f'ICD-10-CM lists {category.code} under "{category.block}".'
        rows.append(
            binary_preference(
                ask(category.title, block),
                YES_NO[0] if truth else YES_NO[1],
                reason,
                "Please confirm in the current tabular list.",
                index,
            )
        )
    return rows
