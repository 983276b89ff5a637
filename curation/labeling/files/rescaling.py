"""Reference size of pixel coordinates that a tool drew on a copy of another scale."""

from __future__ import annotations

from typing import Any

from curation.labeling.protocol import Doubt


def reference_size(
    returned_wh: tuple[Any, Any], upright_wh: tuple[int, int], *, name: str
) -> tuple[int, int] | Doubt:
    """Return the width and height by which to divide pixel coordinates.

    Args:
        returned_wh: Width and height as written in the file; None for both if missing.
        upright_wh: Width and height of the upright image, in pixels.
        name: Name of the image, for the doubt.

    Returns:
        The size, or a doubt if the tool worked on an image of another shape: rotated or cropped.
    """
    if returned_wh in ((None, None), upright_wh):
        return upright_wh
    try:
        width, height = float(returned_wh[0]), float(returned_wh[1])
    except (TypeError, ValueError):
        width = height = 0.0
    # Equal aspect ratio within a pixel of rounding: the copy was only scaled.
    if width > 0 and height > 0 and abs(width / upright_wh[0] * upright_wh[1] - height) <= 1.0:
        return int(width), int(height)
    return Doubt(
        name,
        f"The returned size is {returned_wh[0]}x{returned_wh[1]}, the upright image is "
        f"{upright_wh[0]}x{upright_wh[1]}. The tool did not rotate the image upright, or cropped "
        "it.",
    )
