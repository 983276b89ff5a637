import numpy as np
import pytest

from curation.active_learning.selection.stopping_rule import (
    SECONDS_PER_BOX,
    SECONDS_PER_IMAGE,
    Gain,
)
from curation.labeling.cost import preview
from curation.labeling.cost.preview import Timed


def people(n, *, per_image=8.0, per_box=5.0, breaks=0.0, seed=0):
    """Return n images as people label them: a fifth of noise, and some breaks of a quarter hour."""
    generator = np.random.default_rng(seed)
    boxes = generator.poisson(4, n)
    seconds = (per_image + per_box * boxes) * generator.normal(1, 0.2, n).clip(0.3)
    seconds += 900.0 * (generator.random(n) < breaks)
    return [Timed(1, int(b), float(s)) for b, s in zip(boxes, seconds, strict=True)]


def test_nothing_measured_is_assumed_and_said_so():
    found = preview.rates([])
    assert (found.seconds_per_image, found.seconds_per_box) == (SECONDS_PER_IMAGE, SECONDS_PER_BOX)
    assert "assumptions" in found.source


def test_one_round_scales_the_assumption():
    assumed = 10 * SECONDS_PER_IMAGE + 30 * SECONDS_PER_BOX
    found = preview.rates([Timed(10, 30, 2 * assumed)])
    assert found.seconds_per_image == pytest.approx(2 * SECONDS_PER_IMAGE)
    assert found.seconds_per_box == pytest.approx(2 * SECONDS_PER_BOX)
    assert "too few or too alike" in found.source


def test_images_that_are_all_alike_scale_the_assumption():
    assert "too alike" in preview.rates([Timed(1, 3, 20.0 + i) for i in range(50)]).source


@pytest.mark.parametrize("breaks", [0.0, 0.1], ids=["no breaks", "every tenth image a break"])
@pytest.mark.parametrize("seed", range(5))
def test_the_true_rates_are_found_whatever_breaks_there_were(breaks, seed):
    found = preview.rates(people(300, breaks=breaks, seed=seed))
    assert found.seconds_per_image == pytest.approx(8.0, abs=1.5)
    assert found.seconds_per_box == pytest.approx(5.0, abs=0.6)
    assert found.source == "Measured on 300 images, breaks left out."


def test_least_squares_would_be_led_astray():
    """So the robust loss is there for a reason."""
    timed = people(300, breaks=0.1)
    n = np.array([[one.images, one.boxes] for one in timed], float)
    plain = np.linalg.lstsq(n, np.array([one.seconds for one in timed]), rcond=None)[0]
    assert plain[0] > 50


def test_rounds_are_measured_together_too():
    timed = [Timed(40, 40 * k, 40 * (8.0 + 5.0 * k)) for k in range(1, 10)]
    found = preview.rates(timed)
    assert (found.seconds_per_image, found.seconds_per_box) == (8.0, 5.0)


def test_no_rate_is_negative():
    timed = [Timed(1, k, 10.0 * k - 5.0) for k in range(1, 20)]
    assert preview.rates(timed).seconds_per_image >= 0.0


def test_the_preview_says_boxes_hours_and_whether_to_stop():
    expected = np.array([2.0, 3.0])
    noise = Gain(0.01, -0.02, 0.03)
    found = preview.preview(expected, [], [noise, noise], chosen=True)
    assert (found.images, found.cost.boxes) == (2, 5.0)
    assert found.cost.hours == pytest.approx((2 * SECONDS_PER_IMAGE + 5 * SECONDS_PER_BOX) / 3600)
    assert found.stop
    assert found.advice.endswith("Stop.")


def summary(**facts):
    content = {"seconds": 100.0, "labeled": 4, "new": 4, "boxes": 9} | facts
    return {"stages": {"label": {"summary": content}}}


RECORDS = [
    pytest.param(summary(), [Timed(4, 9, 100.0)], id="measured"),
    pytest.param(summary(seconds=None), [], id="not measured"),
    pytest.param(summary(new=1), [], id="measured in part"),
    pytest.param({"stages": {}}, [], id="not labeled"),
]


@pytest.mark.parametrize(("record", "expected"), RECORDS)
def test_records_tell_what_a_round_took(record, expected):
    assert preview.timed_rounds([record]) == expected


def test_notes_tell_what_each_submission_took():
    versions = [
        {"seconds": 12.5, "labels": ["cone", "cone"]},
        {"seconds": None, "labels": ["cone"]},
        {"seconds": 3.0, "labels": []},
    ]
    assert preview.timed_samples([{"versions": versions}, {}]) == [
        Timed(1, 2, 12.5), Timed(1, 0, 3.0),
    ]  # fmt: skip


def test_a_round_without_a_verdict_is_no_gain():
    verdict = {"delta_mcc": 0.1, "lower": 0.05, "upper": 0.2}
    assert preview.gains([verdict, None, verdict | {"lower": None}]) == [
        Gain(0.1, 0.05, 0.2), None, None,
    ]  # fmt: skip
