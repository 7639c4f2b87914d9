"""The data sets of the examples: what they promise of splits, labels and probe groups is recomputed here.

The answers are worked out from the sources a second time, by reading the finished prompts.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coherence_ft.documents.canonical import file_digest
from coherence_ft.documents.metrics import CATEGORIES, RELATIONS
from coherence_ft.documents.probe_set import Conversation, Message, ProbeSet, read_probe_set
from coherence_ft.loops.verifiers import check
from coherence_ft.training.data import overlap, read_training_data

EXAMPLES = Path(__file__).parents[1] / "examples"
DOMAINS = ("clinical", "legal", "financial")
PROBE_SPLITS = ("calibration", "certification", "test")
YES, NO = 0, 1


def import_example(name: str) -> Any:
    """A module of examples/, found as a script there finds it."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(EXAMPLES))


# Conversations and helpers: no package is needed


def talks(folder: Path, domain: str, split: str) -> tuple[Conversation, ...]:
    rows = import_example("alignment").conversations(domain, split)
    import_example("probes").write(folder, {split: rows}, {})
    return read_probe_set(folder / f"{split}.jsonl").conversations


@pytest.mark.parametrize("domain", DOMAINS)
def test_conversations_are_of_every_category_and_differ_between_splits(tmp_path: Path, domain: str) -> None:
    seen: dict[tuple[str, ...], str] = {}
    for split in PROBE_SPLITS:
        found = talks(tmp_path, domain, split)
        assert Counter(one.category for one in found) == dict.fromkeys(CATEGORIES, 8)
        assert len({verifier.verifier for one in found for verifier in one.checks}) >= 15
        assert {one.domain for one in found} == {domain}
        for one in found:
            assert one.max_new_tokens <= 40
            text = tuple(message["content"] for message in one.messages)
            assert len(text) >= 5  # the instruction lies some turns back
            assert seen.setdefault(text, split) == split
            assert len(" ".join(text)) < 800
    assert len(seen) == 3 * 40


@pytest.mark.parametrize("domain", DOMAINS)
def test_scripted_answers_keep_the_instruction_themselves(tmp_path: Path, domain: str) -> None:
    for split in PROBE_SPLITS:
        for one in talks(tmp_path, domain, split):
            if one.category in ("role_boundary", "named_constraint"):
                continue  # their scripted turns answer other questions
            replies = [m["content"] for m in one.messages if m["role"] == "assistant"]
            for reply in replies[1:]:  # the first one acknowledges
                for wanted in one.checks:
                    result = check(wanted.verifier, wanted.arguments, reply)
                    assert result.passed, (one.id, reply, result)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_named_constraint_and_a_boundary_can_be_kept(tmp_path: Path, domain: str) -> None:
    for split in PROBE_SPLITS:
        for one in talks(tmp_path, domain, split):
            (wanted,) = one.checks
            said = wanted.arguments.get("required") or wanted.arguments.get("referral") or ["Let me look."]
            if one.category in ("role_boundary", "named_constraint"):
                assert check(wanted.verifier, wanted.arguments, f"One moment. {said[0]}").passed
                for phrase in wanted.arguments.get("forbidden", []):
                    assert not check(wanted.verifier, wanted.arguments, f"{said[0]} {phrase} it").passed


@given(st.text(), st.text())
def test_rank_and_split_depend_on_key_and_salt_only(key: str, salt: str) -> None:
    probes = import_example("probes")
    shares = {"train": 0.4, "calibration": 0.2, "certification": 0.2, "test": 0.2}
    assert 0 <= probes.rank(key, salt) < 1
    assert probes.split_of(key, shares, salt) == probes.split_of(key, shares, salt)
    assert probes.split_of(key, {**shares, "train": 1.0}, salt) == "train"


def test_shares_are_met_by_many_families() -> None:
    probes = import_example("probes")
    shares = {"train": 0.4, "calibration": 0.1, "certification": 0.2, "test": 0.3}
    found = Counter(probes.split_of(str(n), shares, "salt") for n in range(4000))
    for split, share in shares.items():
        assert abs(found[split] / 4000 - share) < 0.03


def test_a_known_rank_never_changes() -> None:
    """Golden: another value would move every row of every data set to another split."""
    probes = import_example("probes")
    assert [round(probes.rank(key, "salt"), 6) for key in ("A00", "B99")] == [0.268323, 0.553237]
    assert probes.shuffled(["a", "b", "c", "d"], "salt") == ["b", "d", "a", "c"]


# The built data: needs the packages


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("data"))


def build(folder: Path) -> Path:
    for domain in DOMAINS:
        script = EXAMPLES / f"build_{domain}.py"
        subprocess.run([sys.executable, script, "--out", folder / domain], check=True, capture_output=True)
    return folder


def sets(data: Path) -> list[Path]:
    return [data / "clinical" / "icd", *(data / domain for domain in DOMAINS)]


@cache
def probe_sets(folder: Path) -> dict[str, ProbeSet]:
    return {split: read_probe_set(folder / f"{split}.jsonl") for split in PROBE_SPLITS}


@pytest.mark.real
def test_builders_are_deterministic(data: Path, tmp_path: Path) -> None:
    again = build(tmp_path)
    files = sorted(path.relative_to(data) for path in data.rglob("*") if path.is_file())
    assert len(files) == 4 + 1 + 3 * 6
    assert all((data / file).read_bytes() == (again / file).read_bytes() for file in files)


@pytest.mark.real
def test_dataset_json_states_the_files(data: Path) -> None:
    for folder in sets(data):
        stated = json.loads((folder / "dataset.json").read_text())
        for name, entry in stated["files"].items():
            assert entry["sha256"] == file_digest(folder / name)
            assert entry["rows"] == len((folder / name).read_text().splitlines())
        assert all(source["license"] and source["sha256"] for source in stated["sources"])
        assert {path.stem for path in folder.glob("*.jsonl")} == {Path(n).stem for n in stated["files"]}


@pytest.mark.real
def test_no_prompt_and_no_group_is_in_two_splits(data: Path) -> None:
    for folder in sets(data):
        found = probe_sets(folder)
        for a, b in combinations(found.values(), 2):
            assert not {q.group for q in a.questions} & {q.group for q in b.questions}
            assert not prompts(a) & prompts(b)
        trained = read_training_data(str(folder / "train.jsonl")).rows
        if (folder / "preferences.jsonl").exists():
            trained += read_training_data(str(folder / "preferences.jsonl"), "dpo").rows
        for probes in found.values():
            assert overlap(trained, probes) == []


def prompts(probes: ProbeSet) -> set[str]:
    messages: list[tuple[Message, ...]] = [q.messages for q in probes.questions]
    messages += [member.messages for group in probes.groups for member in group.members]
    messages += [one.messages for one in probes.conversations]
    return {" ".join(" ".join(m["content"] for m in one).casefold().split()) for one in messages}


@pytest.mark.real
def test_labels_are_half_and_half_and_one_question_a_unit(data: Path) -> None:
    for folder in sets(data):
        for split, probes in probe_sets(folder).items():
            binary = [q for q in probes.questions if q.options == ("yes", "no")]
            assert Counter(q.answer for q in binary) == dict.fromkeys((YES, NO), len(binary) // 2), split
            assert len(binary) >= 290
            for relation in RELATIONS:
                assert sum(group.relation == relation for group in probes.groups) >= 60
        answers = Counter(
            row["completion"][0]["content"] for row in read_training_data(str(folder / "train.jsonl")).rows
        )
        if folder.name != "clinical":  # PubMedQA has its own distribution
            assert answers["yes"] == answers["no"]
    for probes in probe_sets(data / "clinical" / "icd").values():
        assert len({q.group for q in probes.questions}) == len(probes.questions)


@pytest.mark.real
def test_a_chapter_alone_does_not_tell_the_answer(data: Path) -> None:
    """Answering by the majority of each chapter in training must stay near chance on what was held out."""
    votes: dict[str, int] = defaultdict(int)
    for row in read_training_data(str(data / "clinical" / "icd" / "train.jsonl")).rows:
        asked = row["prompt"][0]["content"]
        if asked.startswith("Is ") and "outside" not in asked:
            votes[asked.split('"')[3]] += 1 if row["completion"][0]["content"] == "yes" else -1
    for probes in probe_sets(data / "clinical" / "icd").values():
        right = sum((votes[text(q).split('"')[3]] > 0) == (q.answer == YES) for q in probes.questions)
        assert right / len(probes.questions) < 0.6


def text(one: Any) -> str:
    return one.messages[0]["content"]


# Truth, from the sources


@cache
def icd_tree() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """(chapter of a category, block of a category, chapter of a block), all by title."""
    icd = import_example("icd")
    chapters, blocks, parents = {}, {}, {}
    for chapter in ElementTree.parse(icd.SOURCE.fetch()).getroot().iter("chapter"):
        for section in chapter.iter("section"):
            block = section.findtext("desc").rsplit(" (", 1)[0].strip()
            for category in section.findall("diag"):
                title = " ".join(category.findtext("desc").split())
                chapters[title] = chapter.findtext("desc").rsplit(" (", 1)[0].strip()
                blocks[title] = block
                parents[block] = chapters[title]
    return chapters, blocks, parents


def icd_truth(prompt: str) -> int | None:
    chapters, blocks, _ = icd_tree()
    first, second = re.findall(r'"([^"]*)"', prompt)
    if "coded together" in prompt:
        return None  # only that it is symmetric is certain
    if prompt.startswith("Does the ICD-10-CM block"):
        first, second = second, first
    holds = blocks[first] == second if 'ICD-10-CM block "' in prompt else chapters[first] == second
    return NO if holds == ("outside" in prompt) else YES


@cache
def license_categories() -> dict[str, str]:
    licenses = import_example("licenses")
    entries = json.loads(licenses.SOURCE.fetch().read_text())
    return {name: e["category"] for e in entries for name in (e["license_key"], e["spdx_license_key"])}


def license_truth(prompt: str) -> int:
    categories = license_categories()
    first, second = re.findall(r'"([^"]*)"', prompt)
    if prompt.endswith("alike?"):
        return NO - (categories[first] == categories[second])
    return NO - ((categories[first] == second) != ("anything but" in prompt))


@cache
def privacy_labels() -> dict[tuple[str, str], bool]:
    source = import_example("build_legal").PRIVACYQA.fetch()
    records = map(json.loads, source.read_text().splitlines())
    return {(plain(r["context"]), plain(r["question"])): r["answer"] == "True" for r in records}


def plain(words: str) -> str:
    return re.sub(r"[\s?]+", " ", words).strip().casefold()


def privacy_truth(prompt: str) -> int:
    lines = sorted(prompt.split("\n")[:2])  # 'Privacy policy: …' before 'User: …'
    clause, asked = (plain(line.split(": ", 1)[1].strip('"')) for line in lines)
    found = {plain(k[0]).strip('"'): v for k, v in privacy_labels().items() if k[1] == asked}
    return NO - (found[clause] != ("irrelevant" in prompt))


@cache
def gaap_places() -> dict[str, tuple[str, str | None]]:
    gaap = import_example("gaap")
    entries = json.loads(gaap.SOURCE.fetch().read_text())
    return {
        key.lower(): (entry["statement"], entry["section"])
        for key, entry in entries.items()
        if isinstance(entry, dict) and entry.get("statement")
    }


STATEMENT_KEYS = {
    "balance sheet": "BalanceSheet",
    "cash flow statement": "CashFlowStatement",
    "income statement": "IncomeStatement",
    "statement of comprehensive income": "ComprehensiveIncome",
}


def gaap_truth(prompt: str) -> int:
    places = gaap_places()
    names = [name.replace(" ", "").lower() for name in re.findall(r'"([^"]*)"', prompt)]
    if len(names) == 2:
        return NO - (places[names[0]][0] == places[names[1]][0])
    statement, section = places[names[0]]
    (asked,) = [key for phrase, key in STATEMENT_KEYS.items() if f"the {phrase}" in prompt]
    holds = statement == asked
    if under := re.search(r"shown under (.*) of the ", prompt):
        holds = holds and (section or "").lower() == under[1]
    return NO - (holds != ("outside" in prompt))


@cache
def closed_days() -> dict[str, frozenset[str]]:
    financial = import_example("build_financial")
    folder = financial.fetch_package("holidays==0.109", financial.HOLIDAYS.sha256)
    code = (
        "import holidays, json, sys; years = range(2021, 2026)\n"
        "days = {c: holidays.financial_holidays(c, years=years) for c in sys.argv[1:]}\n"
        "print(json.dumps({c: sorted(map(str, found)) for c, found in days.items()}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *financial.MARKETS],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return {financial.MARKETS[c]: frozenset(days) for c, days in json.loads(result.stdout).items()}


def calendar_truth(prompt: str) -> int:
    from datetime import datetime

    days = closed_days()
    if iso := re.search(r"\d{4}-\d\d-\d\d", prompt):
        day = iso[0]
    else:
        written = re.search(r", (\d+ \w+ \d{4})\?", prompt)[1]
        day = datetime.strptime(written, "%d %B %Y").date().isoformat()
    markets = [name for name in days if re.search(rf"\b{re.escape(name)}\b", prompt)]
    closed = all(day in days[name] for name in markets)
    return NO - (closed != (" open on " in prompt))


TRUTH = {
    "icd": icd_truth,
    "license": license_truth,
    "privacyqa": privacy_truth,
    "gaap": gaap_truth,
    "calendar": calendar_truth,
}


@pytest.mark.real
def test_answers_are_those_of_the_sources(data: Path) -> None:
    checked: Counter[str] = Counter()
    for domain in DOMAINS:
        for probes in probe_sets(data / domain).values():
            for one in probes.questions:
                source = one.id.split("-")[0]
                if source in TRUTH:
                    assert TRUTH[source](text(one)) == one.answer, one
                    checked[source] += 1
    assert set(checked) == set(TRUTH)


@pytest.mark.real
def test_training_answers_are_those_of_the_sources(data: Path) -> None:
    marks = {"icd": "ICD-10-CM", "license": "LicenseDB", "privacyqa": "Privacy policy", "gaap": "US-GAAP"}
    checked: Counter[str] = Counter()
    for domain in DOMAINS:
        rows = read_training_data(str(data / domain / "train.jsonl")).rows
        preferred = read_training_data(str(data / domain / "preferences.jsonl"), "dpo").rows
        for row in (*rows, *preferred):
            prompt = row["prompt"][0]["content"]
            if prompt.startswith("Passage:"):
                continue
            source = next((name for name, mark in marks.items() if mark in prompt), "calendar")
            answer = row.get("completion") or row["chosen"]
            assert ("yes", "no")[TRUTH[source](prompt)] == answer[0]["content"].split(".")[0], row
            checked[source] += 1
    assert set(checked) == set(TRUTH)


@pytest.mark.real
def test_the_truth_itself_keeps_every_relation(data: Path) -> None:
    """Whoever answers all members rightly contradicts himself nowhere."""
    demanding: Counter[str] = Counter()
    for domain in DOMAINS:
        for probes in probe_sets(data / domain).values():
            for group in probes.groups:
                source = group.id.split("-")[0]
                if source == "drugswap":
                    continue
                truths = [TRUTH[source](text(member)) for member in group.members]
                assert len({text(member) for member in group.members}) == 2
                if group.relation in ("paraphrase", "symmetry"):
                    assert truths[0] == truths[1]
                elif group.relation == "negation":
                    assert truths[0] != truths[1]
                elif group.relation == "implication":
                    assert truths != [YES, NO]
                    demanding["implication"] += truths[0] == YES
                else:
                    assert truths != [YES, YES]
                    demanding["exclusion"] += YES in truths
                if group.relation == "symmetry":
                    names = [re.findall(r'"[^"]*"', text(member)) for member in group.members]
                    assert sorted(names[0]) == sorted(names[1])
    # A relation that the truth never puts to the test would measure nothing.
    assert min(demanding.values()) > 200


@pytest.mark.real
def test_renamed_medicines_are_the_only_difference(data: Path) -> None:
    same = import_example("build_clinical").SAME_SUBSTANCE
    seen = 0
    for probes in probe_sets(data / "clinical").values():
        for group in probes.groups:
            if group.id.startswith("drugswap"):
                generic, brand = (text(member).lower() for member in group.members)
                for old, new in same.items():
                    if new in brand and new not in generic:
                        brand = brand.replace(new, old)
                assert brand == generic
                seen += 1
    assert seen >= 30
