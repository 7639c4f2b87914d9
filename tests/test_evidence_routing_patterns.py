"""Signatures are Hellinger vectors; a codebook finds the classes that are there, and none where none are."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from coherence_ft.documents.canonical import canonical_digest
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.evidence.routing_patterns import (
    SMALLEST,
    UNKNOWN,
    Codebook,
    Counts,
    fit_codebook,
    signatures,
)
from coherence_ft.loops.observation import DENSE, AnswerObservation, Observations
from coherence_ft.loops.routing import assigned, fit

ORIGIN = {"model": "m", "capture": "1 mixtral", "probe_set": "p", "split": "calibration"}
LAYERS, EXPERTS = 3, 6


def routed(classes: int, answers: int = 300, *, tokens: int = 12, seed: int = 0) -> tuple[Counts, list[int]]:
    """Two experts a token, drawn by frequencies of the answer's class."""
    dice = np.random.default_rng(seed)
    frequencies = dice.dirichlet(np.full(EXPERTS, 0.5), (classes, LAYERS))
    labels = dice.integers(classes, size=answers).tolist()
    counts = [[dice.multinomial(2 * tokens, layer) for layer in frequencies[label]] for label in labels]
    return np.array(counts), labels


def names(counts: Counts) -> list[str]:
    return [str(number) for number in range(len(counts))]


@pytest.fixture(scope="module")
def three() -> tuple[Counts, list[int], Codebook]:
    counts, labels = routed(3)
    return counts, labels, fit_codebook(counts, names(counts), **ORIGIN)


@given(arrays(np.int64, (2, LAYERS, EXPERTS), elements=st.integers(0, 40)).filter(lambda c: c.sum(-1).all()))
def test_distance_is_hellinger_over_the_layers(counts: Counts) -> None:
    one, other = signatures(counts)
    assert (one**2).sum() == pytest.approx(0.5)
    p, q = (counts + 1 / EXPERTS) / (counts.sum(-1, keepdims=True) + 1)
    squares = 1 - np.sqrt(p * q).sum(-1)  # squared Hellinger distance, layer by layer
    assert ((one - other) ** 2).sum() == pytest.approx(squares.mean(), abs=1e-12)


def test_one_chance_use_of_an_expert_is_no_class_of_its_own() -> None:
    """Without the added token, samples of one class fall in two by an expert that is hardly ever used."""
    for seed in range(6):
        counts, _ = routed(1, seed=seed)
        book = fit_codebook(counts, names(counts), **ORIGIN)
        assert [p.n for p in book.patterns] == [300]
        assert set(book.assign(counts)) <= {"route-1", UNKNOWN}


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_classes_that_are_there_are_found(classes: int) -> None:
    counts, labels = routed(classes, 400, seed=1)
    book = fit_codebook(counts, names(counts), **ORIGIN)
    assert len(book.patterns) == classes
    assert dict(book.strengths)[classes] >= 0.8
    assert sum(p.n for p in book.patterns) == book.n == 400
    assert [p.n for p in book.patterns] == sorted((p.n for p in book.patterns), reverse=True)
    patterns = book.assign(counts)
    of = {
        label: {p for p, which in zip(patterns, labels, strict=True) if which == label}
        for label in range(classes)
    }
    known = [found - {UNKNOWN} for found in of.values()]
    assert all(len(found) == 1 for found in known) and len(set.union(*known)) == classes
    assert patterns.count(UNKNOWN) <= 0.01 * 400


def test_a_pattern_has_enough_answers() -> None:
    """A fourth class of 29 answers is real, but too small to be measured."""
    counts, labels = routed(4, 400, seed=1)
    rare = [i for i, label in enumerate(labels) if label == 3]
    few = [i for i in range(400) if i not in rare[SMALLEST - 1 :]]
    book = fit_codebook(counts[few], names(counts[few]), **ORIGIN)
    assert min(p.n for p in book.patterns) >= SMALLEST and len(book.patterns) < 4
    assert len(fit_codebook(counts[:20], names(counts[:20]), **ORIGIN).patterns) == 1


def test_what_was_never_seen_is_unknown(three: tuple[Counts, list[int], Codebook]) -> None:
    counts, _, book = three
    strange = np.zeros((1, LAYERS, EXPERTS), dtype=int)
    strange[..., int(counts.sum((0, 1)).argmin())] = 24
    assert book.assign(strange) == [UNKNOWN]
    assert book.assign(counts[:0]) == []


def test_same_answers_same_codebook_in_any_order(three: tuple[Counts, list[int], Codebook]) -> None:
    counts, _, book = three
    order = np.random.default_rng(5).permutation(len(counts))
    again = fit_codebook(counts[order], [str(n) for n in order], **ORIGIN)
    assert again == book and again.digest == book.digest


def test_dependent_answers_stay_in_one_half() -> None:
    """Sixteen answers of one class, each 25 times: taken for independent, they look like several classes."""
    by_groups, by_answers = [], []
    for seed in range(6):
        counts, _ = routed(1, 16, tokens=4, seed=seed)
        repeated = np.repeat(counts, 25, axis=0)
        groups = [str(n // 25) for n in range(len(repeated))]
        by_groups.append(len(fit_codebook(repeated, groups, **ORIGIN).patterns))
        by_answers.append(len(fit_codebook(repeated, names(repeated), **ORIGIN).patterns))
    assert by_groups == [1] * 6
    assert max(by_answers) > 1


def test_the_file_holds_all_of_it(three: tuple[Counts, list[int], Codebook]) -> None:
    counts, _, book = three
    text = json.dumps(book.to_json())
    again = Codebook.from_json(json.loads(text))
    assert again == book and again.digest == canonical_digest(json.loads(text))
    assert again.assign(counts) == book.assign(counts)
    assert len(text) < 3000


def _broken(data: dict[str, Any], name: str) -> object:
    first = data["patterns"][0]
    match name:
        case "list":
            return [data]
        case "kind":
            data["kind"] = "platt"
        case "number":
            data["threshold"] = float(data["threshold"])
        case "nan":
            data["threshold"] = "nan"
        case "no patterns":
            data["patterns"] = []
        case "expert":
            first["centroid"][0]["99"] = "0.1"
        case "negative expert":
            first["centroid"][0]["-1"] = "0.1"
        case "layer":
            first["centroid"].pop()
        case "answers":
            first["n"] += 1
        case "boolean":
            data["n"] = True
        case "name":
            first["name"] = UNKNOWN
        case "added":
            data["note"] = "mended"
        case "model":
            del data["model"]
    return data


@pytest.mark.parametrize(
    "name",
    [
        "list",
        "kind",
        "number",
        "nan",
        "no patterns",
        "expert",
        "negative expert",
        "layer",
        "answers",
        "boolean",
        "name",
        "added",
        "model",
    ],
)
def test_a_broken_file_is_refused(three: tuple[Counts, list[int], Codebook], name: str) -> None:
    data = _broken(json.loads(json.dumps(three[2].to_json())), name)
    with pytest.raises(CoherenceError) as refused:
        Codebook.from_json(data, path="codebook.json")
    assert refused.value.codes == ("CFT467",)
    assert refused.value.diagnostics[0].path == "codebook.json"


@settings(max_examples=60)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda s: st.dictionaries(st.text(max_size=8), s) | st.lists(s),
    )
)
def test_no_json_brings_the_reader_down(data: object) -> None:
    with pytest.raises(CoherenceError, match="CFT467"):
        Codebook.from_json(data)


@pytest.mark.parametrize(
    "counts",
    [
        np.zeros((1, LAYERS, EXPERTS), dtype=int),
        np.full((1, LAYERS, EXPERTS), -1),
        np.full((1, LAYERS, EXPERTS), np.nan),
        np.ones((1, LAYERS, EXPERTS)),
        np.ones((LAYERS, EXPERTS), dtype=int),
    ],
)
def test_what_is_no_count_is_refused(counts: Counts) -> None:
    with pytest.raises(CoherenceError) as refused:
        signatures(counts)
    assert refused.value.codes == ("CFT465",)


def test_counts_of_another_shape_and_none_are_refused(three: tuple[Counts, list[int], Codebook]) -> None:
    with pytest.raises(CoherenceError, match="CFT465"):
        three[2].assign(np.ones((1, LAYERS, EXPERTS + 1), dtype=int))
    with pytest.raises(CoherenceError, match="CFT465"):
        fit_codebook(np.ones((0, LAYERS, EXPERTS), dtype=int), [], **ORIGIN)


def observed(counts: Counts, **changes: Any) -> Observations:
    answers = tuple(
        AnswerObservation(
            f"q{n}", f"g{n}", "clinical", (0.6, 0.4), 0, UNKNOWN, experts=each, contributions=each / 2.0
        )
        for n, each in enumerate(counts)
    )
    given: dict[str, Any] = {"model": "m", "probe_set": "p", "split": "calibration", "capture": "1 mixtral"}
    return Observations(**{**given, "answers": answers, **changes})


def test_observations_get_patterns_of_their_own_model_only(three: tuple[Counts, list[int], Codebook]) -> None:
    counts, _, _ = three
    calibration = observed(counts)
    book = fit(calibration)
    assert book is not None and (book.model, book.probe_set, book.split, book.n) == (
        "m",
        "p",
        "calibration",
        300,
    )
    judged = observed(counts[:40], split="certification", probe_set="other")
    seen = assigned(judged, book)
    assert [a.routing_pattern for a in seen.answers] == book.assign(counts[:40])
    assert (seen.codebook, judged.codebook) == (book.digest, "")
    for changes in ({"model": "sister"}, {"capture": "2 mixtral"}, {"capture": ""}):
        with pytest.raises(CoherenceError) as refused:
            assigned(observed(counts[:40], **changes), book)
        assert refused.value.codes == ("CFT466",)
    bare = tuple(AnswerObservation("q", "g", "clinical", (0.6, 0.4), 0) for _ in range(2))
    with pytest.raises(CoherenceError, match="CFT465"):
        assigned(observed(counts, answers=bare), book)


def test_a_dense_model_has_one_pattern_and_no_codebook() -> None:
    answer = AnswerObservation("q", "g", "clinical", (0.6, 0.4), 0)
    assert fit(Observations("m", "p", "calibration", (answer,))) is None
    assert answer.routing_pattern == DENSE
