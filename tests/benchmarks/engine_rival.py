"""FiftyOne's own way over the same members and images."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from engine_run import Bench
from engine_sinks import MOST_BOXES

logger = logging.getLogger("bench_engine")


def measure_rival(bench: Bench, folder: Path, count: int) -> None:
    """Run FiftyOne's own way: one member after another."""
    import fiftyone as fo

    def best_only(post: Callable[..., Any]) -> Callable[..., Any]:
        def capped_post(*given: Any, **named: Any) -> Any:
            return [
                {key: one[key][:MOST_BOXES] for key in one} if len(one["scores"]) else one
                for one in post(*given, **named)
            ]

        return capped_post

    for kind in (transformers.RTDetrImageProcessor, transformers.RfDetrImageProcessor):
        if "post_process_object_detection" in vars(kind):
            kind.post_process_object_detection = best_only(kind.post_process_object_detection)
    dataset = fo.Dataset("rival")
    dataset.add_samples(
        [fo.Sample(filepath=str(one)) for one in bench.paths[:count]], progress=False
    )
    autos = {
        "embedding": transformers.AutoModel,
        "detection": transformers.AutoModelForObjectDetection,
        "geometry": transformers.AutoModelForDepthEstimation,
    }
    rates = {}
    for one in bench.ensemble.manifest.members:
        model = autos[one.tier].from_pretrained(folder / one.name, dtype=torch.float32)
        began = time.perf_counter()
        how = {"batch_size": 32, "num_workers": 12, "progress": False}
        if bench.device.type != "cuda":
            how |= {"batch_size": 4, "num_workers": 0}
        if one.tier == "embedding":
            dataset.compute_embeddings(model, embeddings_field=one.name, **how)
        else:
            dataset.apply_model(model, label_field=one.name, **how)
        rates[one.name] = count / (time.perf_counter() - began)
        logger.info("FiftyOne, %s: %.1f images/s", one.name, rates[one.name])
        bench.report["rival_images_s"] = rates
        bench.save()
    first = dataset.first()
    bench.report["rival_boxes_an_image"] = {
        name: statistics.mean(map(len, dataset.values(f"{name}.detections.label")))
        for name in bench.ensemble.detectors
        if first[name] is not None
    }
