"""Stored observations: every pass reads back as it was; what `dump` would not write is refused."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coherence_ft.documents.canonical import canonical_json
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.evidence.routing_patterns import UNKNOWN
from coherence_ft.loops import stored
from coherence_ft.loops.observation import (
    AnswerObservation,
    CheckResult,
    GroupObservation,
    Observations,
    ReplyObservation,
)
from coherence_ft.loops.stored import dump, load

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
marks = {"language": st.none() | texts, "audience": st.none() | texts}
answers = st.builds(
    AnswerObservation,
    texts,
    texts,
    texts,
    st.lists(st.floats(0, 1), min_size=2, max_size=4).map(tuple),
    st.integers(0, 3),
    stated=st.none() | st.just(math.nan) | st.floats(0, 1),
    **marks,
)
groups = st.builds(
    GroupObservation, texts, texts, texts, st.lists(st.integers(0, 3), max_size=4).map(tuple), **marks
)
checks = st.builds(CheckResult, texts, st.booleans(), texts)
replies = st.builds(
    ReplyObservation, texts, texts, texts, texts, st.lists(checks, max_size=2).map(tuple), **marks
)
passes = st.builds(
    Observations,
    texts,
    texts,
    texts,
    answers=st.lists(answers, max_size=4).map(tuple),
    groups=st.lists(groups, max_size=3).map(tuple),
    replies=st.lists(replies, max_size=3).map(tuple),
    skipped=st.integers(0, 2**60),
    tokens=st.integers(0, 2**60),
    seconds=st.floats(0, 1e6),
    capture=texts,
    codebook=texts,
    confidence_source=texts,
    largest_group=st.integers(0, 100),
    base=texts,
    authority=texts,
    software=texts,
)


@given(passes)
def test_every_pass_reads_back_as_it_was(seen: Observations) -> None:
    content = dump(seen)
    back = load(content, "f")
    assert repr(back) == repr(seen)  # repr: NaN is not equal to itself, and floats must be exact
    assert dump(back) == content


def test_expert_counts_come_back_and_patterns_are_left_to_the_codebook() -> None:
    counts = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
    answers = tuple(
        AnswerObservation(f"q{n}", "g", "d", (0.25, 0.75), 1, "route-1", experts=counts[n]) for n in (0, 1)
    )
    back = load(dump(Observations("m", "p", "calibration", answers, capture="v1", codebook="c" * 64)), "f")
    assert [a.routing_pattern for a in back.answers] == [UNKNOWN, UNKNOWN]
    assert back.codebook == "c" * 64
    for before, after in zip(answers, back.answers, strict=True):
        assert after.experts is not None
        assert after.experts.dtype == np.int64
        assert (after.experts == before.experts).all()


def test_no_name_and_no_time_is_in_the_file() -> None:
    assert dump(PASS)[:8] == b"\x1f\x8b\x08\0\0\0\0\0"  # RFC 1952: no flags, no time


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_no_number_that_is_none_is_written(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump(replace(PASS, answers=(replace(PASS.answers[0], probabilities=(number, 0.5)),)))


PASS = Observations(
    "a" * 64,
    "b" * 64,
    "certification",
    answers=(AnswerObservation("q1", "g1", "clinical", (0.75, 0.25), 0),),
    groups=(GroupObservation("n1", "clinical", "negation", (0, 1)),),
    replies=(ReplyObservation("c1", "general", "format", "Yes.", (CheckResult("max_words", True, "1"),)),),
)


def packed(content: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(content) + packer.flush()


def lines() -> list[bytes]:
    return zlib.decompress(dump(PASS), 31).splitlines(keepends=True)


def edited(number: int, change: Callable[[dict[str, Any]], Any]) -> bytes:
    rows = lines()
    row = json.loads(rows[number])
    change(row)
    rows[number] = canonical_json(row) + b"\n"
    return packed(b"".join(rows))


def replaced(number: int, old: bytes, new: bytes) -> bytes:
    rows = lines()
    assert old in rows[number]
    rows[number] = rows[number].replace(old, new)
    return packed(b"".join(rows))


WRONG: dict[str, tuple[str, bytes]] = {
    "nothing": ("CFT656", b""),
    "no gzip": ("CFT656", b'{"kind":"pass"}\n'),
    "cut off": ("CFT656", dump(PASS)[:-9]),
    "without its checksum": ("CFT656", dump(PASS)[:-8]),
    "with another checksum": ("CFT656", dump(PASS)[:-8] + bytes(8)),
    "a second member": ("CFT656", dump(PASS) + packed(b"")),
    "zeros behind it": ("CFT656", dump(PASS) + bytes(16)),
    "no line at all": ("CFT656", packed(b"")),
    "the last line end missing": ("CFT656", packed(b"".join(lines())[:-1])),
    "an empty line": ("CFT656", packed(lines()[0] + b"\n")),
    "no JSON": ("CFT656", replaced(1, b'"answer":0', b'"answer":zero')),
    "no object": ("CFT656", packed(lines()[0] + b"[]\n")),
    "no UTF-8": ("CFT656", replaced(1, b"clinical", b"clin\xff\xfeical")),
    "an unknown field": ("CFT656", edited(1, lambda row: row.update(note="fine"))),
    "an unknown field in the header": ("CFT656", edited(0, lambda row: row.update(note="fine"))),
    "an unknown field in a check": ("CFT656", edited(3, lambda row: row["checks"][0].update(note="fine"))),
    "a missing field": ("CFT656", edited(1, lambda row: row.pop("group"))),
    "a key twice": ("CFT656", replaced(1, b'"answer":0', b'"answer":1,"answer":0')),
    "NaN": ("CFT656", replaced(1, b"0.75", b"NaN")),
    "infinity": ("CFT656", replaced(1, b"0.75", b"1e999")),
    "another spelling of a number": ("CFT656", replaced(1, b"0.75", b"0.750")),
    "a number as text": ("CFT656", replaced(1, b"0.75", b'"0.75"')),
    "true for one": ("CFT656", replaced(1, b'"answer":0', b'"answer":false')),
    "spaces": ("CFT656", replaced(1, b'"answer":0', b'"answer": 0')),
    "another kind": ("CFT656", replaced(1, b'"kind":"answer"', b'"kind":"reply"')),
    "kinds in another order": ("CFT656", packed(b"".join(lines()[n] for n in (0, 2, 1, 3)))),
    "a version of tomorrow": ("CFT656", edited(0, lambda row: row.update(version=2))),
    "a count below zero": ("CFT656", edited(0, lambda row: row.update(answers=-1))),
    "a count beyond any": ("CFT656", replaced(0, b'"skipped":0', b'"skipped":' + b"9" * 5000)),
    "a count beyond 64 bits": (
        "CFT656",
        edited(1, lambda row: row.update(experts=[[2**80]])),
    ),
    "counts of no shape": ("CFT656", edited(1, lambda row: row.update(experts=[[1], [1, 2]]))),
    "nested without end": ("CFT656", packed(lines()[0] + b"[" * 100_000 + b"\n")),
    "fewer than announced": ("CFT657", packed(b"".join(lines()[:-1]))),
    "more than announced": ("CFT657", packed(b"".join([*lines(), lines()[-1]]))),
    "fewer announced than there are": ("CFT657", edited(0, lambda row: row.update(replies=0))),
    "more announced than there are": ("CFT657", edited(0, lambda row: row.update(replies=2))),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_dump_would_not_write_is_refused(case: str) -> None:
    code, content = WRONG[case]
    with pytest.raises(CoherenceError) as caught:
        load(content, "evidence.jsonl.gz")
    assert caught.value.codes == (code,)
    assert "evidence.jsonl.gz" in str(caught.value)


def test_no_flipped_bit_gives_other_observations() -> None:
    content, unnoticed = dump(PASS), 0
    for position in range(len(content)):
        for bit in (1, 128):
            mutant = bytearray(content)
            mutant[position] ^= bit
            try:
                back = load(bytes(mutant), "f")
            except CoherenceError:
                continue
            # what says nothing of the content: time and system in the header, padding in the last bits
            assert back == PASS
            unnoticed += 1
    assert unnoticed <= 16


def test_bombs_are_refused_while_they_are_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line without end is met at MAX_LINE; endless lines at MAX_UNPACKED; a large file before anything."""
    monkeypatch.setattr(stored, "MAX_LINE", 2**20)
    header = lines()[0].replace(b'"answers":1', b'"answers":100000')
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    endless = packer.compress(header) + b"".join(packer.compress(b" " * 2**20) for _ in range(64))
    assert len(endless + packer.flush()) < 100_000
    refused(endless, "a line of more than")
    monkeypatch.setattr(stored, "MAX_UNPACKED", 2**20)
    refused(packed(header + lines()[1] * 20_000), "unpacked")
    monkeypatch.setattr(stored, "MAX_STORED", 100)
    refused(dump(PASS), "as stored")


def refused(content: bytes, said: str) -> None:
    with pytest.raises(CoherenceError) as caught:
        load(content, "f")
    assert caught.value.codes == ("CFT655",)
    assert said in str(caught.value)
