"""Pixels of a returned file: a tool may have worked on a copy of another size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from curation.labeling.protocol import Doubt
from curation.labeling.submissions import Box
from curation.storage import conversions


def base_name(written: str) -> str:
    """Return a file's name without the folders that a tool put before it."""
    return PurePosixPath(written.replace("\\", "/")).name


def measured_in(
    returned_wh: tuple[Any, Any], upright_wh: tuple[int, int], *, name: str
) -> tuple[int, int] | Doubt:
    """Return the width and height to divide pixels by.

    Args:
        returned_wh: As the file says; None for both where it does not.
        upright_wh: Of the upright image, in pixels.
        name: The image, for the doubt.

    Returns:
        A doubt where the tool worked on an image of another shape: turned, or cut.
    """
    if returned_wh in ((None, None), upright_wh):
        return upright_wh
    try:
        across, down = float(returned_wh[0]), float(returned_wh[1])
    except (TypeError, ValueError):
        across = down = 0.0
    # Within a pixel, for rounding: then the copy was only made larger or smaller.
    if across > 0 and down > 0 and abs(across / upright_wh[0] * upright_wh[1] - down) <= 1.0:
        return int(across), int(down)
    return Doubt(
        what=name,
        reason=f"It came back as {returned_wh[0]}x{returned_wh[1]}, the upright image is "
        f"{upright_wh[0]}x{upright_wh[1]}. The tool did not turn it upright, or cut it.",
    )


def box_in(size_wh: tuple[int, int], label: str, annotation: Mapping[str, Any]) -> Box | Doubt:
    """Return the box that an annotation's `bbox` says: `[x, y, width, height]` in pixels.

    Args:
        size_wh: Width and height to divide by.
        label: What it is called.
        annotation: As the file has it.
    """
    try:
        pixels = np.array([float(side) for side in annotation["bbox"]]).reshape(1, 4)
    except (KeyError, TypeError, ValueError):
        return Doubt(what=label, reason=f"bbox must be four numbers: {annotation.get('bbox')!r}.")
    relative = conversions.from_pixels(pixels, (size_wh[1], size_wh[0]))
    return Box(label, *conversions.xywh_to_xyxy(relative)[0].tolist())
