"""JPEG damage that decoders ignore silently."""

import io
import logging

import cv2
import numpy as np
import pytest
from PIL import Image

from curation.ingest import jpeg_validation, validation
from curation.ingest.records import Problem
from curation.ingest.validation import CheckedImage


def photograph(**options):
    """Return a JPEG of smooth noise: its data is long enough to be cut anywhere."""
    pixels = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(cv2.blur(pixels, (5, 5))).save(out, "JPEG", **options)
    return out.getvalue()


def without_its_middle(data):
    return data[: len(data) // 2] + data[len(data) // 2 + 400 :]


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_jpeg_without_its_middle_is_damaged(tmp_path, options):
    intact, cut = tmp_path / "intact.jpg", tmp_path / "cut.jpg"
    intact.write_bytes(photograph(**options))
    cut.write_bytes(without_its_middle(photograph(**options)))
    with Image.open(cut) as image:
        image.load()  # no complaint
    first, second = validation.check_images([intact, cut])
    assert isinstance(first, CheckedImage)
    assert isinstance(second, Problem)
    assert second.error == "ImageError"
    assert second.message.startswith("is damaged: ")


def test_extra_bytes_before_the_end_are_harmless(tmp_path):
    path = tmp_path / "camera.jpg"
    path.write_bytes(photograph()[:-2] + bytes(16) + b"\xff\xd9")
    assert jpeg_validation.find_damage([path]) == {}


def test_each_damaged_file_is_reported(tmp_path):
    paths = [tmp_path / f"{i} of 120.jpg" for i in range(120)]
    for i, path in enumerate(paths):
        path.write_bytes(without_its_middle(photograph()) if i % 7 == 0 else photograph())
    assert set(jpeg_validation.find_damage(paths)) == set(paths[::7])


def test_no_files_have_no_damage():
    assert jpeg_validation.find_damage([]) == {}


def test_file_that_crashes_decoder_is_damaged_and_others_are_checked(tmp_path):
    """A missing file, which crashes the child, stands in for it."""
    paths = [tmp_path / name for name in ("a.jpg", "gone.jpg", "c.jpg")]
    paths[0].write_bytes(photograph())
    paths[2].write_bytes(without_its_middle(photograph()))
    damage = jpeg_validation.find_damage(paths)
    assert list(damage) == [paths[1], paths[2]]
    assert damage[paths[1]] == "crashes the decoder"


def test_failing_child_is_logged(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(jpeg_validation.sys, "executable", "/bin/false")
    with caplog.at_level(logging.WARNING):
        assert jpeg_validation.find_damage([tmp_path / "a.jpg"]) == {}
    assert "not checked" in caplog.text
