"""ScanCode LicenseDB: every licence has exactly one category, which gives questions and probe groups."""

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
    "package:license-expression==30.4.4/license_expression/data/scancode-licensedb-index.json",
    "d7594273825a68b2d5676d76d336c560210072f07a77edb193ad608694067596",
    "CC-BY-4.0 (nexB Inc. and others); package: Apache-2.0",
    "ScanCode LicenseDB index",
)
SPLIT_RULE = "LicenseDB: by family, the first word of the licence key (gpl, bsd, cc, …)"
SHARES = {"train": 0.40, "calibration": 0.18, "certification": 0.21, "test": 0.21}
QUESTIONS = {"train": 600, "calibration": 160, "certification": 250, "test": 250}
GROUPS = {"calibration": 60, "certification": 70, "test": 70}  # per relation
PREFERENCES = 180
CATEGORIES = (
    "Permissive",
    "Copyleft",
    "Copyleft Limited",
    "Proprietary Free",
    "Commercial",
    "Free Restricted",
    "Source-available",
)
_SALT = "licenses-1"
_DOMAIN = "legal"


@dataclass(frozen=True, slots=True)
class License:
    key: str
    name: str  # the SPDX identifier where there is one, else the key
    category: str


def read(path: Path) -> list[License]:
    """Licences in force; exceptions are left out, since they only go with another licence."""
    licenses = []
    for entry in json.loads(path.read_text(encoding="utf-8")):
        if entry["is_deprecated"] or entry["is_exception"] or entry["category"] not in CATEGORIES:
            continue
        spdx = entry["spdx_license_key"] or ""
        name = entry["license_key"] if not spdx or spdx.startswith("LicenseRef-") else spdx
        licenses.append(License(entry["license_key"], name, entry["category"]))
    return licenses


def _family(license: License) -> str:
    return re.split(r"[-_.]", license.key)[0]


def ask(name: str, category: str) -> str:
    return f'Does ScanCode LicenseDB class the licence "{name}" as "{category}"?'


def _ask_category(name: str, category: str) -> str:
    return f'Is "{name}" a licence of the category "{category}" in ScanCode LicenseDB?'


def _ask_not(name: str, category: str) -> str:
    return f'Does ScanCode LicenseDB class the licence "{name}" as anything but "{category}"?'


def _ask_alike(first: str, second: str) -> str:
    return f'Does ScanCode LicenseDB class the licences "{first}" and "{second}" alike?'


def _wrong(license: License, among: Sequence[License], salt: str) -> str:
    """The category of another licence: a category alone tells nothing about the answer."""
    others = [other.category for other in among if other.category != license.category]
    return pick(others, f"{salt}/{license.key}")


def _category_for(license: License, among: Sequence[License], salt: str, truth: bool) -> str:
    return license.category if truth else _wrong(license, among, salt)


def build(licenses: Sequence[License]) -> Files:
    files: Files = {}
    for split in SPLITS:
        mine = [one for one in licenses if split_of(_family(one), SHARES, _SALT) == split]
        mine = shuffled(mine, f"licenses/{split}", key=lambda one: one.key)
        if split == "train":
            files[split] = _train(mine)
            files["preferences"] = _preferences(mine)
        else:
            files[split] = _questions(mine, split) + _groups(mine, split)
    return files


def _train(mine: Sequence[License]) -> list[Row]:
    rows = []
    for index, one in enumerate(mine[: QUESTIONS["train"]]):
        truth = index % 2 == 0
        category = _category_for(one, mine, "train", truth)
        if index // 2 % 8 == 7:
            rows.append(train_row(_ask_not(one.name, category), YES_NO[index % 2 == 0]))
        else:
            form = _ask_category if index // 2 % 8 == 3 else ask
            rows.append(train_row(form(one.name, category), YES_NO[index % 2]))
    return rows


def _questions(mine: Sequence[License], split: str) -> list[Row]:
    return [
        question(
            f"license-{one.key}",
            _DOMAIN,
            f"license-{one.key}",
            ask(one.name, _category_for(one, mine, "question", index % 2 == 0)),
            YES_NO[index % 2],
        )
        for index, one in enumerate(mine[: QUESTIONS[split]])
    ]


def _groups(mine: Sequence[License], split: str) -> list[Row]:
    """Paraphrase and negation are shared with PrivacyQA, so half as many of them come from here."""
    count = GROUPS[split]
    rows = []

    def some(relation: str, number: int) -> list[License]:
        return shuffled(mine, relation, key=lambda one: one.key)[:number]

    def add(relation: str, one: License, *texts: str) -> None:
        rows.append(probe_group(f"license-{relation}-{one.key}", _DOMAIN, relation, texts))

    renamed = [one for one in some("paraphrase", len(mine)) if one.name.lower() != one.key.lower()]
    for index, one in enumerate(renamed[: count // 4]):
        category = _category_for(one, mine, "paraphrase", index % 2 == 0)
        add("paraphrase", one, ask(one.name, category), ask(one.key, category))
    reworded = [one for one in some("paraphrase", len(mine)) if one not in renamed]
    for index, one in enumerate(reworded[: count // 2 - count // 4]):
        category = _category_for(one, mine, "paraphrase", index % 2 == 0)
        add("paraphrase", one, ask(one.name, category), _ask_category(one.name, category))
    for index, one in enumerate(some("negation", count // 2)):
        category = _category_for(one, mine, "negation", index % 2 == 0)
        add("negation", one, ask(one.name, category), _ask_not(one.name, category))
    for index, one in enumerate(some("implication", count)):
        category = _category_for(one, mine, "implication", index % 2 == 0)
        other = pick([c for c in CATEGORIES if c != category], f"implication/{one.key}")
        add("implication", one, ask(one.name, category), _ask_not(one.name, other))
    for index, one in enumerate(some("exclusion", count)):
        category = _category_for(one, mine, "exclusion", index % 2 == 0)
        other = pick([c for c in CATEGORIES if c != category], f"exclusion/{one.key}")
        add("exclusion", one, ask(one.name, category), ask(one.name, other))
    for one in some("symmetry", count):
        partner = pick([other for other in mine if other != one], f"symmetry/{one.key}")
        add("symmetry", one, _ask_alike(one.name, partner.name), _ask_alike(partner.name, one.name))
    return rows


def _preferences(mine: Sequence[License]) -> list[Row]:
    return [
        binary_preference(
            ask(one.name, _category_for(one, mine, "preference", index // 2 % 2 == 0)),
            YES_NO[index // 2 % 2],
            f'LicenseDB lists it as "{one.category}".',
            "Please read the licence before you rely on it.",
            index,
        )
        for index, one in enumerate(mine[:PREFERENCES])
    ]
