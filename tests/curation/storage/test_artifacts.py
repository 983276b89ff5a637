"""Masks and depth maps as files: exact, whole, and never another version's."""

import cv2
import numpy as np
import pytest

from cascade.predictions import DepthMap
from curation.errors import StoreError
from curation.storage.artifacts import ArtifactFolder, read_depth


def shelf(folder, fingerprint="f00"):
    return ArtifactFolder(folder, "depth", fingerprint)


def test_metres_come_back_to_the_centimetre(tmp_path):
    metres = np.array([[0.004, 1.234, 80.0], [np.nan, 700.0, 3.999]], np.float32)
    path, step = shelf(tmp_path).write_depth("s1", DepthMap(metres, "metres"))
    back = read_depth(path, step, "metres").depth
    assert back[0] == pytest.approx([0.01, 1.23, 80.0], abs=1e-4)  # never nothing, if known
    assert np.isnan(back[1, 0])
    assert back[1, 1:] == pytest.approx([655.35, 4.0], abs=1e-3)  # the last step


def test_what_is_relative_uses_all_steps(tmp_path):
    depth = DepthMap(np.array([[0.5, 1.0]], np.float32), "relative")
    path, step = shelf(tmp_path).write_depth("s1", depth)
    assert read_depth(path, step, "relative").depth[0] == pytest.approx([0.5, 1.0], abs=1e-4)
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).max() == 65535


def test_a_map_without_a_known_pixel_stays_empty(tmp_path):
    path, step = shelf(tmp_path).write_depth("s1", DepthMap.empty())
    assert np.isnan(read_depth(path, step, "relative").depth).all()


def test_a_mask_is_cut_to_its_extent(tmp_path):
    mask = np.zeros((10, 20), bool)
    mask[2:5, 4:10] = True
    mask[2, 4] = False
    extent = np.array([4 / 20, 2 / 10, 10 / 20, 5 / 10])
    path = shelf(tmp_path).write_mask("s1", 0, mask, extent)
    kept = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert kept.shape == (3, 6)
    assert (kept == np.where(mask[2:5, 4:10], 255, 0)).all()


def test_versions_do_not_overwrite_each_other(tmp_path):
    one = DepthMap(np.ones((2, 2), np.float32), "metres")
    first, _ = shelf(tmp_path, "a").write_depth("s1", one)
    second, _ = shelf(tmp_path, "b").write_depth("s1", one)
    assert first != second
    assert first.is_file()


def test_a_damaged_map_is_named(tmp_path):
    path, step = shelf(tmp_path).write_depth("s1", DepthMap.empty())
    path.write_bytes(b"no picture")
    with pytest.raises(StoreError, match="is no depth map any more"):
        read_depth(path, step, "metres")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        shelf(tmp_path / "file").write_depth("s1", DepthMap.empty())
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
