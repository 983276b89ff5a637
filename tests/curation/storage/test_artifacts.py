"""Masks and depth maps in files."""

import cv2
import numpy as np
import pytest

from cascade.predictions import DepthMap
from curation.errors import StoreError
from curation.storage.artifacts import ArtifactFolder, read_depth


def artifact_folder(folder, fingerprint="f00"):
    return ArtifactFolder(folder, "depth", fingerprint)


def test_metric_depth_round_trips_to_the_centimeter(tmp_path):
    meters = np.array([[0.004, 1.234, 80.0], [np.nan, 700.0, 3.999]], np.float32)
    path, step = artifact_folder(tmp_path).write_depth("s1", DepthMap(meters, "metres"))
    depth = read_depth(path, step, "metres").depth
    assert depth[0] == pytest.approx([0.01, 1.23, 80.0], abs=1e-4)  # at least one step
    assert np.isnan(depth[1, 0])
    assert depth[1, 1:] == pytest.approx([655.35, 4.0], abs=1e-3)  # the last step


def test_relative_depth_uses_all_steps(tmp_path):
    depth = DepthMap(np.array([[0.5, 1.0]], np.float32), "relative")
    path, step = artifact_folder(tmp_path).write_depth("s1", depth)
    assert read_depth(path, step, "relative").depth[0] == pytest.approx([0.5, 1.0], abs=1e-4)
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).max() == 65535


def test_empty_depth_map_stays_empty(tmp_path):
    path, step = artifact_folder(tmp_path).write_depth("s1", DepthMap.empty())
    assert np.isnan(read_depth(path, step, "relative").depth).all()


def test_mask_is_cropped_to_its_extent(tmp_path):
    mask = np.zeros((10, 20), bool)
    mask[2:5, 4:10] = True
    mask[2, 4] = False
    extent = np.array([4 / 20, 2 / 10, 10 / 20, 5 / 10])
    path = artifact_folder(tmp_path).write_mask("s1", 0, mask, extent)
    crop = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert crop.shape == (3, 6)
    assert (crop == np.where(mask[2:5, 4:10], 255, 0)).all()


def test_versions_have_separate_files(tmp_path):
    depth = DepthMap(np.ones((2, 2), np.float32), "metres")
    first, _ = artifact_folder(tmp_path, "a").write_depth("s1", depth)
    second, _ = artifact_folder(tmp_path, "b").write_depth("s1", depth)
    assert first != second
    assert first.is_file()


def test_damaged_depth_map_is_refused(tmp_path):
    path, step = artifact_folder(tmp_path).write_depth("s1", DepthMap.empty())
    path.write_bytes(b"no picture")
    with pytest.raises(StoreError, match="Cannot read the depth map"):
        read_depth(path, step, "metres")


def test_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Cannot write"):
        artifact_folder(tmp_path / "file").write_depth("s1", DepthMap.empty())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
