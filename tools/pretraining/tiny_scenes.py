"""Rendered scenes as arrays on disk: one .npy of views and one .npz of boxes per set."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cascade.imaging.batches import Batch
from cascade.predictions import Detections
from curation.demo import CLASSES, DEPLOYMENT, PRETRAIN, Domain, drive_scenes

SIZE = 320
FRAMES = 2  # per drive: consecutive frames are nearly identical
JPEG_QUALITY = 90  # as in the demo dataset
DOMAINS: dict[str, Domain] = {"pretrain": PRETRAIN, "deployment": DEPLOYMENT}


def render(pool: ProcessPoolExecutor, path: Path, domain: str, seed: int, count: int) -> int:
    """Render `count` scenes into `path`.npy and .npz, and return the number of boxes."""
    np.lib.format.open_memmap(
        path.with_suffix(".npy"), mode="w+", dtype=np.uint8, shape=(count, 3, SIZE, SIZE)
    )
    first = range(0, count, FRAMES)
    parts = list(
        pool.map(
            _render_drive,
            [str(path)] * len(first),
            [domain] * len(first),
            [seed] * len(first),
            first,
            chunksize=8,
        )
    )
    boxes = np.concatenate([rows for rows, _, _ in parts])
    np.savez(
        path.with_suffix(".npz"),
        boxes=boxes,
        class_ids=np.concatenate([ids for _, ids, _ in parts]),
        counts=np.concatenate([counts for _, _, counts in parts]),
    )
    return len(boxes)


def load(path: str, device: torch.device) -> tuple[torch.Tensor, list[Detections]]:
    """Return the views, on `device`, and the targets that `render` wrote."""
    views = torch.from_numpy(np.load(Path(path).with_suffix(".npy"))).to(device)
    with np.load(Path(path).with_suffix(".npz")) as stored:
        ends = np.cumsum(stored["counts"])[:-1]
        rows = zip(
            np.split(stored["boxes"], ends), np.split(stored["class_ids"], ends), strict=True
        )
        targets = [
            Detections(boxes, np.ones(len(ids), np.float32), ids, CLASSES) for boxes, ids in rows
        ]
    return views, targets


def _render_drive(
    path: str, domain: str, seed: int, first: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Render the frames of one drive into rows `first…`; return boxes, classes, box counts."""
    torch.set_num_threads(1)
    views = np.load(Path(path).with_suffix(".npy"), mmap_mode="r+")
    boxes, class_ids, counts = [np.zeros((0, 4), np.float32)], list[int](), list[int]()
    frames = min(FRAMES, len(views) - first)
    for i, scene in enumerate(
        drive_scenes(seed, first // FRAMES, domain=DOMAINS[domain], n_frames=frames)
    ):
        image = _through_jpeg(scene.image)
        views[first + i] = Batch(ids=("",), images=(image,)).view(SIZE, SIZE)[0].numpy()
        boxes.append(scene.boxes_xyxy)
        class_ids += [CLASSES.index(label) for label in scene.labels]
        counts.append(len(scene.labels))
    return np.concatenate(boxes), np.array(class_ids, np.int64), np.array(counts, np.int64)


def _through_jpeg(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)
