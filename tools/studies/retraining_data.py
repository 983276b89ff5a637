"""Data of the retraining study: construction_site_safety."""

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
SHARES = {"champion": 0.3, "challenger": 0.6, "control": 0.3}  # shares of the labels


def read_split(root: Path, split: str) -> list[Example]:
    """Return the images of a split; `train` excludes source photographs of other splits."""
    paths = sorted((root / "images" / split).glob("*.jpg"))
    if not paths:
        raise SystemExit(f"No images in {root / 'images' / split}.")
    if split == "train":
        other_photographs = {
            _photograph(p)
            for other in ("valid", "test")
            for p in (root / "images" / other).glob("*")
        }
        paths = [path for path in paths if _photograph(path) not in other_photographs]
    return [Example(path, _truth(root / "labels" / split / f"{path.stem}.txt")) for path in paths]


def drive(path: Path) -> str:
    """Return the name of the photograph without digits, shared by all frames of a video."""
    return re.sub(r"\d+", "#", _photograph(path))


def shares(n: int, seed: int) -> dict[str, tuple[int, ...]]:
    """Return the labeled images of each role; the challenger's include the champion's."""
    order = np.random.default_rng(seed).permutation(n).tolist()
    return {role: tuple(order[: round(share * n)]) for role, share in SHARES.items()}


def to_rows(detections: Detections) -> list[list[float]]:
    """Return corners, score and class number of each box."""
    rows = np.column_stack([detections.boxes_xyxy, detections.scores, detections.class_ids])
    return rows.astype(float).tolist()


def from_rows(rows: list[list[float]]) -> Detections:
    """Return the detections of `to_rows`."""
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
    centers, sides = numbers[:, 1:3], numbers[:, 3:5]
    corners = np.hstack([centers - sides / 2, centers + sides / 2]).clip(0, 1)
    return Detections(
        corners.astype(np.float32),
        np.ones(len(rows), np.float32),
        numbers[:, 0].astype(np.int64),
        CLASSES,
    )
