"""Damage that decoders pass over in silence."""

import io
import logging

import cv2
import numpy as np
import pytest
from PIL import Image

from curation.ingest import jpeg_validation, validation
from curation.ingest.records import Problem
from curation.ingest.validation import Checked


def photograph(**options):
    """Return a JPEG of smooth noise: its data is long enough to be cut anywhere."""
    pixels = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(cv2.blur(pixels, (5, 5))).save(out, "JPEG", **options)
    return out.getvalue()


def without_its_middle(data):
    return data[: len(data) // 2] + data[len(data) // 2 + 400 :]


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_jpeg_without_its_middle(tmp_path, options):
    whole, cut = tmp_path / "whole.jpg", tmp_path / "cut.jpg"
    whole.write_bytes(photograph(**options))
    cut.write_bytes(without_its_middle(photograph(**options)))
    with Image.open(cut) as image:
        image.load()  # no complaint
    first, second = validation.check_all([whole, cut])
    assert isinstance(first, Checked)
    assert isinstance(second, Problem)
    assert second.error == "ImageError"
    assert second.message.startswith("is damaged: ")


def test_bytes_too_many_before_the_end_do_no_harm(tmp_path):
    path = tmp_path / "camera.jpg"
    path.write_bytes(photograph()[:-2] + bytes(16) + b"\xff\xd9")
    assert jpeg_validation.damaged([path]) == {}


def test_every_file_gets_its_own_words(tmp_path):
    paths = [tmp_path / f"{i} of 120.jpg" for i in range(120)]
    for i, path in enumerate(paths):
        path.write_bytes(without_its_middle(photograph()) if i % 7 == 0 else photograph())
    assert set(jpeg_validation.damaged(paths)) == set(paths[::7])


def test_no_file_at_all():
    assert jpeg_validation.damaged([]) == {}


def test_a_file_that_ends_the_decoder_is_damaged_and_the_others_are_looked_at(tmp_path):
    """Here it is one that is gone; what counts is that the child does not survive it."""
    paths = [tmp_path / name for name in ("a.jpg", "gone.jpg", "c.jpg")]
    paths[0].write_bytes(photograph())
    paths[2].write_bytes(without_its_middle(photograph()))
    found = jpeg_validation.damaged(paths)
    assert list(found) == [paths[1], paths[2]]
    assert found[paths[1]] == "ends the decoder"


def test_a_child_that_cannot_work_is_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(jpeg_validation.sys, "executable", "/bin/false")
    with caplog.at_level(logging.WARNING):
        assert jpeg_validation.damaged([tmp_path / "a.jpg"]) == {}
    assert "not checked" in caplog.text
