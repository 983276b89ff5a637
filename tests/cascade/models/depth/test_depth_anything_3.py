"""Depth Anything 3: its arithmetic everywhere, its network where the package is installed."""

import json
import math
from importlib.util import find_spec

import numpy as np
import pictures
import pytest
import tiny_depth_anything_3 as tiny
import torch

from cascade.errors import CheckpointError
from cascade.models.depth.depth_anything_3 import (
    SKY,
    DepthAnything3,
    assumed_focal_px,
    processed_focal_px,
    processed_size,
)
from cascade.protocols import DepthEstimator, predict

with_package = pytest.mark.skipif(
    find_spec("depth_anything_3") is None,
    reason="the package depth-anything-3 is not installed; it goes in by hand, with --no-deps",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("da3"))


@pytest.fixture(scope="module")
def model(folder):
    return DepthAnything3(folder, size=tiny.SIZE)


def raw_of(model, image):
    """Raw depth and sky of one image by the package's own forward pass."""
    with torch.inference_mode():
        output = model.module(model.prepare(pictures.batch_of([image]))["pixels"][0])
    return output["depth"][0, 0].numpy(), output["sky"][0, 0].numpy()


@pytest.mark.parametrize(
    ("image", "longest", "expected"),
    [
        pytest.param((1080, 1920), 504, (280, 504), id="283.5 is 284, and that 280"),
        pytest.param((1920, 1080), 504, (504, 280), id="tall"),
        pytest.param((504, 504), 504, (504, 504), id="as it is"),
        pytest.param((100, 90), 70, (70, 70), id="63 lies between two multiples: the larger"),
        pytest.param((10, 1000), 70, (14, 70), id="at least a patch"),
    ],
)
def test_processed_sizes(image, longest, expected):
    assert processed_size(*image, longest) == expected


def test_focal_length_is_scaled_to_processed_image():
    """1000 px of 1920 x 1080 are 262.5 px across and 259.26 px down of 504 x 280."""
    focal_px = processed_focal_px(1000, (1080, 1920), (280, 504))
    assert focal_px == pytest.approx((262.5 + 259.259) / 2, abs=1e-3)


@pytest.mark.parametrize(("fov", "expected"), [(90, 960), (60, 960 * math.sqrt(3))])
def test_assumed_focal_length_fits_field_of_view(fov, expected):
    assert assumed_focal_px(1920, fov) == pytest.approx(expected)


def test_impossible_field_of_view_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="horizontal_fov_deg must be between 0 and 180"):
        DepthAnything3(tmp_path, horizontal_fov_deg=180)


def test_folder_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="needs a checkpoint"):
        DepthAnything3()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        DepthAnything3(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_name": "da3-small"}))
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="is damaged"):
        DepthAnything3(tmp_path)


def test_model_without_metric_depth_is_refused(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "config.json").write_text(json.dumps({"model_name": "da3mono-large"}))
    save_file({"one": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="'da3mono-large'; only the metric models"):
        DepthAnything3(tmp_path)


@with_package
@pytest.mark.parametrize("source", pictures.SOURCES)
def test_pixels_match_official_processor(model, source):
    from depth_anything_3.utils.io.input_processor import InputProcessor

    for image in source():
        theirs, _, _ = InputProcessor()([image], process_res=tiny.SIZE, sequential=True)
        (ours,) = model.prepare(pictures.batch_of([image]))["pixels"]
        assert torch.allclose(ours[0], theirs, atol=1e-5)


@with_package
def test_meters_are_focal_length_times_raw_depth_over_300(model):
    """One pixel followed by hand, of an image of 160 x 96 that is seen as 70 x 42."""
    image = pictures.drawn([(96, 160)])[0]
    raw, sky = raw_of(model, image)
    (depth_map,) = predict(model, pictures.batch_of([image]))
    focal_px = 80 / math.tan(math.radians(35)) * 70 / 160  # both sides have equal scale
    y, x = np.argwhere(sky < SKY)[0]
    assert depth_map.unit == "metres"
    assert depth_map.depth.shape == (42, 70)
    assert depth_map.depth[y, x] == pytest.approx(focal_px * raw[y, x] / 300, rel=1e-5)


@with_package
def test_focal_length_of_batch_is_used(model):
    from dataclasses import replace

    batch = pictures.batch_of(pictures.drawn([(96, 160), (96, 160)]))
    assumed = predict(model, batch)
    with_focal = predict(model, replace(batch, focals_px=(2 * assumed_focal_px(160, 70), None)))
    assert with_focal[0].depth == pytest.approx(2 * assumed[0].depth, rel=1e-5, nan_ok=True)
    assert with_focal[1].depth == pytest.approx(assumed[1].depth, nan_ok=True)


@with_package
def test_only_sky_is_nan(model):
    for image in pictures.drawn():
        raw, sky = raw_of(model, image)
        (depth_map,) = predict(model, pictures.batch_of([image]))
        assert np.array_equal(np.isnan(depth_map.depth), sky >= SKY)
        visible = sky < SKY
        scale = depth_map.depth[visible] / raw[visible]  # unchanged by the package's forward
        assert scale == pytest.approx(scale[0], rel=1e-4)
        assert visible.mean() > 0


@with_package
def test_batch_size_does_not_change_results(model):
    assert isinstance(model, DepthEstimator)
    images = pictures.drawn()
    for depth_map, image in zip(predict(model, pictures.batch_of(images)), images, strict=True):
        (alone,) = predict(model, pictures.batch_of([image]))
        assert np.array_equal(depth_map.depth, alone.depth, equal_nan=True)
    assert predict(model, pictures.batch_of([])) == []


@with_package
def test_missing_tensor_is_named_in_error(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.head.projects.0.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match=r"1 tensors are missing.*projects\.0\.weight"):
        DepthAnything3(tmp_path)


@with_package
def test_config_with_other_classes_is_refused(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    config["config"]["net"]["__object__"] = {"path": "os", "name": "system"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="net must be a DinoV2, got 'system'"):
        DepthAnything3(tmp_path)


@with_package
def test_package_presets_are_loaded_by_name():
    from cascade.models.depth.depth_anything_3 import preset

    assert preset("da3metric-large", "folder")["net"]["name"] == "vitl"
    with pytest.raises(CheckpointError, match="has no model 'da3metric-tiny'"):
        preset("da3metric-tiny", "folder")
