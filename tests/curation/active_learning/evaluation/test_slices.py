"""Slices by table."""

import numpy as np
import pytest

from curation.active_learning.evaluation import slices

NAN = np.nan


def test_categories_become_named_masks():
    found = slices.build({"weather": ["rain", None, "clear", "rain"]}, min_samples=1)
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "weather=clear": [False, False, True, False],
        "weather=rain": [True, False, False, True],
    }


def test_small_slices_are_left_out():
    weather = ["rain"] * 9 + ["clear"] * 10
    assert list(slices.build({"weather": weather})) == ["weather=clear"]


def test_brightness_stands_in_for_an_unknown_time_of_day():
    found = slices.build(
        {"time_of_day": ["day", None, None, None]},
        mean_luma=np.array([0.05, 0.05, 0.6, NAN]),
        min_samples=1,
    )
    assert found["time_of_day=night"].tolist() == [False, True, False, False]
    assert found["time_of_day=day"].tolist() == [True, False, True, False]
    alone = slices.build({}, mean_luma=np.array([0.05, 0.6]), min_samples=1)
    assert sorted(alone) == ["time_of_day=day", "time_of_day=night"]


def test_sizes_part_the_images_that_have_objects():
    tallest = np.array([0.9, 0.2, 0.1, 0.03, 0.01, 0.0, NAN])
    found = {
        name: np.flatnonzero(mask).tolist() for name, mask in slices.size_masks(tallest).items()
    }
    assert found == {"near": [0, 1], "mid": [2], "far": [3], "small": [4, 5]}
    assert "size=near" in slices.build({}, tallest=tallest, min_samples=1)


def test_the_tallest_object_counts():
    boxes = np.array([[0, 0.1, 0.5, 0.2], [0, 0.0, 0.1, 0.5], [0, 0.2, 1.0, 0.4]])
    found = slices.tallest_heights(3, np.array([0, 0, 2]), boxes)
    assert found == pytest.approx([0.5, NAN, 0.2], nan_ok=True)


def test_darkness_is_false_where_unmeasured():
    assert slices.is_dark(np.array([0.1, 0.24, 0.25, NAN])).tolist() == [True, True, False, False]


def test_nothing_gives_no_slices():
    assert slices.build({"weather": []}, tallest=np.empty(0), mean_luma=np.empty(0)) == {}
