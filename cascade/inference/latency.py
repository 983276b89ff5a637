"""How long an ensemble takes for one image, measured side by side with another."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from cascade.imaging.batches import Image
from cascade.inference.predictor import Predictor


def measure_latency(
    predictors: Mapping[str, Predictor], images: Sequence[Image]
) -> dict[str, dict[str, float]]:
    """Return mean, median and 99th percentile in milliseconds, one image at a time.

    The ensembles take turns on every image, so that a busy machine slows all of them alike.

    Args:
        predictors: The ensembles by name.
        images: Decoded images; the first is also used to warm up, uncounted.
    """
    taken: dict[str, list[float]] = {name: [] for name in predictors}
    for number, image in enumerate([*images[:1], *images]):
        for name, predictor in predictors.items():
            began = time.perf_counter()
            predictor.predict([image])
            _wait_for(predictor.device)
            if number > 0:
                taken[name].append((time.perf_counter() - began) * 1000)
    return {name: _summary(times) for name, times in taken.items()}


def _summary(times: Sequence[float]) -> dict[str, Any]:
    if not times:
        return {"mean": None, "p50": None, "p99": None, "n": 0}
    return {
        "mean": round(float(np.mean(times)), 2),
        "p50": round(float(np.median(times)), 2),
        "p99": round(float(np.percentile(times, 99)), 2),
        "n": len(times),
    }


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
