"""Calibrators: they find what made the data, stay safe without data, and belong to one model and codebook."""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logit

from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.evidence import platt, shrinkage
from coherence_ft.evidence.arrays import Array
from coherence_ft.evidence.calibrators import (
    Calibrator,
    CellCount,
    Source,
    fit_isotonic,
    fit_platt,
    fit_temperature,
)
from coherence_ft.evidence.platt import Platt, coded
from coherence_ft.evidence.scaling import Isotonic, Temperature

SOURCE = Source("m" * 64, "p" * 64, "calibration", "c" * 64)
FITS = pytest.mark.parametrize("fit", [fit_platt, fit_temperature, fit_isotonic])

Answers = tuple[Array, Array, list[str], list[str], Array]


def cells(
    rng: np.random.Generator,
    n: int,
    *,
    slope: float = 0.5,
    offsets: dict[tuple[str, str], float] | None = None,
    slopes: dict[str, float] | None = None,
) -> Answers:
    """`n` answers dealt out over the cells of `offsets`."""
    offsets = offsets or {("a", "dense"): 0.0}
    where = [sorted(offsets)[i % len(offsets)] for i in range(n)]
    x = np.abs(rng.normal(0, 2.5, n))
    steep = np.array([(slopes or {}).get(domain, slope) for domain, _ in where])
    chance = expit(steep * x + np.array([offsets[cell] for cell in where]))
    return expit(x), rng.random(n) < chance, [d for d, _ in where], [p for _, p in where], np.arange(n)


def platt_of(*answers: Any) -> Platt:
    curve = fit_platt(*answers, SOURCE).curve
    assert isinstance(curve, Platt)
    return curve


def grid(domains: int, patterns: int) -> list[tuple[str, str]]:
    return [(f"d{i}", f"r{j}") for i in range(domains) for j in range(patterns)]


# What it finds --------------------------------------------------------------------------------------------


def test_recovers_what_made_the_data() -> None:
    found = platt_of(*cells(np.random.default_rng(1), 20_000, slope=0.4, offsets={("a", "dense"): 0.2}))
    assert found.slope == pytest.approx(0.4, abs=0.03)
    assert found.intercept == pytest.approx(0.2, abs=0.06)
    assert (found.domains, found.patterns, found.cells, found.spread) == ((), (), (), ())


def test_recovers_every_level() -> None:
    rng = np.random.default_rng(2)
    domain, pattern = rng.normal(0, 0.8, 6), rng.normal(0, 0.6, 5)
    cell = rng.normal(0, 0.4, (6, 5))
    steep = {f"d{i}": float(s) for i, s in enumerate(rng.uniform(0.2, 1.0, 6))}
    truth = {
        (f"d{i}", f"r{j}"): float(domain[i] + pattern[j] + cell[i, j]) for i in range(6) for j in range(5)
    }
    found = platt_of(*cells(rng, 60_000, offsets=truth, slopes=steep))
    spread = dict(found.spread)
    assert spread["domain"] == pytest.approx(domain.std(), rel=0.4)
    assert spread["pattern"] == pytest.approx(pattern.std(), rel=0.4)
    assert spread["cell"] == pytest.approx(0.4, rel=0.3)
    assert spread["domain_slope"] == pytest.approx(0.25, rel=0.5)
    for (d, p), offset in truth.items():
        named = dict(found.domains)[d] + dict(found.patterns)[p] + dict(found.cells)[d, p]
        assert found.intercept + named == pytest.approx(offset, abs=0.25)
        assert found.slope + dict(found.slopes)[d] == pytest.approx(steep[d], abs=0.12)


def test_a_level_without_effect_is_exactly_gone() -> None:
    """In about half of all data sets without effect; here in all but one level, and that one is small."""
    zero = 0
    for seed in range(20):
        found = platt_of(*cells(np.random.default_rng(seed), 1000, offsets=dict.fromkeys(grid(5, 5), 0.3)))
        assert [level for level, _ in found.spread] == ["domain_slope", "domain", "pattern", "cell"]
        assert max(sd for _, sd in found.spread) < 0.5
        zero += sum(sd == 0 for _, sd in found.spread)
        for (_, sd), offsets in zip(
            found.spread, (found.slopes, found.domains, found.patterns, found.cells), strict=True
        ):
            assert bool(offsets) is (sd > 0)
    assert zero > 40


@pytest.mark.parametrize(("labels", "share"), [(5, 1.02), (20, 0.9)])
def test_shrinkage_beats_no_pooling_and_full_pooling(labels: int, share: float) -> None:
    """With five answers a cell it must at least not lose to leaving cells out."""
    errors = np.zeros(3)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        truth = dict(zip(grid(6, 6), rng.normal(0, 0.6, 36), strict=True))
        answers = cells(rng, 36 * labels, offsets=truth)
        confidence, right, domains, patterns, groups = answers
        fresh = cells(rng, 3600, offsets=truth)
        p = expit(0.5 * logit(fresh[0]) + np.array([truth[c] for c in zip(fresh[2], fresh[3], strict=True)]))
        one = ["one"] * len(right)
        pooled = fit_platt(confidence, right, one, one, groups, SOURCE)
        alone = np.zeros(3600)
        for cell in truth:
            mine = np.array([c == cell for c in zip(domains, patterns, strict=True)])
            there = np.array([c == cell for c in zip(fresh[2], fresh[3], strict=True)])
            part = ["one"] * int(mine.sum())
            fitted = fit_platt(confidence[mine], right[mine], part, part, groups[mine], SOURCE)
            alone[there] = fitted.apply(
                fresh[0][there], ["one"] * int(there.sum()), ["one"] * int(there.sum())
            )
        ours = fit_platt(*answers, SOURCE).apply(*fresh[:1], *fresh[2:4])
        errors += [
            np.mean(abs(f - p)) for f in (ours, alone, pooled.apply(fresh[0], one_of(fresh), one_of(fresh)))
        ]
    assert errors[0] < share * min(errors[1:])


def one_of(answers: Answers) -> list[str]:
    return ["one"] * len(answers[0])


def test_an_unseen_cell_falls_back_level_by_level() -> None:
    curve = Platt(
        0.5,
        0.1,
        (("law", 0.2),),
        (("law", 0.4),),
        (("route-1", -0.3),),
        ((("law", "route-1"), 0.15),),
        (("domain", 0.5),),
    )

    def at(domain: str, pattern: str) -> float:
        return float(logit(curve.probability(np.array([0.5 + 1e-9]), [domain], [pattern]))[0])

    assert at("law", "route-1") == pytest.approx(0.1 + 0.4 - 0.3 + 0.15)
    assert at("law", "route-2") == at("law", "unknown") == pytest.approx(0.1 + 0.4)
    assert at("finance", "route-1") == pytest.approx(0.1 - 0.3)
    assert at("finance", "unknown") == pytest.approx(0.1)


def test_unknown_is_no_pattern() -> None:
    rng = np.random.default_rng(3)
    truth = {(d, p): 1.5 * (p == "unknown") for d in "ab" for p in ("route-1", "route-2", "unknown")}
    found = platt_of(*cells(rng, 3000, offsets=truth))
    assert "unknown" not in dict(found.patterns)
    assert all(pattern != "unknown" for (_, pattern), _ in found.cells)


def test_levels_that_divide_alike_are_one() -> None:
    """Each domain with a pattern of its own, or several patterns of one domain: there is one level."""
    truth = {("a", "r0"): 1.0, ("b", "r1"): -1.0, ("c", "r2"): 0.0}
    levels = dict(platt_of(*cells(np.random.default_rng(4), 600, offsets=truth)).spread)
    assert set(levels) == {"domain_slope", "domain"}
    one = {("a", f"r{i}"): float(i) for i in range(3)}
    assert set(dict(platt_of(*cells(np.random.default_rng(4), 600, offsets=one)).spread)) == {"pattern"}


def test_confidence_that_misleads_is_levelled_not_turned_round() -> None:
    rng = np.random.default_rng(6)
    confidence, _, domains, patterns, groups = cells(rng, 2000)
    right = rng.random(2000) < 1.2 - confidence
    found = platt_of(confidence, right, domains, patterns, groups)
    assert (found.slope, found.slopes) == (0, ())
    assert found.probability(np.array([0.9]), ["a"], ["dense"])[0] == pytest.approx(right.mean(), abs=0.01)


def test_one_domain_that_misleads_is_levelled_alone() -> None:
    rng = np.random.default_rng(7)
    truth = dict.fromkeys([("good", "dense"), ("bad", "dense"), ("fair", "dense")], 0.0)
    answers = cells(rng, 3000, offsets=truth, slopes={"good": 0.8, "bad": -0.5, "fair": 0.6})
    found = fit_platt(*answers, SOURCE)
    stated = np.array([0.6, 0.9, 0.99])
    assert len(set(found.apply(stated, ["bad"] * 3, ["dense"] * 3))) == 1
    assert np.all(np.diff(found.apply(stated, ["good"] * 3, ["dense"] * 3)) > 0.05)
    assert np.all(np.diff(found.apply(stated, ["new"] * 3, ["dense"] * 3)) > 0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_more_stated_confidence_never_means_less(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    domains = rng.choice(["a", "b", "c"], n).tolist()
    patterns = rng.choice(["r1", "r2", "unknown"], n).tolist()
    found = fit_platt(
        rng.uniform(0.2, 1, n), rng.random(n) < 0.5, domains, patterns, rng.integers(0, 20, n), SOURCE
    )
    stated = np.linspace(0, 1, 101)
    for domain in ("a", "b", "c", "new"):
        assert np.all(np.diff(found.apply(stated, [domain] * 101, ["r1"] * 101)) >= 0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_order_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = dict(zip(grid(3, 3), rng.normal(0, 1, 9), strict=True))
    confidence, right, domains, patterns, groups = cells(rng, 90, offsets=truth)
    order = rng.permutation(90)
    shuffled = (
        confidence[order],
        right[order],
        [domains[i] for i in order],
        [patterns[i] for i in order],
        groups[order],
    )
    one, other = (
        fit_platt(*(confidence, right, domains, patterns, groups), SOURCE),
        fit_platt(*shuffled, SOURCE),
    )
    assert one.cells == other.cells
    assert np.allclose(
        one.apply(confidence, domains, patterns), other.apply(confidence, domains, patterns), atol=2e-4
    )


# Little data, bad data ------------------------------------------------------------------------------------


def test_without_data_it_is_the_identity() -> None:
    found = fit_platt(np.array([]), np.array([], bool), [], [], np.array([]), SOURCE)
    assert (found.n, found.groups, found.cells) == (0, 0, ())
    assert found.confidence((0.8, 0.2), "a", "dense") == pytest.approx(0.8)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("n", [1, 5, 50])
def test_one_class_stays_finite_and_short_of_certainty(right: bool, n: int) -> None:
    found = fit_platt(np.full(n, 0.9), np.full(n, right), ["a"] * n, ["dense"] * n, np.arange(n), SOURCE)
    assert 0.001 < found.confidence((0.9, 0.1), "a", "dense") < 0.9999
    assert (found.confidence((0.9, 0.1), "a", "dense") > 0.9) is right


@pytest.mark.parametrize("n", [5, 20])
def test_a_cell_of_one_class_moves_but_not_to_certainty(n: int) -> None:
    rng = np.random.default_rng(8)
    truth = dict.fromkeys(grid(3, 3), 0.0)
    confidence, right, domains, patterns, groups = cells(rng, 9 * n, offsets=truth)
    mine = np.array([cell == ("d0", "r0") for cell in zip(domains, patterns, strict=True)])
    found = fit_platt(confidence, right & ~mine, domains, patterns, groups, SOURCE)
    assert next(c for c in found.cells if (c.domain, c.pattern) == ("d0", "r0")).right == 0
    there, beside = (found.confidence((0.8, 0.2), d, "r0") for d in ("d0", "d1"))
    assert 0.01 < there < beside - 0.05


def test_a_small_domain_leans_on_the_others() -> None:
    rng = np.random.default_rng(3)
    confidence, right, domains, *_ = cells(rng, 500, slope=0.4, offsets={("general", "dense"): 0.5})
    found = fit_platt(
        np.concatenate([confidence, np.full(4, 0.8)]),
        np.concatenate([right, np.zeros(4, bool)]),
        [*domains, *["legal"] * 4],
        ["dense"] * 504,
        np.arange(504),
        SOURCE,
    )
    few, many = (found.confidence((0.8, 0.2), domain, "dense") for domain in ("legal", "general"))
    assert 0.2 < few < many - 0.05  # four wrong answers move it, but not to 0


def test_answers_of_one_group_count_as_what_they_say_anew() -> None:
    """Every answer four times over in a group of its own adds nothing."""
    rng = np.random.default_rng(9)
    truth = dict(zip(grid(3, 3), rng.normal(0, 0.7, 9), strict=True))
    confidence, right, domains, patterns, groups = cells(rng, 300, offsets=truth)
    once = platt_of(confidence, right, domains, patterns, groups)
    four = platt_of(np.tile(confidence, 4), np.tile(right, 4), domains * 4, patterns * 4, np.tile(groups, 4))
    assert once.correlation == 0
    assert four.correlation == 1
    assert four.slope == pytest.approx(once.slope, abs=1e-6)
    assert dict(four.spread) == pytest.approx(dict(once.spread), abs=2e-3)


def test_independent_answers_in_groups_count_nearly_in_full() -> None:
    answers = cells(np.random.default_rng(10), 4000)
    found = platt_of(*answers[:4], np.arange(4000) // 4)
    assert found.correlation < 0.04


@FITS
def test_counts_add_up(fit: Callable[..., Calibrator]) -> None:
    truth = dict.fromkeys(grid(2, 2), 0.0)
    confidence, right, domains, patterns, _ = cells(np.random.default_rng(11), 203, offsets=truth)
    found = fit(confidence, right, domains, patterns, np.arange(203) // 3, SOURCE)
    assert (found.n, found.groups) == (203, 68)
    assert sum(cell.right for cell in found.cells) == right.sum()
    assert [(c.domain, c.pattern) for c in found.cells] == sorted(truth)


@FITS
@pytest.mark.parametrize(
    "change",
    [
        {0: np.array([0.9, np.nan, 0.6, 0.7])},
        {0: np.array([0.9, np.inf, 0.6, 0.7])},
        {0: np.array([0.9, 1.2, 0.6, 0.7])},
        {0: np.array([0.9, 0.8, 0.6])},
        {1: np.array([1, 0, 2, 0])},
        {1: np.array([1.0, 0.0, np.nan, 0.0])},
        {2: ["a"] * 3},
        {3: ["dense"] * 5},
        {4: np.array([1.0, 2.0, np.nan, 3.0])},
    ],
)
def test_what_is_no_evidence_is_refused(fit: Callable[..., Calibrator], change: dict[int, Any]) -> None:
    sound = [np.array([0.9, 0.8, 0.6, 0.7]), np.array([1, 0, 1, 0]), ["a"] * 4, ["dense"] * 4, np.arange(4)]
    fit(*sound, SOURCE)
    with pytest.raises(CoherenceError) as refused:
        fit(*(change.get(i, part) for i, part in enumerate(sound)), SOURCE)
    assert refused.value.codes == ("CFT452",)


@pytest.mark.parametrize("fit", [fit_temperature, fit_isotonic])
@pytest.mark.parametrize("right", [[], [True] * 3, [False] * 3])
def test_no_prior_no_certainty(fit: Callable[..., Calibrator], right: list[bool]) -> None:
    n = len(right)
    with pytest.raises(CoherenceError) as refused:
        fit(np.full(n, 0.8), np.array(right, bool), ["a"] * n, ["dense"] * n, np.arange(n), SOURCE)
    assert refused.value.codes == ("CFT469",)


@pytest.mark.parametrize("probabilities", [(float("nan"), 0.5), (0.5, float("nan")), (float("inf"), 0.0)])
def test_no_confidence_from_nan(probabilities: tuple[float, ...]) -> None:
    """NaN is below no threshold: it must not reach the comparison."""
    with pytest.raises(CoherenceError, match="CFT452"):
        calibrator().confidence(probabilities, "clinical", "dense")
    with pytest.raises(CoherenceError, match="CFT452"):
        calibrator().apply(np.array(probabilities), ["clinical"] * 2, ["dense"] * 2)


def test_spoken_certainty_does_not_bend_the_curve() -> None:
    """A third of the answers state 1.0 and are right four times in five."""
    rng = np.random.default_rng(12)
    said, truth = np.array([0.5, 0.7, 0.8, 0.9, 1.0]), np.array([0.45, 0.55, 0.6, 0.7, 0.8])
    which = rng.choice(5, 2000, p=[0.1, 0.15, 0.2, 0.25, 0.3])
    rest = (rng.random(2000) < truth[which], ["a"] * 2000, ["dense"] * 2000, np.arange(2000))
    errors = {}
    for what in ("verbalized", "option_likelihood"):
        found = fit_platt(said[which], *rest, Source("m", "p", "calibration", confidence=what))
        errors[what] = np.abs(found.apply(said, ["a"] * 5, ["dense"] * 5) - truth).max()
    assert errors["verbalized"] < 0.06 < errors["option_likelihood"]


def test_an_unknown_source_of_confidence_is_an_error() -> None:
    with pytest.raises(ValueError, match="mood"):
        fit_platt(*cells(np.random.default_rng(1), 5), Source("m", "p", "calibration", confidence="mood"))


# Agreement with others ------------------------------------------------------------------------------------


def test_the_posterior_mode_is_that_of_a_general_optimiser() -> None:
    rng = np.random.default_rng(5)
    truth = dict(zip(grid(2, 3), rng.normal(0, 1, 6), strict=True))
    confidence, right, domains, patterns, groups = cells(rng, 240, offsets=truth)
    found = platt_of(confidence, right, domains, patterns, groups)
    x, y, sd = logit(confidence), right.astype(float), dict(found.spread)
    d, p = (np.unique(names, return_inverse=True)[1] for names in (domains, patterns))
    widths = [("domain_slope", 2), ("domain", 2), ("pattern", 3), ("cell", 6)]
    assert any(sd.values())

    def parts(at: Array) -> list[Array]:
        return np.split(at, np.cumsum([1, 1, *(size for _, size in widths)]))[:-1]

    def loss(at: Array) -> float:
        slope, intercept, steep, domain, pattern, cell = (
            values * sd.get(level, 1.0)
            for values, level in zip(parts(at), ("", "", *(level for level, _ in widths)), strict=True)
        )
        z = (1 + slope + steep[d]) * x + 1.5 * intercept + domain[d] + pattern[p] + cell[d * 3 + p]
        return float(np.sum(np.logaddexp(0, z) - y * z) + at @ at / 2)

    best = parts(minimize(loss, np.zeros(15), method="BFGS", options={"gtol": 1e-9}).x)
    assert found.slope == pytest.approx(1 + best[0][0], abs=1e-5)
    assert found.intercept == pytest.approx(1.5 * best[1][0], abs=1e-5)
    for level, values, offsets in zip(
        (level for level, _ in widths),
        best[2:],
        (found.slopes, found.domains, found.patterns, found.cells),
        strict=True,
    ):
        expected = sd[level] * values if sd[level] else []
        assert [offset for _, offset in offsets] == pytest.approx(expected, abs=1e-5)


def test_the_spread_makes_the_answers_likeliest() -> None:
    """Against the marginal likelihood integrated exactly, one pattern level of many members."""
    rng = np.random.default_rng(13)
    truth = {("a", f"r{i:02}"): float(o) for i, o in enumerate(rng.normal(0, 0.9, 40))}
    confidence, right, domains, patterns, groups = cells(rng, 40 * 25, offsets=truth)
    found = platt_of(confidence, right, domains, patterns, groups)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    which = np.unique(patterns, return_inverse=True)[1]
    base = found.slope * logit(confidence) + found.intercept

    def marginal(sd: float) -> float:
        z = base[:, None] + sd * nodes
        per_answer = right[:, None] * z - np.logaddexp(0, z)
        per_member = np.zeros((40, len(nodes)))
        np.add.at(per_member, which, per_answer)
        return float(np.sum(np.log(np.exp(per_member) @ weights)))

    tried = np.linspace(0.3, 1.6, 131)
    likeliest = tried[np.argmax([marginal(sd) for sd in tried])]
    assert dict(found.spread)["pattern"] == pytest.approx(likeliest, rel=0.1)


def test_without_priors_it_is_scikit_learns_logistic_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    monkeypatch.setattr(shrinkage, "_SLOPE", 1e9)
    monkeypatch.setattr(shrinkage, "_INTERCEPT", 1e9)
    confidence, right, *rest = cells(np.random.default_rng(14), 800, offsets={("a", "dense"): 0.4})
    peer = linear_model.LogisticRegression(C=np.inf, tol=1e-14, solver="newton-cholesky", max_iter=1000)
    peer.fit(logit(confidence)[:, None], right)
    ours = platt_of(confidence, right, *rest).probability(confidence, *rest[:2])
    assert np.abs(ours - peer.predict_proba(logit(confidence)[:, None])[:, 1]).max() < 1e-9


def test_temperature_is_scikit_learns() -> None:
    calibration = pytest.importorskip("sklearn.calibration")
    linear_model = pytest.importorskip("sklearn.linear_model")
    confidence, right, *rest = cells(np.random.default_rng(15), 800, slope=0.4)
    x = logit(confidence)[:, None]
    fitted = linear_model.LogisticRegression().fit(x, right)
    fitted.coef_, fitted.intercept_ = np.array([[1.0]]), np.array([0.0])
    frozen = pytest.importorskip("sklearn.frozen").FrozenEstimator(fitted)
    peer = calibration.CalibratedClassifierCV(frozen, method="temperature").fit(x, right)
    curve = fit_temperature(confidence, right, *rest, SOURCE).curve
    assert np.abs(curve.probability(confidence, *rest[:2]) - peer.predict_proba(x)[:, 1]).max() < 1e-9


def test_temperature_is_likeliest() -> None:
    """Independently: the score of the log-likelihood is 0 there."""
    confidence, right, *rest = cells(np.random.default_rng(16), 800, slope=0.4)
    curve = fit_temperature(confidence, right, *rest, SOURCE).curve
    assert isinstance(curve, Temperature)
    x = logit(confidence)
    assert abs((right - expit(x / curve.temperature)) @ x) / (x @ x) < 1e-7


def test_isotonic_is_scikit_learns() -> None:
    isotonic = pytest.importorskip("sklearn.isotonic")
    confidence, right, *rest = cells(np.random.default_rng(17), 800, slope=0.4)
    peer = isotonic.IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=1).fit(confidence, right)
    fresh = np.random.default_rng(18).random(500)
    curve = fit_isotonic(confidence, right, *rest, SOURCE).curve
    assert np.abs(curve.probability(fresh, ["a"] * 500, ["dense"] * 500) - peer.predict(fresh)).max() < 1e-9


def test_netcal_scales_by_the_same_temperature() -> None:
    scaling = pytest.importorskip("netcal.scaling")
    confidence, right, *rest = cells(np.random.default_rng(19), 3000, slope=0.4)
    peer = scaling.TemperatureScaling(method="mle").fit(confidence, right.astype(int))
    theirs = peer.transform(confidence)
    ours = fit_temperature(confidence, right, *rest, SOURCE).curve.probability(confidence, *rest[:2])
    assert np.abs(ours - theirs).max() < 1e-3  # netcal stops its optimiser early


def test_applies_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = cells(np.random.default_rng(20), 200)
    stored = [fit(*answers, SOURCE).to_json() for fit in (fit_temperature, fit_isotonic)]
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    importing = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "sklearn":
            raise ImportError(name)
        return importing(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr("coherence_ft.evidence.scaling.import_module", without)
    for document in stored:
        assert 0 < Calibrator.from_json(document).confidence((0.7, 0.3), "a", "dense") < 1
    assert 0 < fit_platt(*answers, SOURCE).confidence((0.7, 0.3), "a", "dense") < 1
    with pytest.raises(CoherenceError, match="CFT474"):
        fit_isotonic(*answers, SOURCE)


# The file -------------------------------------------------------------------------------------------------


def calibrator() -> Calibrator:
    return Calibrator(
        Platt(
            0.4,
            0.1,
            (("clinical", -0.4),),
            (("clinical", 0.2),),
            (("route-1", 0.3),),
            ((("clinical", "route-1"), 0.05),),
            (("domain", 0.3), ("cell", 0.0)),
            0.25,
        ),
        SOURCE,
        (CellCount("clinical", "route-1", 6, 4), CellCount("legal", "unknown", 4, 0)),
        8,
        ("q" * 64, "certification"),
    )


@FITS
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_json_reads_back_the_same(fit: Callable[..., Calibrator], seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = dict(zip(grid(2, 3), rng.normal(0, 1, 6), strict=True))
    answers = cells(rng, 60, offsets=truth)
    found = fit(*answers, SOURCE)
    text = json.dumps(found.to_json())
    back = Calibrator.from_json(json.loads(text))
    assert back == found
    assert "e-" not in text
    assert np.array_equal(back.apply(answers[0], *answers[2:4]), found.apply(answers[0], *answers[2:4]))
    judged = found.certified("q" * 64, "certification")
    assert Calibrator.from_json(judged.to_json()) == judged


def at(*keys: Any, to: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = to

    return change


@pytest.mark.parametrize(
    "change",
    [
        at("version", to=2),
        at("version", to="1"),
        at("kind", to="beta"),
        at("kind", to="temperature"),
        at("confidence", to="mood"),
        at("model", to=None),
        at("codebook", to=""),
        at("codebook", to=7),
        at("note", to="mended by hand"),
        at("parameters", "slope", to="-0.1"),
        at("parameters", "slope", to="nan"),
        at("parameters", "slope", to=0.4),
        at("parameters", "slope", to="0.40"),
        at("parameters", "intercept", to="inf"),
        at("parameters", "domain_slopes", "clinical", to="-0.5"),
        at("parameters", "domains", to=["clinical"]),
        at("parameters", "domains", "clinical", to="x"),
        at("parameters", "cells", to={"clinical": []}),
        at("parameters", "shrinkage", "domain", to="-1"),
        at("parameters", "shrinkage", "universe", to="1"),
        at("parameters", "correlation_in_groups", to="1.5"),
        at("parameters", "edge", to="0"),
        at("fitted_on", "n", to="10"),
        at("fitted_on", "n", to=11),
        at("fitted_on", "n", to=True),
        at("fitted_on", "groups", to=11),
        at("fitted_on", "groups", to=0),
        at("fitted_on", "split", to=None),
        at("fitted_on", "cells", "clinical", "route-1", to={"n": 6, "right": 7}),
        at("fitted_on", "cells", "clinical", "route-1", to={"n": 6, "right": True}),
        at("fitted_on", "cells", "clinical", "route-2", to={"n": 0, "right": 0}),
        at("fitted_on", "cells", to=[]),
        at("certified_on", to={}),
        at("certified_on", "split", to=3),
    ],
)
def test_a_broken_file_is_refused(change: Callable[[Any], None]) -> None:
    document = json.loads(json.dumps(calibrator().to_json()))
    assert Calibrator.from_json(document) == calibrator()
    change(document)
    with pytest.raises(CoherenceError) as refused:
        Calibrator.from_json(document)
    assert refused.value.codes == ("CFT457",)


@pytest.mark.parametrize(
    ("curve", "parameters"),
    [
        (Temperature(1.5), {"temperature": "0", "edge": "0.000001"}),
        (Temperature(1.5), {"temperature": "-2", "edge": "0.000001"}),
        (Isotonic(((0.2, 0.1), (0.8, 0.9))), {"knots": []}),
        (Isotonic(((0.2, 0.1), (0.8, 0.9))), {"knots": [["0.2", "0.1"], ["0.2", "0.9"]]}),
        (Isotonic(((0.2, 0.1), (0.8, 0.9))), {"knots": [["0.2", "0.5"], ["0.8", "0.4"]]}),
        (Isotonic(((0.2, 0.1), (0.8, 0.9))), {"knots": [["0.2", "0.5"], ["0.8", "1.4"]]}),
        (Isotonic(((0.2, 0.1), (0.8, 0.9))), {"knots": [["0.2"], ["0.8"]]}),
    ],
)
def test_a_broken_curve_is_refused(curve: Temperature | Isotonic, parameters: dict[str, Any]) -> None:
    whole = Calibrator(curve, SOURCE, (CellCount("a", "dense", 3, 1),), 3)
    assert Calibrator.from_json(whole.to_json()) == whole
    with pytest.raises(CoherenceError, match="CFT457"):
        Calibrator.from_json(whole.to_json() | {"parameters": parameters})


@pytest.mark.parametrize("data", [None, [], "platt", {}, {"kind": "platt", "slope": "0.4"}])
def test_something_else_than_a_calibrator_is_refused(data: object) -> None:
    with pytest.raises(CoherenceError, match="CFT457"):
        Calibrator.from_json(data)


def test_it_belongs_to_one_model_codebook_and_source() -> None:
    ours = calibrator()
    assert ours.for_model(SOURCE.model, SOURCE.codebook) is ours
    for code, asked in {
        "CFT456": ("theirs", SOURCE.codebook),
        "CFT468": (SOURCE.model, "another"),
    }.items():
        with pytest.raises(CoherenceError, match=code):
            ours.for_model(*asked)
    with pytest.raises(CoherenceError, match="CFT468"):
        ours.for_model(SOURCE.model)  # patterns that nobody can assign
    with pytest.raises(CoherenceError, match="CFT468"):
        ours.for_model(SOURCE.model, SOURCE.codebook, "verbalized")


@pytest.mark.parametrize("judged", [(SOURCE.probe_set, "certification"), ("q" * 64, SOURCE.split)])
def test_it_is_not_certified_by_what_fitted_it(judged: tuple[str, str]) -> None:
    with pytest.raises(CoherenceError, match="CFT454"):
        calibrator().certified(*judged)


def test_cells_are_coded_in_order() -> None:
    names, cell = coded(["b", "a", "b"], ["r", "r", "q"])
    assert (names, cell.tolist()) == ([("a", "r"), ("b", "q"), ("b", "r")], [2, 0, 1])
    assert platt.LEVELS[-1] == "cell"


def test_two_hundred_thousand_answers_in_seconds() -> None:
    rng = np.random.default_rng(21)
    truth = dict(zip(grid(8, 8), rng.normal(0, 0.5, 64), strict=True))
    confidence, right, domains, patterns, _ = cells(rng, 200_000, offsets=truth)
    found = platt_of(confidence, right, domains, patterns, np.arange(200_000) // 2)
    assert dict(found.spread)["cell"] == pytest.approx(0.5, abs=0.1)
