"""What `bench_engine.py` runs: members of published size, and JPEGs like those of a dash-cam."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
from engine_writers import ENGINE_WRITERS
from pictures import drawn

from cascade import manifest
from cascade.ensemble import Ensemble

logger = logging.getLogger("bench_engine")

HEIGHT, WIDTH = 720, 1280
DISTINCT = 64  # pictures; more files are copies of them
MANIFEST = """
name: engine
members:
  - {{name: dinov3_l, tier: embedding, adapter: dino, license: MIT, precision: bf16,
     source: {folder}/dinov3_l}}
  - {{name: rt_detr_v2_r50, tier: detection, adapter: detr, license: MIT, precision: fp16,
     source: {folder}/rt_detr_v2_r50}}
  - {{name: d_fine_l, tier: detection, adapter: detr, license: MIT, precision: fp16,
     source: {folder}/d_fine_l}}
  - {{name: rf_detr_l, tier: detection, adapter: detr, license: MIT, precision: fp16,
     source: {folder}/rf_detr_l}}
  - {{name: depth_anything_2_l, tier: geometry, adapter: depth_anything_2, license: MIT,
     precision: bf16, source: {folder}/depth_anything_2_l}}
"""


def write_pictures(folder: Path, count: int) -> list[Path]:
    """Write JPEGs of about 250 kB and return their files."""
    folder.mkdir()

    def encode(i: int) -> bytes:
        (one,) = drawn([(HEIGHT, WIDTH)], seed=i)
        soft = cv2.GaussianBlur(one, (3, 3), 0)  # as a lens leaves it
        return cv2.imencode(".jpg", soft, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()

    with ThreadPoolExecutor() as pool:
        encoded = list(pool.map(encode, range(min(DISTINCT, count))))
    paths = [folder / f"{i:05d}.jpg" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(encoded[i % len(encoded)])
    logger.info("JPEGs of %.0f kB", statistics.mean(map(len, encoded)) / 1000)
    return paths


def write_checkpoints(
    folder: Path, names: Iterable[str] = ENGINE_WRITERS, *, tiny: bool = False
) -> None:
    """Write members' weights, where they are not there yet."""
    for name in names:
        if (folder / name / "config.json").exists():
            continue
        (folder / name).mkdir(parents=True, exist_ok=True)
        if tiny:
            _write_tiny(name, folder / name)
        else:
            ENGINE_WRITERS[name](folder / name)
        logger.info("written: %s", name)


def _write_tiny(name: str, folder: Path) -> None:
    import tiny_depth_anything_2
    import tiny_detr
    import tiny_dino

    cases = {
        "dinov3_l": tiny_dino.CASES["dinov3_vit"],
        "rt_detr_v2_r50": tiny_detr.CASES["rt_detr_v2"],
        "d_fine_l": tiny_detr.CASES["d_fine"],
        "rf_detr_l": tiny_detr.CASES["rf_detr"],
        "depth_anything_2_l": tiny_depth_anything_2.CASES["depth_anything_2_metric"],
    }
    cases[name].write(folder)


def ensemble_in(folder: Path) -> Ensemble:
    """Return the ensemble whose weights lie in a folder."""
    return Ensemble.from_manifest(manifest.parse(MANIFEST.format(folder=folder)))
