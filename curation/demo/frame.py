"""Drawing of objects from far to near, and their visible boxes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from curation.demo.camera import FOCAL_PX, HEIGHT_M, Camera
from curation.demo.catalogue import KINDS
from curation.demo.conditions import Conditions
from curation.demo.domain import Color
from curation.demo.pen import Patch, Pen
from curation.demo.scene import HEIGHT, WIDTH
from curation.demo.thing import Thing

MIN_SIDE_PX = 5.0  # square root of the area: smaller boxes are not labeled
MIN_CONTRAST = 4.0  # mean gray levels from the background; below, not labeled
NOISE_HIDES = 0.6  # additional contrast required per gray level of sensor noise
MIN_VISIBLE = 0.25  # visible share of an object's pixels; below, not labeled

_NEAREST_M, _FARTHEST_M = 4.2, 95.0
_OPAQUE = 127
_UNOCCLUDED = 0.97

Image = NDArray[np.uint8]
Glow = tuple[float, float, float, Color]  # u, v, radius in pixels, color


@dataclass(frozen=True, eq=False)
class Drawn:
    """An object in the frame.

    Attributes:
        thing: The object.
        outline_px: Corners of the outline in pixels; may extend beyond the image.
        opaque: Number of pixels, including hidden ones and those outside the image.
        contrast: Mean difference from the background in gray levels, before the lens.
    """

    thing: Thing
    outline_px: tuple[float, float, float, float]
    opaque: int
    contrast: float


@dataclass
class Frame:
    """An image in progress.

    Attributes:
        image: RGB, uint8, shape (HEIGHT, WIDTH, 3).
        owner: Index in `drawn` plus one of each pixel's object, 0 for the background.
        drawn: The drawn objects, in the order of `owner`.
        glows: Lamps with a visible glow.
    """

    image: Image
    owner: NDArray[np.int16] = field(default_factory=lambda: np.zeros((HEIGHT, WIDTH), np.int16))
    drawn: list[Drawn] = field(default_factory=list)
    glows: list[Glow] = field(default_factory=list)


def populate(
    image: Image, things: tuple[Thing, ...], camera: Camera, conditions: Conditions, at_m: float,
    time_s: float,
) -> Frame:  # fmt: skip
    """Draw all objects ahead of the position `at_m` along the road."""
    frame = Frame(image)
    ahead = [(thing.z + thing.speed * time_s - at_m, thing) for thing in things]
    for depth, thing in sorted(ahead, key=lambda pair: -pair[0]):
        if depth < _NEAREST_M < depth + thing.length - 0.5:  # its side is still next to the camera
            thing = replace(thing, length=depth + thing.length - _NEAREST_M)
            depth = _NEAREST_M
        if _NEAREST_M <= depth < _FARTHEST_M:
            _place(frame, thing, depth, camera, conditions)
    return frame


def boxes(frame: Frame, noise: float) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the relative corners, shape (N, 4), and labels of sufficiently visible objects.

    `noise` is the standard deviation of the sensor noise in gray levels.
    """
    min_contrast = MIN_CONTRAST + NOISE_HIDES * noise
    corners_px: list[tuple[float, float, float, float]] = []
    labels: list[str] = []
    for number, drawn in enumerate(frame.drawn, start=1):
        label = KINDS[drawn.thing.kind].label
        if label and drawn.contrast >= min_contrast:
            box = _visible_box(frame.owner, number, drawn)
            if box:
                corners_px.append(box)
                labels.append(label)
    corners: NDArray[np.float32] = np.array(corners_px, np.float32).reshape(-1, 4)
    corners[:, 0::2] /= WIDTH
    corners[:, 1::2] /= HEIGHT
    return corners, tuple(labels)


def _visible_box(
    owner: NDArray[np.int16], number: int, drawn: Drawn
) -> tuple[float, float, float, float] | None:
    """Return the corners in pixels of the visible part, or None where it is too small."""
    x0, y0, x1, y1 = drawn.outline_px
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, WIDTH), min(y1, HEIGHT)
    left, top = int(x0), int(y0)
    visible = owner[top : int(np.ceil(y1)), left : int(np.ceil(x1))] == number
    count = int(np.count_nonzero(visible))
    if count < MIN_VISIBLE * drawn.opaque or not count:
        return None
    if count < _UNOCCLUDED * drawn.opaque:
        u, v, w, h = cv2.boundingRect(visible.view(np.uint8))
        x0, y0 = max(x0, left + u), max(y0, top + v)
        x1, y1 = min(x1, left + u + w), min(y1, top + v + h)
    if (x1 - x0) * (y1 - y0) < MIN_SIDE_PX**2:
        return None
    return x0, y0, x1, y1


def _place(
    frame: Frame, thing: Thing, depth: float, camera: Camera, conditions: Conditions
) -> None:
    kind = KINDS[thing.kind]
    lateral = thing.x + camera.bend * depth * depth
    extent = _extent(thing, depth, lateral, kind.overhang_m)
    foot = camera.project(thing.x, thing.base, depth)
    scale = FOCAL_PX / depth
    if foot[0] + extent[1] * scale < 0 or foot[0] + extent[0] * scale > WIDTH:
        return
    pen = Pen(
        foot_px=foot,
        depth_m=depth,
        lateral_m=lateral,
        extent_m=extent,
        base_m=thing.base,
        conditions=conditions,
        grain=thing.dna[5],
        clipped=kind.label is None,  # unlabeled: the outline is not used
    )
    kind.draw(pen, thing)
    patch = pen.patch()
    if kind.shadow:
        _shade_ground(frame.image, thing, depth, camera, conditions)
    if conditions.wet and thing.base == 0 and thing.kind not in ("tree", "building"):
        _mirror(frame.image, patch, foot[1], conditions.wet)
    contrast = _lay_over(frame, patch, len(frame.drawn) + 1)
    opaque = int(np.count_nonzero(patch.alpha > _OPAQUE))
    frame.drawn.append(Drawn(thing, patch.box_xyxy_px, opaque, contrast))
    frame.glows += pen.lights


def _extent(
    thing: Thing, depth: float, lateral: float, overhang: float
) -> tuple[float, float, float, float]:
    """Return the extents of the near and the far face: left, right, bottom, top in meters."""
    half, low, high = thing.width / 2, 0.0, thing.height
    left, right = -half, half
    if thing.length:
        near = depth / (depth + thing.length)
        left = min(left, -lateral + (-half + lateral) * near)
        right = max(right, -lateral + (half + lateral) * near)
        high = max(high, HEIGHT_M + (high - HEIGHT_M) * near)
    return left - overhang, right + overhang, low - 0.05, high + overhang


def _lay_over(frame: Frame, patch: Patch, number: int) -> float:
    """Blend the patch into the image, and return its contrast to the background."""
    window = _window(patch.left, patch.top, patch.alpha.shape)
    if window is None:
        return 0.0
    image_region, patch_region = window
    alpha = patch.alpha[patch_region]
    under = cv2.merge([255 - alpha] * 3)
    spot = frame.image[image_region]
    blended = cv2.add(cv2.multiply(spot, under, scale=1 / 255), patch.rgb[patch_region])
    solid = alpha > _OPAQUE
    contrast = sum(cv2.mean(cv2.absdiff(spot, blended), solid.view(np.uint8))[:3]) / 3
    spot[:] = blended
    frame.owner[image_region][solid] = number
    return contrast


def _mirror(image: Image, patch: Patch, foot_v: float, wet: float) -> None:
    """Blend a faint mirror image below the patch, as on a wet road."""
    tall = patch.alpha.shape[0]
    top = round(2 * foot_v - (patch.top + tall))
    window = _window(patch.left, top, patch.alpha.shape)
    if window is None:
        return
    image_region, patch_region = window
    rgb = cv2.blur(patch.rgb[::-1][patch_region], (1, 9))
    alpha = cv2.blur(np.ascontiguousarray(patch.alpha[::-1][patch_region]), (1, 9))
    spot = image[image_region]
    weight = wet * 0.62
    under = cv2.merge([cv2.convertScaleAbs(alpha, alpha=-weight, beta=255)] * 3)
    glint = cv2.convertScaleAbs(rgb, alpha=weight)
    spot[:] = cv2.add(cv2.multiply(spot, under, scale=1 / 255), glint.reshape(spot.shape))


def _shade_ground(
    image: Image, thing: Thing, depth: float, camera: Camera, conditions: Conditions
) -> None:
    """Darken the road under an object, and draw its shadow in sunshine."""
    half, deep = thing.width / 2, max(thing.length, thing.width * 0.5)
    outline = [(-half, -0.08), (half, -0.08), (half, deep), (-half, deep)]
    if conditions.sunny:
        dx, dz = -conditions.sun * 1.5 * thing.height, 0.5 * thing.height
        top = half * 0.6
        outline = [(-half, 0), (half, 0), (half, deep * 0.5), (top + dx, deep * 0.5 + dz),
                   (-top + dx, deep * 0.5 + dz), (-half, deep * 0.5)]  # fmt: skip
    points = camera.ground(np.array([(thing.x + x, depth + z) for x, z in outline]))
    left, top_px = np.floor(points.min(axis=0)).astype(int) - 2
    right, bottom = np.ceil(points.max(axis=0)).astype(int) + 2
    window = _window(int(left), int(top_px), (int(bottom - top_px), int(right - left)))
    if window is None:
        return
    image_region, _ = window
    spot = image[image_region]
    mask = np.full(spot.shape[:2], 255, np.uint8)
    origin = np.array([image_region[1].start, image_region[0].start])
    hull = cv2.convexHull(((points - origin) * 16).round().astype(np.int32))
    strength = 0.55 if conditions.sunny else 0.3
    keep = 255 * (1 - strength * conditions.clearness(depth))
    cv2.fillConvexPoly(mask, hull, keep, cv2.LINE_AA, 4)
    mask = cv2.blur(mask, (3, 3))
    spot[:] = cv2.multiply(spot, cv2.merge([mask] * 3), scale=1 / 255)


def _window(
    left: int, top: int, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Return the region of the image that a patch covers, and the matching part of the patch."""
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + shape[1], WIDTH), min(top + shape[0], HEIGHT)
    if x0 >= x1 or y0 >= y1:
        return None
    here = slice(y0, y1), slice(x0, x1)
    return here, (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
