import numpy as np
import pytest

from cascade.metrics import classification
from curation.report.intervals import Answers, compare

KEYS = ("mcc", "precision", "recall", "ece")


def case(seed, n=60, right=0.8):
    generator = np.random.default_rng(seed)
    truth = generator.random(n) < 0.5
    p = np.clip(np.where(generator.random(n) < right, truth, ~truth) * 0.8 + 0.1, 0, 1)
    drives = [f"drive{i // 3}" for i in range(n)]
    return truth, drives, p


def slow(truth, p, threshold):
    yes = p >= threshold
    return {
        "mcc": classification.mcc(truth, yes),
        "precision": classification.precision(truth, yes),
        "recall": classification.recall(truth, yes),
        "ece": classification.ece(truth, p),
    }


def test_values_agree_with_the_metrics():
    truth, drives, p = case(0)
    found = compare(truth, drives, Answers(p, 0.5), Answers(p**2, 0.3), draws=10)
    before, after = slow(truth, p, 0.5), slow(truth, p**2, 0.3)
    for key in KEYS:
        assert found[key].before.value == pytest.approx(before[key])
        assert found[key].after.value == pytest.approx(after[key])
        assert found[key].change.value == pytest.approx(after[key] - before[key])


def test_intervals_agree_with_resampling_image_by_image():
    truth, drives, p = case(1, n=30)
    found = compare(truth, drives, Answers(p, 0.5), Answers(p, 0.5), draws=50, seed=4)
    weights = classification.grouped_bootstrap(10, draws=50, seed=4)
    drawn = {key: [] for key in KEYS}
    for row in weights:
        images = [i for drive, times in enumerate(row) for i in range(3 * drive, 3 * drive + 3)
                  for _ in range(times)]  # fmt: skip
        for key, value in slow(truth[images], p[images], 0.5).items():
            drawn[key].append(np.nan if value is None else value)
    for key in KEYS:
        one = found[key].before
        assert (one.lower, one.upper) == pytest.approx(
            tuple(np.nanquantile(drawn[key], (0.025, 0.975)))
        )


def test_an_unchanged_ensemble_has_changed_by_nothing():
    truth, drives, p = case(2)
    for one in compare(truth, drives, Answers(p, 0.5), Answers(p, 0.5)).values():
        assert (one.change.value, one.change.lower, one.change.upper) == (0, 0, 0)


UNDEFINED = [
    pytest.param([1, 1, 1], [0.9, 0.9, 0.1], ("mcc",), id="one class has no MCC"),
    pytest.param([1, 0, 1], [0.1, 0.1, 0.1], ("precision",), id="no yes has no precision"),
    pytest.param([0, 0, 0], [0.9, 0.1, 0.1], ("mcc", "recall"), id="no true yes has no recall"),
]


@pytest.mark.parametrize(("truth", "p", "missing"), UNDEFINED)
def test_what_is_not_defined_stays_so(truth, p, missing):
    said = Answers(np.array(p), 0.5)
    found = compare(np.array(truth, bool), ["a", "b", "c"], said, said)
    assert {key for key in KEYS if found[key].after.value is None} == set(missing)


def test_images_without_a_vote_are_a_no_without_a_probability():
    truth, drives, p = case(5)
    silent = np.where(np.arange(len(p)) % 4 == 0, np.nan, p)
    found = compare(truth, drives, Answers(p, 0.5), Answers(silent, 0.5))
    voted = ~np.isnan(silent)
    assert found["ece"].after.value == pytest.approx(classification.ece(truth[voted], p[voted]))
    assert found["recall"].after.value == pytest.approx(classification.recall(truth, silent >= 0.5))


def test_one_drive_gives_an_interval_without_width():
    truth, _, p = case(3)
    one = compare(truth, ["a"] * len(truth), Answers(p, 0.5), Answers(p, 0.5))["mcc"].before
    assert one.lower == one.value == one.upper
