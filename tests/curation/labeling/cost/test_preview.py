import numpy as np
import pytest

from curation.active_learning.selection.stopping_rule import (
    SECONDS_PER_BOX,
    SECONDS_PER_IMAGE,
    Gain,
)
from curation.labeling.cost import preview
from curation.labeling.cost.preview import Measurement


def measure_people(n, *, per_image=8.0, per_box=5.0, breaks=0.0, seed=0):
    """Return times of n images, with 20 % noise and some breaks of 15 minutes."""
    generator = np.random.default_rng(seed)
    boxes = generator.poisson(4, n)
    seconds = (per_image + per_box * boxes) * generator.normal(1, 0.2, n).clip(0.3)
    seconds += 900.0 * (generator.random(n) < breaks)
    return [Measurement(1, int(b), float(s)) for b, s in zip(boxes, seconds, strict=True)]


def test_rates_without_measurements_are_assumptions():
    rates = preview.fit_rates([])
    assert (rates.seconds_per_image, rates.seconds_per_box) == (SECONDS_PER_IMAGE, SECONDS_PER_BOX)
    assert "assumptions" in rates.source


def test_single_round_scales_assumption():
    assumed = 10 * SECONDS_PER_IMAGE + 30 * SECONDS_PER_BOX
    rates = preview.fit_rates([Measurement(10, 30, 2 * assumed)])
    assert rates.seconds_per_image == pytest.approx(2 * SECONDS_PER_IMAGE)
    assert rates.seconds_per_box == pytest.approx(2 * SECONDS_PER_BOX)
    assert "too few or too similar" in rates.source


def test_uniform_images_scale_assumption():
    assert (
        "too similar" in preview.fit_rates([Measurement(1, 3, 20.0 + i) for i in range(50)]).source
    )


@pytest.mark.parametrize("breaks", [0.0, 0.1], ids=["no breaks", "every tenth image a break"])
@pytest.mark.parametrize("seed", range(5))
def test_true_rates_are_recovered_despite_breaks(breaks, seed):
    rates = preview.fit_rates(measure_people(300, breaks=breaks, seed=seed))
    assert rates.seconds_per_image == pytest.approx(8.0, abs=1.5)
    assert rates.seconds_per_box == pytest.approx(5.0, abs=0.6)
    assert rates.source == "Measured on 300 images, without breaks."


def test_least_squares_is_biased_by_breaks():
    """The reason for the robust loss."""
    measurements = measure_people(300, breaks=0.1)
    n = np.array([[row.images, row.boxes] for row in measurements], float)
    plain = np.linalg.lstsq(n, np.array([row.seconds for row in measurements]), rcond=None)[0]
    assert plain[0] > 50


def test_rates_are_fitted_to_rounds():
    measurements = [Measurement(40, 40 * k, 40 * (8.0 + 5.0 * k)) for k in range(1, 10)]
    rates = preview.fit_rates(measurements)
    assert (rates.seconds_per_image, rates.seconds_per_box) == (8.0, 5.0)


def test_rates_are_not_negative():
    measurements = [Measurement(1, k, 10.0 * k - 5.0) for k in range(1, 20)]
    assert preview.fit_rates(measurements).seconds_per_image >= 0.0


def test_preview_has_boxes_hours_and_advice():
    expected = np.array([2.0, 3.0])
    noise = Gain(0.01, -0.02, 0.03)
    cost_preview = preview.preview(expected, [], [noise, noise], chosen=True)
    assert (cost_preview.images, cost_preview.cost.boxes) == (2, 5.0)
    hours = cost_preview.cost.hours
    assert hours == pytest.approx((2 * SECONDS_PER_IMAGE + 5 * SECONDS_PER_BOX) / 3600)
    assert cost_preview.stop
    assert cost_preview.advice.endswith("Stop.")


def summary(**facts):
    content = {"seconds": 100.0, "labeled": 4, "new": 4, "boxes": 9} | facts
    return {"stages": {"label": {"summary": content}}}


RECORDS = [
    pytest.param(summary(), [Measurement(4, 9, 100.0)], id="measured"),
    pytest.param(summary(seconds=None), [], id="not measured"),
    pytest.param(summary(new=1), [], id="measured in part"),
    pytest.param({"stages": {}}, [], id="not labeled"),
]


@pytest.mark.parametrize(("record", "expected"), RECORDS)
def test_round_times_come_from_records(record, expected):
    assert preview.round_measurements([record]) == expected


def test_sample_times_come_from_versions():
    versions = [
        {"seconds": 12.5, "labels": ["cone", "cone"]},
        {"seconds": None, "labels": ["cone"]},
        {"seconds": 3.0, "labels": []},
    ]
    assert preview.sample_measurements([{"versions": versions}, {}]) == [
        Measurement(1, 2, 12.5), Measurement(1, 0, 3.0),
    ]  # fmt: skip


def test_round_without_verdict_has_no_gain():
    verdict = {"delta_mcc": 0.1, "lower": 0.05, "upper": 0.2}
    assert preview.gains([verdict, None, verdict | {"lower": None}]) == [
        Gain(0.1, 0.05, 0.2), None, None,
    ]  # fmt: skip
