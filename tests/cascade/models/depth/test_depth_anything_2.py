"""Depth Anything V2: maps match transformers, with larger values farther away."""

import json

import numpy as np
import pictures
import pytest
import tiny_depth_anything_2 as tiny
import torch
from transformers import AutoImageProcessor, AutoModelForDepthEstimation

from cascade import registry
from cascade.errors import CheckpointError
from cascade.models.depth.depth_anything_2 import metric_depth, relative_depth
from cascade.models.huggingface import image_processor
from cascade.protocols import DepthEstimator, predict

CASES = pytest.mark.parametrize("name", tiny.CASES)
ADAPTER = "depth_anything_2"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: case.write(tmp_path_factory.mktemp(name)) for name, case in tiny.CASES.items()}


def maps(model, images):
    return [depth_map.depth for depth_map in predict(model, pictures.batch_of(images))]


@pytest.mark.parametrize("source", pictures.SOURCES)
def test_pixels_match_official_processor(folders, source):
    folder = folders["depth_anything_2_metric"]
    model = registry.create(ADAPTER, folder)
    official = AutoImageProcessor.from_pretrained(folder)
    std = torch.tensor(official.image_std).view(3, 1, 1)
    for image in source():  # one by one: the processor cannot stack different sizes
        theirs = official(images=[image], return_tensors="pt")["pixel_values"]
        (ours,) = model.prepare(pictures.batch_of([image]))["pixels"]
        assert ours.shape == theirs.shape
        assert ((ours - theirs) * std).abs().max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize("size", [(1080, 1920), (375, 1242), (300, 200), (518, 518)])
def test_sizes_match_official_processor(folders, tmp_path, size):
    """At the real resolution: 518 on the side that needs less scaling, multiples of 14."""
    folder = folders["depth_anything_2_metric"]
    official = AutoImageProcessor.from_pretrained(folder, size={"height": 518, "width": 518})
    official.save_pretrained(tmp_path)
    prepared = official(images=[np.zeros((*size, 3), np.uint8)], return_tensors="pt")
    expected = tuple(prepared["pixel_values"].shape[-2:])
    assert image_processor.read(tmp_path).resized_size(*size) == expected


@CASES
def test_maps_match_transformers(folders, name):
    official = AutoImageProcessor.from_pretrained(folders[name])
    network = AutoModelForDepthEstimation.from_pretrained(folders[name])
    images = pictures.drawn()
    maps_found = maps(registry.create(ADAPTER, folders[name]), images)
    for image, depth_map in zip(images, maps_found, strict=True):
        with torch.inference_mode():
            theirs = network(**official(images=[image], return_tensors="pt")).predicted_depth[0]
        expected = theirs if name.endswith("metric") else 1 / theirs
        assert depth_map.std() > 0.05 * depth_map.mean()  # a constant map would prove nothing
        assert depth_map == pytest.approx(expected.numpy(), rel=0.02)


@CASES
def test_mixed_proportions_in_batch_do_not_change_maps(folders, name):
    model = registry.create(ADAPTER, folders[name])
    assert isinstance(model, DepthEstimator)
    images = pictures.drawn([*pictures.SIZES, pictures.SIZES[1]])
    prepared = model.prepare(pictures.batch_of(images))["pixels"]
    assert [len(group) for group in prepared] == [1, 2, 1, 1, 1]  # equal sizes share a call
    for depth_map, image in zip(maps(model, images), images, strict=True):
        (alone,) = maps(model, [image])
        assert depth_map == pytest.approx(alone, rel=1e-4)
    assert predict(model, pictures.batch_of([])) == []


def test_unit_comes_from_checkpoint(folders):
    units = {
        name: predict(registry.create(ADAPTER, folder), pictures.batch_of(pictures.drawn()))[0].unit
        for name, folder in folders.items()
    }
    assert units == {
        "depth_anything_2_relative": "relative",
        "depth_anything_2_metric": "metres",
    }


def test_saturated_meters_are_nan():
    output = np.array([[0.5, 79.0, 79.3, 80.0]], np.float32)
    assert metric_depth(output, 80) == pytest.approx(
        np.array([[0.5, 79.0, np.nan, np.nan]]), nan_ok=True
    )


def test_inverse_depth_is_inverted():
    output = np.array([[4.0, 2.0, 0.5, 0.004, 0.0]], np.float32)
    assert relative_depth(output) == pytest.approx(
        np.array([[0.25, 0.5, 2.0, np.nan, np.nan]]), nan_ok=True
    )


def test_sky_only_image_is_nan_everywhere():
    assert np.isnan(relative_depth(np.zeros((2, 3), np.float32))).all()


def test_half_precision_keeps_map(folders):
    model = registry.create(ADAPTER, folders["depth_anything_2_metric"])
    images = pictures.drawn()
    full = maps(model, images)
    model.module.to(torch.bfloat16)
    for depth_map, half in zip(full, maps(model, images), strict=True):
        assert np.median(np.abs(half / depth_map - 1)) < 0.05


def test_other_family_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "zoedepth"}))
    with pytest.raises(CheckpointError, match="'zoedepth'; the adapter 'depth_anything_2'"):
        registry.create(ADAPTER, tmp_path)
