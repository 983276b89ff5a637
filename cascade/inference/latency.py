"""Latency of ensembles per image, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from cascade.imaging.batches import Image
from cascade.inference.predictor import Predictor


def measure_latency(
    predictors: Mapping[str, Predictor], images: Sequence[Image]
) -> dict[str, dict[str, float | None]]:
    """Return mean, median and 99th percentile in milliseconds, and the number of images.

    The ensembles take turns on every image, so a busy machine slows all of them equally.

    Args:
        predictors: The ensembles by name.
        images: Decoded images; the first one also serves as an uncounted warm-up.
    """
    times_ms: dict[str, list[float]] = {name: [] for name in predictors}
    for number, image in enumerate([*images[:1], *images]):
        for name, predictor in predictors.items():
            start = time.perf_counter()
            predictor.predict([image])
            if predictor.device.type == "cuda":
                torch.cuda.synchronize(predictor.device)
            if number > 0:
                times_ms[name].append((time.perf_counter() - start) * 1000)
    return {name: _summary(times) for name, times in times_ms.items()}


def _summary(times_ms: Sequence[float]) -> dict[str, float | None]:
    if not times_ms:
        return {"mean": None, "p50": None, "p99": None, "n": 0}
    return {
        "mean": round(float(np.mean(times_ms)), 2),
        "p50": round(float(np.median(times_ms)), 2),
        "p99": round(float(np.percentile(times_ms, 99)), 2),
        "n": len(times_ms),
    }
