"""Masks and depth maps in files next to the dataset, because they are too large for MongoDB.

Each file is replaced atomically. Its folder names the fingerprint of the member, so a document
never refers to a file of another version of the member.

    <folder>/<member>-<fingerprint>/<sample id>/<number>.png    a mask, cropped to its box
    <folder>/<member>-<fingerprint>/<sample id>.png             a depth map, 16 bit
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from cascade.predictions import DepthMap
from cascade.runtime.atomic_files import atomic_write
from curation.errors import StoreError

METRIC_STEP_M = 0.01  # one step of a metric depth map; the range is 655 m
_MAX_STEP = 65535  # of a 16-bit image; 0 means unknown


@dataclass(frozen=True)
class ArtifactFolder:
    """Files of one version of a member for one dataset.

    Attributes:
        folder: Artifact folder of the dataset.
        member: Name of the member.
        fingerprint: Fingerprint of the member.
    """

    folder: Path
    member: str
    fingerprint: str

    @property
    def path(self) -> Path:
        """The folder of this version of the member."""
        return self.folder / f"{self.member}-{self.fingerprint}"

    def write_mask(
        self, sample_id: str, number: int, mask: NDArray[np.bool_], extent: FloatArray
    ) -> Path:
        """Write the part of a mask inside its extent, and return the file.

        Args:
            sample_id: ID of the sample.
            number: Index of the mask in the sample.
            mask: Mask of the full image, shape (H, W).
            extent: Relative corners `x1, y1, x2, y2`, shape (4,).
        """
        height, width = mask.shape
        x1, y1, x2, y2 = np.rint(extent * [width, height, width, height]).astype(int)
        crop = mask[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]  # at least one pixel
        path = self.path / sample_id / f"{number}.png"
        _write_png(path, crop.astype(np.uint8) * 255)
        return path

    def write_depth(self, sample_id: str, depth: DepthMap) -> tuple[Path, float]:
        """Write a depth map, and return the file and the depth of one step.

        A step is a centimeter for metric maps; for relative maps, it spreads the range of the
        map over all steps. Larger depths are clipped to the last step.
        """
        finite = np.isfinite(depth.depth)
        farthest = float(depth.depth[finite].max()) if finite.any() else 1.0
        step = METRIC_STEP_M if depth.unit == "metres" else max(farthest, 1e-6) / _MAX_STEP
        steps = np.zeros(depth.depth.shape, np.uint16)
        steps[finite] = np.clip(np.rint(depth.depth[finite] / step), 1, _MAX_STEP).astype(np.uint16)
        path = self.path / f"{sample_id}.png"
        _write_png(path, steps)
        return path, step


def read_depth(path: str | Path, step: float, unit: str) -> DepthMap:
    """Return the depth map that `write_depth` wrote.

    Raises:
        StoreError: The file is missing or is not a depth map.
    """
    steps = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if steps is None or steps.dtype != np.uint16 or steps.ndim != 2:
        raise StoreError(
            f"Cannot read the depth map {path}: the file was moved or damaged. "
            "Clear the field of the samples, then run `curate predict` to write it again."
        )
    depth: FloatArray = np.where(steps == 0, np.nan, steps * np.float32(step)).astype(np.float32)
    return DepthMap(depth=depth, unit="metres" if unit == "metres" else "relative")


def _write_png(path: Path, pixels: NDArray[np.generic]) -> None:
    success, encoded = cv2.imencode(".png", pixels)
    if not success:
        raise StoreError(f"Cannot encode {path} as PNG.")
    try:
        with atomic_write(path) as draft:
            draft.write_bytes(encoded.tobytes())
    except OSError as error:
        raise StoreError(f"Cannot write {path}: {error.strerror}.") from error
