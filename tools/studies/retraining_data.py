"""The construction sites that `show_retraining.py` learns from, chooses on and is judged by."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from cascade.predictions import Detections
from cascade.training.examples import Example

CLASSES = (
    "Hardhat", "Mask", "NO-Hardhat", "NO-Mask", "NO-Safety Vest", "Person", "Safety Cone",
    "Safety Vest", "machinery", "vehicle",
)  # fmt: skip
SHARES = {"champion": 0.3, "challenger": 0.6, "control": 0.3}  # of the labels


def read_split(root: Path, split: str) -> list[Example]:
    """Return the images of a split; of `train` only those of no other split's photographs."""
    paths = sorted((root / "images" / split).glob("*.jpg"))
    if not paths:
        raise SystemExit(f"There are no images in {root / 'images' / split}.")
    if split == "train":
        held = {
            _photograph(p)
            for other in ("valid", "test")
            for p in (root / "images" / other).glob("*")
        }
        paths = [path for path in paths if _photograph(path) not in held]
    return [Example(path, _truth(root / "labels" / split / f"{path.stem}.txt")) for path in paths]


def drive(path: Path) -> str:
    """Return the photograph's name without its numbers: frames of one video share it."""
    return re.sub(r"\d+", "#", _photograph(path))


def shares(n: int, seed: int) -> dict[str, tuple[int, ...]]:
    """Return the labeled images of each role; those of the champion are among the challenger's."""
    order = np.random.default_rng(seed).permutation(n).tolist()
    return {role: tuple(order[: round(share * n)]) for role, share in SHARES.items()}


def to_rows(found: Detections) -> list[list[float]]:
    """Return corners, score and class number of each box."""
    rows = np.column_stack([found.boxes_xyxy, found.scores, found.class_ids])
    return rows.astype(float).tolist()


def from_rows(rows: list[list[float]]) -> Detections:
    """Return what `to_rows` was given."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64), CLASSES)


def _photograph(path: Path) -> str:
    return path.name.split(".rf.")[0]


def _truth(labels: Path) -> Detections:
    """Return the boxes of a file of YOLO rows `class cx cy w h`."""
    rows = np.array([line.split() for line in labels.read_text().splitlines() if line.strip()])
    if not len(rows):
        return Detections.empty(CLASSES)
    numbers = rows[:, :5].astype(np.float64)
    centres, sides = numbers[:, 1:3], numbers[:, 3:5]
    corners = np.hstack([centres - sides / 2, centres + sides / 2]).clip(0, 1)
    return Detections(
        corners.astype(np.float32),
        np.ones(len(rows), np.float32),
        numbers[:, 0].astype(np.int64),
        CLASSES,
    )
