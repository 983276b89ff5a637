"""In whose pixels a returned file measures: a tool may have worked on a copy of another size."""

from __future__ import annotations

from typing import Any

from curation.labeling.protocol import Doubt


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
