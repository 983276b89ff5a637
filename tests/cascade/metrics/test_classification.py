"""Metrics by hand, against scikit-learn, and against slow loops."""

import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef, precision_score, recall_score

from cascade.errors import BadPredictionsError
from cascade.metrics.classification import (
    Confusion,
    best_threshold,
    confusion,
    ece,
    grouped_bootstrap,
    mcc,
    paired_delta_mcc,
    precision,
    recall,
)


def flags(text):
    """Return booleans from `"yn.."`: y is yes."""
    return np.array([letter == "y" for letter in text], bool)


def mcc_draws(truth, predicted, groups, **options):
    """Return the MCC in each draw: its difference to that of a constant, which is 0."""
    return paired_delta_mcc(truth, np.zeros_like(truth), predicted, groups, **options)[1]


def random_decisions(seed, n=200, errors=0.15):
    generator = np.random.default_rng(seed)
    truth = generator.random(n) < 0.4
    return truth, truth ^ (generator.random(n) < errors), generator


# --- counts ------------------------------------------------------------------------------------


def test_confusion_by_hand():
    assert confusion(flags("yyynnn"), flags("yynynn")) == Confusion(tp=2, fp=1, fn=1, tn=2)


MCC_ROWS = [
    pytest.param("yynn", "yynn", 1.0, id="all right"),
    pytest.param("yynn", "nnyy", -1.0, id="all wrong"),
    pytest.param("yynn", "ynyn", 0.0, id="chance"),
    pytest.param("yyynnn", "yynynn", (4 - 1) / 9, id="(2·2 - 1·1) / sqrt(3·3·3·3)"),
    pytest.param("yynn", "yyyy", 0.0, id="always yes"),
    pytest.param("yynn", "nnnn", 0.0, id="always no"),
    pytest.param("yyyy", "yynn", None, id="truth always yes"),
    pytest.param("nnnn", "nnnn", None, id="truth always no"),
    pytest.param("", "", None, id="no images"),
]


@pytest.mark.parametrize(("truth", "predicted", "expected"), MCC_ROWS)
def test_mcc_by_hand(truth, predicted, expected):
    assert mcc(flags(truth), flags(predicted)) == (
        expected if expected is None else pytest.approx(expected)
    )


@pytest.mark.parametrize("seed", range(20))
def test_metrics_equal_scikit_learn(seed):
    truth, predicted, _ = random_decisions(seed, n=30 + seed)
    assert mcc(truth, predicted) == pytest.approx(matthews_corrcoef(truth, predicted))
    assert precision(truth, predicted) == pytest.approx(precision_score(truth, predicted))
    assert recall(truth, predicted) == pytest.approx(recall_score(truth, predicted))


def test_mcc_of_many_images_does_not_overflow():
    truth = np.tile(flags("yn"), 1_000_000)
    predicted = truth.copy()
    predicted[:1000] ^= True
    assert mcc(truth, predicted) == pytest.approx(1 - 2 * 1000 / 2_000_000)


def test_precision_and_recall_may_be_undefined():
    assert precision(flags("yn"), flags("nn")) is None
    assert recall(flags("nn"), flags("yn")) is None


def test_different_lengths_raise():
    with pytest.raises(BadPredictionsError, match=r"the same shape \(n,\), got \(2,\) and \(3,\)"):
        mcc(flags("yn"), flags("ynn"))


def test_swapped_arguments_raise():
    with pytest.raises(
        BadPredictionsError, match=r"booleans, got float64\. Were two arguments swapped"
    ):
        ece(np.array([0.2, 0.9]), flags("ny"))


# --- calibration error -------------------------------------------------------------------------

ECE_ROWS = [
    pytest.param("yynn", [1.0, 1.0, 0.0, 0.0], 0.0, id="certain and right"),
    pytest.param("yynn", [0.0, 0.0, 1.0, 1.0], 1.0, id="certain and wrong"),
    pytest.param("ynyn", [0.5] * 4, 0.0, id="half is half"),
    pytest.param("yyyn", [0.5] * 4, 0.25, id="half, but three of four are yes"),
    pytest.param("ny", [0.5, 0.51], 0.005, id="one bin: errors of opposite sign cancel"),
    pytest.param("yn", [0.9, 0.2], 0.15, id="two bins: |0.9 - 1| and |0.2 - 0| averaged"),
]


@pytest.mark.parametrize(("truth", "p", "expected"), ECE_ROWS)
def test_ece_by_hand(truth, p, expected):
    assert ece(flags(truth), np.array(p)) == pytest.approx(expected)


def test_ece_without_images_is_undefined():
    assert ece(flags(""), np.zeros(0)) is None


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_ece_equals_a_loop(bins):
    generator = np.random.default_rng(bins)
    p = np.append(generator.random(300), [0.0, 1.0])
    truth = generator.random(302) < p**2
    slow = 0.0
    for b in range(bins):
        inside = [
            i
            for i in range(302)
            if b / bins <= p[i] < (b + 1) / bins or (b == bins - 1 and p[i] == 1)
        ]
        if inside:
            gap = np.mean([p[i] for i in inside]) - np.mean([truth[i] for i in inside])
            slow += len(inside) / 302 * abs(gap)
    assert ece(truth, p, bins=bins) == pytest.approx(slow)


@pytest.mark.parametrize("p", [[0.5, np.nan], [0.5, 1.2]], ids=["NaN", "above 1"])
def test_ece_with_invalid_probabilities_raises(p):
    with pytest.raises(BadPredictionsError, match=r"p must be in \[0, 1\]"):
        ece(flags("yn"), np.array(p))


# --- threshold ---------------------------------------------------------------------------------

THRESHOLDS = [
    pytest.param("nnyy", [0.1, 0.2, 0.8, 0.9], 0.5, id="middle of the separating gap"),
    pytest.param("nnyy", [0.1, 0.2, 0.3, 0.9], 0.25, id="low gap"),
    pytest.param("nyny", [0.1, 0.2, 0.8, 0.95], 0.15, id="tie goes to the closest to 0.5"),
    pytest.param("yyyy", [0.1, 0.2, 0.8, 0.9], 0.5, id="one class"),
    pytest.param("yn", [0.7, 0.7], 0.5, id="equal values"),
    pytest.param("yynn", [0.1, 0.2, 0.8, 0.9], 0.5, id="worse than chance"),
    pytest.param("nyn", [0.1, 0.4, np.nan], 0.25, id="image without voters"),
    pytest.param("", [], 0.5, id="no images"),
]


@pytest.mark.parametrize(("truth", "p", "expected"), THRESHOLDS)
def test_best_threshold_by_hand(truth, p, expected):
    assert best_threshold(flags(truth), np.array(p)) == pytest.approx(expected)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=30))
def test_no_threshold_beats_the_best(rows):
    truth = np.array([row[0] for row in rows], bool)
    p = np.array([row[1] for row in rows], float)
    best = mcc(truth, p >= best_threshold(truth, p))
    for other in p:
        value = mcc(truth, p >= other)
        assert (best is None) == (value is None)
        assert value is None or max(best, 0.0) >= value - 1e-9


# --- bootstrap ---------------------------------------------------------------------------------


def test_every_draw_has_as_many_groups():
    weights = grouped_bootstrap(7, draws=50, seed=1)
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert weights.std() > 0.5


def test_draws_depend_on_the_seed():
    assert (grouped_bootstrap(7, draws=9, seed=1) == grouped_bootstrap(7, draws=9, seed=1)).all()
    assert (grouped_bootstrap(7, draws=9, seed=1) != grouped_bootstrap(7, draws=9, seed=2)).any()


@pytest.mark.parametrize("n_groups", [1, 5, 40])
def test_bootstrap_equals_copied_images(n_groups):
    truth, predicted, generator = random_decisions(n_groups, n=80)
    other = truth ^ (generator.random(80) < 0.2)
    groups = [f"drive {i}" for i in generator.integers(0, n_groups, 80)]
    names = list(dict.fromkeys(groups))
    draws = mcc_draws(truth, predicted, groups, draws=30, seed=3)
    delta, deltas = paired_delta_mcc(truth, predicted, other, groups, draws=30, seed=3)
    assert delta == pytest.approx(
        matthews_corrcoef(truth, other) - matthews_corrcoef(truth, predicted)
    )
    for d, counts in enumerate(grouped_bootstrap(len(names), draws=30, seed=3)):
        rows = [
            i
            for name, count in zip(names, counts, strict=True)
            for _ in range(count)
            for i in range(80)
            if groups[i] == name
        ]
        mcc_a, mcc_b = (matthews_corrcoef(truth[rows], p[rows]) for p in (predicted, other))
        assert draws[d] == pytest.approx(mcc_a)
        assert deltas[d] == pytest.approx(mcc_b - mcc_a)


def test_draws_of_one_class_are_nan():
    draws = mcc_draws(flags("yn"), flags("yn"), ["a", "b"], draws=200, seed=0)
    assert set(draws[~np.isnan(draws)]) == {1.0}
    assert 0.3 < np.isnan(draws).mean() < 0.7


def test_delta_of_one_class_is_nan():
    delta, draws = paired_delta_mcc(flags("yy"), flags("yn"), flags("yy"), ["a", "b"], draws=5)
    assert np.isnan(delta)
    assert np.isnan(draws).all()


def test_delta_of_equal_predictions_is_zero():
    truth, predicted, _ = random_decisions(0)
    delta, draws = paired_delta_mcc(truth, predicted, predicted, list(range(200)), draws=100)
    assert delta == 0
    assert (draws == 0).all()


def test_wrong_number_of_groups_raises():
    with pytest.raises(BadPredictionsError, match="one group per image, got 1 for 2 images"):
        mcc_draws(flags("yn"), flags("yn"), ["a"])


def test_groups_widen_the_interval_of_copies():
    """With ten copies of each image, ungrouped draws overstate the evidence."""
    truth, predicted, _ = random_decisions(5, n=60)
    groups = np.repeat(np.arange(60), 10)
    many = [np.repeat(array, 10) for array in (truth, predicted)]
    spread = mcc_draws(truth, predicted, list(range(60)), draws=2000).std()
    grouped = mcc_draws(*many, list(groups), draws=2000).std()
    naive = mcc_draws(*many, list(range(600)), draws=2000).std()
    assert grouped == pytest.approx(spread, rel=0.05)
    assert naive < 0.45 * grouped


def test_interval_covers_the_true_difference():
    """The one-sided 95 % bound of the gate exceeds the truth in about 5 % of cases."""
    generator = np.random.default_rng(0)
    too_high, cases = 0, 200
    for case in range(cases):  # sensitivity and specificity 0.85 against 0.90, half are yes
        truth = generator.random(400) < 0.5
        a, b = (truth ^ (generator.random(400) < errors) for errors in (0.15, 0.10))
        _, draws = paired_delta_mcc(truth, a, b, list(range(400)), draws=400, seed=case)
        too_high += np.nanquantile(draws, 0.05) > 0.10
    assert 0.015 <= too_high / cases <= 0.10


def test_bootstrap_is_fast():
    truth, predicted, _ = random_decisions(1, n=5000)
    start = time.process_time()
    paired_delta_mcc(truth, predicted, truth, list(range(5000)), draws=2000)
    assert time.process_time() - start < 10  # 0.6 s on an idle core


def test_empty_input_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(mcc_draws(flags(""), flags(""), [], draws=3)).all()
