"""Views match a checkpoint's image processor."""

import json

import pictures
import pytest
import torch
import transformers

from cascade.errors import CheckpointError
from cascade.models.huggingface import image_processor
from cascade.models.huggingface.image_processor import ProcessorView

PLAIN = {"mode": "bilinear", "mean": (0.0,) * 3, "std": (1.0,) * 3}


@pytest.mark.parametrize(
    ("resize", "size", "image", "expected"),
    [
        pytest.param("stretch", (30, 40), (100, 200), (30, 40), id="stretched"),
        pytest.param("shortest", (50, 50), (100, 201), (50, 100), id="the longer is cut off"),
        pytest.param("shortest", (50, 50), (200, 100), (100, 50), id="tall"),
        pytest.param("nearest_side", (518, 518), (1080, 1920), (518, 924), id="less is scaled"),
        pytest.param("nearest_side", (518, 518), (100, 200), (252, 518), id="enlarged less"),
        pytest.param("nearest_side", (518, 518), (50, 4000), (14, 518), id="at least a patch"),
    ],
)
def test_resized_sizes(resize, size, image, expected):
    multiple = 14 if resize == "nearest_side" else 1
    view = ProcessorView(size=size, resize=resize, multiple=multiple, **PLAIN)
    assert view.resized_size(*image) == expected


@pytest.mark.parametrize(("half_pixel", "first"), [("down", 3), ("even", 4)])
def test_crop_offset_of_odd_border(half_pixel, first):
    """Of 11 pixels 4 are cut out: 3.5 are left over on either side."""
    image = torch.arange(11, dtype=torch.uint8).view(11, 1, 1).expand(11, 11, 3).numpy()
    view = ProcessorView(
        size=(11, 11), resize="shortest", crop=(4, 4), half_pixel=half_pixel, **PLAIN
    )
    (seen,) = view.view(pictures.batch_of([image.copy()]))
    assert seen[0, :, 0].tolist() == [first, first + 1, first + 2, first + 3]


def test_view_is_computed_once_for_all_members():
    batch = pictures.batch_of(pictures.drawn())
    view = ProcessorView(size=(32, 32), resize="shortest", crop=(28, 28), **PLAIN)
    other = ProcessorView(
        size=(32, 32), resize="shortest", crop=(28, 28), mode="bilinear", mean=(0.5,) * 3, std=(1,)
    )
    assert view.view(batch) is other.view(batch)
    stretched = ProcessorView(size=(32, 32), resize="stretch", **PLAIN)
    assert stretched.view(batch) is batch.view(32, 32)


def test_empty_batch_has_empty_view():
    view = ProcessorView(size=(32, 32), resize="shortest", crop=(28, 30), **PLAIN)
    assert view.view(pictures.batch_of([])).shape == (0, 3, 28, 30)


def test_parameters_are_read_from_checkpoint(tmp_path):
    transformers.BitImageProcessor(
        size={"shortest_edge": 40},
        crop_size={"height": 32, "width": 36},
        image_mean=[0.1, 0.2, 0.3],
        image_std=[0.4, 0.5, 0.6],
        rescale_factor=1 / 128,
    ).save_pretrained(tmp_path)
    assert image_processor.read(tmp_path) == ProcessorView(
        size=(40, 40),
        resize="shortest",
        mode="bicubic",
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        factor=1 / 128,
        crop=(32, 36),
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"resample": 1}, "must resample by 2"),
        ({"do_resize": False}, "got do_resize=False"),
        ({"size": {"max_height": 9, "max_width": 9}}, "must resize to a shortest edge"),
        ({"crop_size": {"height": 64, "width": 64}}, "crop must not exceed its size"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_unsupported_preprocessing_is_refused(tmp_path, changed, words):
    valid = {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}}
    transformers.BitImageProcessor(**valid | changed).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=words):
        image_processor.read(tmp_path)


def test_folder_without_processor_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dinov2"}))
    with pytest.raises(CheckpointError, match="has no image processor"):
        image_processor.read(tmp_path)
