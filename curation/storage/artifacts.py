"""Masks and depth maps as files beside the dataset: too large for the database.

A file is written whole or not at all, under its member's fingerprint, so that a document never
points to what another version of the member said.

    <folder>/<member>-<fingerprint>/<sample id>/<number>.png    one mask, cut to its box
    <folder>/<member>-<fingerprint>/<sample id>.png             one depth map, 16 bit
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

CENTIMETRE = 0.01  # metres of one step of a depth map in metres: 655 m at most
_STEPS = 65535  # of a 16-bit picture; 0 is where nothing is known


@dataclass(frozen=True)
class ArtifactFolder:
    """Where one member's files of a dataset lie.

    Attributes:
        folder: Of the dataset's artifacts.
        member: Its name.
        fingerprint: Of what it says.
    """

    folder: Path
    member: str
    fingerprint: str

    @property
    def place(self) -> Path:
        """The folder of this version of the member."""
        return self.folder / f"{self.member}-{self.fingerprint}"

    def write_mask(
        self, sample: str, number: int, mask: NDArray[np.bool_], extent: FloatArray
    ) -> Path:
        """Write what a mask of shape (H, W) shows within its extent, and return the file.

        Args:
            sample: Its id.
            number: Of the mask in the sample.
            mask: Of the whole image.
            extent: Relative corners `x1, y1, x2, y2`, shape (4,).
        """
        height, width = mask.shape
        x1, y1, x2, y2 = np.rint(extent * [width, height, width, height]).astype(int)
        cut = mask[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]  # one without extent: one pixel
        path = self.place / sample / f"{number}.png"
        _write(path, cut.astype(np.uint8) * 255)
        return path

    def write_depth(self, sample: str, depth: DepthMap) -> tuple[Path, float]:
        """Write a depth map and return the file and the size of its steps.

        A step is a centimetre where the map knows metres; else what spreads the map's range
        over all steps. What lies beyond the last step is kept as the last step.
        """
        known = np.isfinite(depth.depth)
        most = float(depth.depth[known].max()) if known.any() else 1.0
        step = CENTIMETRE if depth.unit == "metres" else max(most, 1e-6) / _STEPS
        steps = np.zeros(depth.depth.shape, np.uint16)
        steps[known] = np.clip(np.rint(depth.depth[known] / step), 1, _STEPS).astype(np.uint16)
        path = self.place / f"{sample}.png"
        _write(path, steps)
        return path, step


def read_depth(path: str | Path, step: float, unit: str) -> DepthMap:
    """Return the depth map that `write_depth` wrote.

    Raises:
        StoreError: The file is gone, or no depth map.
    """
    steps = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if steps is None or steps.dtype != np.uint16 or steps.ndim != 2:
        raise StoreError(
            f"{path} is no depth map any more: it was moved or damaged. "
            "Clear the samples' field, then run `curate predict` again: it fills what is missing."
        )
    depth: FloatArray = np.where(steps == 0, np.nan, steps * np.float32(step)).astype(np.float32)
    return DepthMap(depth=depth, unit="metres" if unit == "metres" else "relative")


def _write(path: Path, pixels: NDArray[np.generic]) -> None:
    done, encoded = cv2.imencode(".png", pixels)
    if not done:
        raise StoreError(f"{path} could not be encoded as PNG.")
    try:
        with atomic_write(path) as draft:
            draft.write_bytes(encoded.tobytes())
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}.") from error
