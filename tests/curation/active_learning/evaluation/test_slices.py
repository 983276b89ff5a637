"""Slices of small tables."""

import numpy as np
import pytest

from curation.active_learning.evaluation import slices

NAN = np.nan


def test_categories_become_named_masks():
    masks = slices.build({"weather": ["rain", None, "clear", "rain"]}, min_samples=1)
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "weather=clear": [False, False, True, False],
        "weather=rain": [True, False, False, True],
    }


def test_small_slices_are_dropped():
    weather = ["rain"] * 9 + ["clear"] * 10
    assert list(slices.build({"weather": weather})) == ["weather=clear"]


def test_luminance_replaces_unknown_time_of_day():
    masks = slices.build(
        {"time_of_day": ["day", None, None, None]},
        mean_luma=np.array([0.05, 0.05, 0.6, NAN]),
        min_samples=1,
    )
    assert masks["time_of_day=night"].tolist() == [False, True, False, False]
    assert masks["time_of_day=day"].tolist() == [True, False, True, False]
    estimated = slices.build({}, mean_luma=np.array([0.05, 0.6]), min_samples=1)
    assert sorted(estimated) == ["time_of_day=day", "time_of_day=night"]


def test_size_masks_partition_images_with_objects():
    tallest = np.array([0.9, 0.2, 0.1, 0.03, 0.01, 0.0, NAN])
    rows = {
        name: np.flatnonzero(mask).tolist() for name, mask in slices.size_masks(tallest).items()
    }
    assert rows == {"near": [0, 1], "mid": [2], "far": [3], "small": [4, 5]}
    assert "size=near" in slices.build({}, tallest=tallest, min_samples=1)


def test_tallest_heights_per_image():
    boxes = np.array([[0, 0.1, 0.5, 0.2], [0, 0.0, 0.1, 0.5], [0, 0.2, 1.0, 0.4]])
    heights = slices.tallest_heights(3, np.array([0, 0, 2]), boxes)
    assert heights == pytest.approx([0.5, NAN, 0.2], nan_ok=True)


def test_unknown_luminance_is_not_dark():
    assert slices.is_dark(np.array([0.1, 0.24, 0.25, NAN])).tolist() == [True, True, False, False]


def test_no_samples_give_no_slices():
    assert slices.build({"weather": []}, tallest=np.empty(0), mean_luma=np.empty(0)) == {}
