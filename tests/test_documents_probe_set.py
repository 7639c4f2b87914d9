"""Probe sets: every broken row at once, and any bytes at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coherence_ft.documents.diagnostics import MAX_SHOWN, CoherenceError
from coherence_ft.documents.probe_set import Check, parse_probe_set, read_probe_set
from coherence_ft.documents.verifiers import VERIFIERS

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is it?"}]
MEMBER = {"messages": MESSAGES, "options": ["yes", "no"]}


def question(id: str, **changes: Any) -> dict[str, Any]:
    row = {"kind": "question", "id": id, "domain": "clinical", "group": "g", **MEMBER, "answer": "no"}
    return row | changes


def group(id: str, relation: str, members: int = 2) -> dict[str, Any]:
    return {"kind": "group", "id": id, "domain": "legal", "relation": relation, "members": [MEMBER] * members}


def conversation(id: str, *checks: dict[str, Any]) -> dict[str, Any]:
    head = {"kind": "conversation", "id": id, "domain": "general", "category": "format", "messages": MESSAGES}
    return {**head, "checks": list(checks), "max_new_tokens": 16}


def lines(*rows: dict[str, Any]) -> list[bytes]:
    return [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows]


def test_rows_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "probes.jsonl"
    rows = lines(
        question("q"),
        group("g", "exclusion", 3),
        conversation("c", {"verifier": "max_words", "words": 5}, {"verifier": "json"}),
    )
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(rows))  # a byte order mark, blank lines between
    read = read_probe_set(path)
    assert len(read) == 3
    assert read.questions[0].answer == 1
    assert read.questions[0].messages[1] == {"role": "user", "content": "Is it?"}
    assert len(read.groups[0].members) == 3
    assert read.conversations[0].checks == (Check("max_words", {"words": 5}), Check("json", {}))
    assert read.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_rows_after_a_broken_one_are_still_checked() -> None:
    rows = [
        *lines(question("a", answer="maybe")),
        b"{\n",
        *lines(question("b"), question("b", domain="astrology"), group("c", "negation", 3)),
    ]
    with pytest.raises(CoherenceError) as caught:
        parse_probe_set(rows)
    found = [(d.line, d.code) for d in caught.value.diagnostics]
    assert found == [(1, "CFT442"), (2, "CFT120"), (4, "CFT307"), (4, "CFT441"), (5, "CFT443")]


def test_a_long_list_is_cut_and_counted() -> None:
    with pytest.raises(CoherenceError) as caught:
        parse_probe_set([b"x\n"] * (MAX_SHOWN + 7))
    found = caught.value.diagnostics
    assert len(found) == MAX_SHOWN + 1
    assert found[-1].code == "CFT449"
    assert found[-1].message.startswith("7 more")


def test_domains_are_those_of_the_tenant() -> None:
    rows = lines(question("a", domain="veterinary"))
    assert len(parse_probe_set(rows, domains=("veterinary",))) == 1
    with pytest.raises(CoherenceError):
        parse_probe_set(rows)


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_a_verifier_takes_exactly_its_arguments(verifier: str) -> None:
    values = {"words": 3, "sentences": 3, "characters": 3, "count": 3, "code": "de"}
    values |= {name: ["a"] for name in ("forbidden", "required", "referral")}
    arguments = {name: values.get(name, "a") for name in VERIFIERS[verifier]}
    right = {"verifier": verifier, **arguments}
    (check,) = parse_probe_set(lines(conversation("c", right))).conversations[0].checks
    assert check == Check(verifier, arguments)
    spare = next(name for name in ("text", "words") if name not in arguments)
    wrong = [right | {spare: values.get(spare, "a")}]
    wrong += [
        {k: v for k, v in right.items() if k != name} for name in arguments if verifier != "named_constraint"
    ]
    wrong += [{"verifier": verifier, "name": "a"}] if verifier == "named_constraint" else []
    for each in wrong:
        with pytest.raises(CoherenceError) as caught:
            parse_probe_set(lines(conversation("c", each)))
        assert set(caught.value.codes) == {"CFT445"}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'"\xff"', "CFT102"),
        (b'{"id": "\\ud800"}', "CFT102"),
        (b"[" * 100_000, "CFT120"),
        (b'{"id": ' + b"1" * 10_000 + b"}", "CFT120"),
        (b'{"id": Infinity}', "CFT120"),
        (b" " + b"1" * 2**20, "CFT104"),
        (b"null", "CFT120"),
    ],
    ids=["bytes", "surrogate", "deep", "digits", "infinity", "long", "null"],
)
def test_hostile_rows(line: bytes, code: str) -> None:
    with pytest.raises(CoherenceError) as caught:
        parse_probe_set([line])
    assert caught.value.codes == (code,)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.jsonl"):
        with pytest.raises(CoherenceError) as caught:
            read_probe_set(path)
        assert caught.value.codes == ("CFT101",)


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_ROWS = [question("q"), group("g", "implication"), conversation("c", {"verifier": "regex", "pattern": "a"})]


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_give_probes_or_diagnostics(rows: list[bytes]) -> None:
    with pytest.raises(CoherenceError):
        parse_probe_set(rows)


@given(st.sampled_from(_ROWS), st.data(), _ANY)
def test_any_value_in_any_field_gives_probes_or_diagnostics(
    row: dict[str, Any], data: st.DataObject, value: object
) -> None:
    key = data.draw(st.sampled_from(sorted(row)))
    try:
        assert len(parse_probe_set([json.dumps(row | {key: value}).encode()])) == 1
    except CoherenceError as error:
        assert error.diagnostics
