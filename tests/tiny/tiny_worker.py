"""Worker script in plain Python that detects the brightest and the darkest rectangle."""

from __future__ import annotations

import sys
from pathlib import Path

from tiny_case import Case

CLASSES = ("bright", "dark")
SCRIPT = '''
"""Finds the box around the brightest and around the darkest pixels, without any package."""

from worker import Detector, read_ppm, serve


def load():
    print("a careless print while loading")
    return Detector("extremes", "Apache-2.0", ["bright", "dark"], detect)


def detect(paths):
    return [extremes(path) for path in paths]


def extremes(path):
    height, width, rgb = read_ppm(path)
    gray = [(rgb[i] + rgb[i + 1] + rgb[i + 2]) / 765 for i in range(0, len(rgb), 3)]
    least, most = min(gray), max(gray)
    boxes = [
        bounding_box([i for i, value in enumerate(gray) if value >= 0.95 * most], height, width),
        bounding_box([i for i, value in enumerate(gray) if value <= least + 0.05], height, width),
    ]
    return {"boxes_xyxy": boxes, "scores": [most, 1 - least], "labels": ["bright", "dark"]}


def bounding_box(pixels, height, width):
    rows, columns = [i // width for i in pixels], [i % width for i in pixels]
    return [
        min(columns) / width, min(rows) / height,
        (max(columns) + 1) / width, (max(rows) + 1) / height,
    ]


serve(load)
'''


def write(folder: Path) -> Path:
    """Write the worker's script."""
    path = folder / "extremes_worker.py"
    path.write_text(SCRIPT)
    return path


CASES = {
    "worker": Case(
        adapter="worker",
        write=write,
        params={"command": [sys.executable, "{checkpoint}"], "timeout_s": 60.0},
        members=("yolo_master_n", "rt_detr_v3_r50"),
        tolerance=1e-6,
    )
}
