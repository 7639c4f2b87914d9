"""Training rows: what is read, and what is said of each broken row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coherence_ft.documents.canonical import file_digest
from coherence_ft.documents.codes import catalogue
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.probe_set import Conversation, Member, ProbeGroup, ProbeSet, Question
from coherence_ft.training.data import TrainingData, overlap, read_training_data

ASK = {"role": "user", "content": "Is gout a disease of the joints?"}
YES = {"role": "assistant", "content": "yes"}
NO = {"role": "assistant", "content": "no"}
SYSTEM = {"role": "system", "content": "Answer yes or no."}
MESSAGES = {"messages": [ASK, YES]}
COMPLETION = {"prompt": [ASK], "completion": [YES]}
PREFERENCE = {"prompt": [ASK], "chosen": [YES], "rejected": [NO]}


def write(folder: Path, *lines: object) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return str(path)


def problems(source: str, regime: str = "sft", **options: Any) -> list[str]:
    with pytest.raises(CoherenceError) as caught:
        read_training_data(source, regime, **options)
    assert set(caught.value.codes) <= set(catalogue())
    return [str(d).replace(source, "F").split("\n")[0] for d in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("row", "regime"),
    [
        (MESSAGES, "sft"),
        ({"messages": [SYSTEM, ASK, YES, ASK, NO]}, "sft"),
        (COMPLETION, "sft"),
        ({"prompt": [SYSTEM, ASK], "completion": [YES]}, "sft"),
        (PREFERENCE, "dpo"),
    ],
)
def test_each_shape_is_read_as_it_stands(tmp_path: Path, row: dict[str, Any], regime: str) -> None:
    source = write(tmp_path, row, {**row, "id": "left out"})
    data = read_training_data(source, regime)
    assert data == TrainingData(source, tuple(row), (row, row), file_digest(Path(source)))
    assert data.count == 2


def test_bare_texts_become_turns(tmp_path: Path) -> None:
    source = write(tmp_path, {"prompt": ASK["content"], "completion": "yes"})
    assert read_training_data(source).rows == (COMPLETION,)


def test_parquet_and_jsonl_hold_the_same_rows(tmp_path: Path) -> None:
    from pyarrow import Table, parquet

    rows = [COMPLETION, {"prompt": [ASK], "completion": [NO]}]
    path = tmp_path / "rows.parquet"
    parquet.write_table(Table.from_pylist(rows), path)
    data = read_training_data(str(path))
    assert data.rows == read_training_data(write(tmp_path, *rows)).rows
    assert data.digest == file_digest(path)
    assert data.dataset().to_list() == rows


def test_parquet_problems_name_the_row(tmp_path: Path) -> None:
    from pyarrow import Table, parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(Table.from_pylist([MESSAGES, {"messages": [ASK]}, {"messages": None}]), path)
    assert problems(str(path)) == [
        "F:2:1: error CFT753: the row ends with the user's turn: messages must end with the assistant's",
        "F:3:1: error CFT753: the row lacks `messages` (it has nothing)",
    ]
    path.write_bytes(path.read_bytes()[:-20])
    (problem,) = problems(str(path))
    assert problem.startswith("F: error CFT751: the Parquet file cannot be read: ")


GOLDEN = [
    ("{'prompt': 1}", "1:2: error CFT752: not JSON: Expecting property name enclosed in double quotes"),
    ([1], "1:1: error CFT753: the row is a list, not an object"),
    ({"text": "a"}, "1:1: error CFT753: the row lacks `messages` (it has `text`)"),
    ({"prompt": [ASK]}, "1:1: error CFT753: the row lacks `completion` (it has `prompt`)"),
    ({"messages": []}, "1:1: error CFT753: the row has messages that is an empty list, not a list of turns"),
    (
        {"messages": [ASK, "yes"]},
        "1:1: error CFT753: the row has messages[2] that is a text, not an object with role and content",
    ),
    (
        {"messages": [ASK, {"role": "tool", "content": "x"}]},
        "1:1: error CFT753: the row has messages[2] with the role 'tool', not one of system, user, assistant",
    ),
    (
        {"messages": [ASK, {"role": "assistant", "content": None}]},
        "1:1: error CFT753: the row has messages[2] whose text is nothing",
    ),
    (
        {"messages": [ASK, {"role": "assistant", "content": " \n"}]},
        "1:1: error CFT753: the row has messages[2] without text",
    ),
    (
        {"messages": [ASK, {"role": "assistant", "content": "\ud800"}]},
        "1:1: error CFT753: the row has messages[2] with a text that is not Unicode (a lone surrogate)",
    ),
    (
        {"messages": [ASK, YES, SYSTEM]},
        "1:1: error CFT753: the row has messages out of turn: turn 3 is system, not user",
    ),
    (
        {"messages": [SYSTEM, YES]},
        "1:1: error CFT753: the row has messages out of turn: turn 2 is assistant, not user",
    ),
    (
        {"messages": [SYSTEM]},
        "1:1: error CFT753: the row has messages with nothing but a system turn",
    ),
    (
        {"messages": [ASK]},
        "1:1: error CFT753: the row ends with the user's turn: messages must end with the assistant's",
    ),
    (
        {"prompt": [ASK, YES], "completion": [YES]},
        "1:1: error CFT753: the row has a prompt that ends with the assistant's turn, not the user's",
    ),
    (
        {"prompt": [ASK], "completion": [ASK]},
        "1:1: error CFT753: the row has a completion that starts with user: it starts with assistant",
    ),
    (
        {"prompt": [ASK], "completion": [YES, NO]},
        "1:1: error CFT753: the row has prompt and completion out of turn: turn 3 is assistant, not user",
    ),
    (
        {**MESSAGES, "tools": [{"name": "x"}]},
        "1:1: error CFT753: the row has `tools`, which are not trained on",
    ),
]


@pytest.mark.parametrize(("line", "expected"), GOLDEN, ids=[str(n) for n in range(len(GOLDEN))])
def test_each_way_to_be_broken_has_its_sentence(tmp_path: Path, line: object, expected: str) -> None:
    assert problems(write(tmp_path, line)) == [f"F:{expected}"]


def test_preferences_must_prefer_something(tmp_path: Path) -> None:
    source = write(tmp_path, {**PREFERENCE, "rejected": [YES]}, {"prompt": [ASK], "chosen": [YES]})
    assert problems(source, "dpo") == [
        "F:1:1: error CFT753: the row prefers nothing: chosen and rejected are the same",
        "F:2:1: error CFT753: the row lacks `rejected` (it has `chosen` and `prompt`)",
    ]


def test_all_broken_rows_are_reported_at_once(tmp_path: Path) -> None:
    source = write(tmp_path, MESSAGES, "{", COMPLETION, "", {"messages": [ASK]})
    assert problems(source) == [
        "F:2:2: error CFT752: not JSON: Expecting property name enclosed in double quotes",
        "F:3:1: error CFT753: the row has `prompt` and `completion`, while the rows before have `messages`",
        "F:5:1: error CFT753: the row ends with the user's turn: messages must end with the assistant's",
    ]


def test_a_flood_of_broken_rows_is_counted(tmp_path: Path) -> None:
    found = problems(write(tmp_path, *["{"] * 61))
    assert len(found) == 51
    assert found[-1] == "F:51:1: error CFT753: 11 more rows are broken: 51, 52, 53, 54, 55, …"


def test_a_line_that_is_not_utf8_has_its_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json.dumps(MESSAGES).encode() + b'\n{"messages": "\xff"}\n')
    assert problems(str(path)) == ["F:2:15: error CFT752: the line is not UTF-8"]


def test_a_missing_file_names_the_command_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(CoherenceError) as caught:
        read_training_data(str(tmp_path / "no.jsonl"), prepare="python examples/build_clinical.py")
    (problem,) = caught.value.diagnostics
    assert (problem.code, problem.help) == ("CFT750", "build it: python examples/build_clinical.py")


def test_empty_and_foreign_files_are_refused(tmp_path: Path) -> None:
    assert problems(write(tmp_path, "")) == ["F: error CFT754: the training data holds no rows"]
    other = tmp_path / "rows.csv"
    other.write_text("prompt,completion\n")
    assert problems(str(other)) == [
        "F: error CFT751: not a kind of file that is read (found .csv, expected .jsonl or .parquet)"
    ]


@pytest.mark.parametrize("source", ["hub:org/rows", "hub:org/rows#train", "hub:a/b/c@1"])
def test_data_of_the_hub_needs_its_revision(source: str) -> None:
    (problem,) = problems(source)
    assert "CFT755" in problem
    assert "hub:ID@REVISION#SPLIT" in problem


def probe_set(*prompts: list[dict[str, str]]) -> ProbeSet:
    first, second, third = (tuple(prompt) for prompt in prompts)
    return ProbeSet(
        (Question("q", "clinical", "q", first, ("yes", "no"), 0),),
        (ProbeGroup("g", "clinical", "paraphrase", (Member(second, ("yes", "no")),) * 2),),
        (Conversation("c", "clinical", "format", third, (), 8),),
        "0" * 64,
        "probes.jsonl",
    )


def test_overlap_sees_through_case_space_and_system_turns() -> None:
    other = {"role": "user", "content": "Is asthma a disease of the lungs?"}
    rows = ({"messages": [ASK, YES, other, YES]},)
    probes = probe_set(
        [SYSTEM, {"role": "user", "content": "is  GOUT a disease\nof the joints?"}],
        [other],
        [ASK, YES, other],
    )
    assert overlap(rows, probes) == [
        "is  GOUT a disease\nof the joints?",
        other["content"],
        f"{ASK['content']}\nyes\n{other['content']}",
    ]


def test_a_shared_last_question_in_another_conversation_is_no_overlap() -> None:
    fresh = {"role": "user", "content": "Is a fracture an injury?"}
    probes = probe_set([fresh], [fresh], [fresh, YES, ASK])
    assert overlap(({"prompt": [ASK]},), probes) == []


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_any_conversation_that_is_well_formed_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    turns = [
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    source = write(tmp_path_factory.mktemp("rows"), {"messages": turns})
    assert read_training_data(source).rows == ({"messages": turns},)
