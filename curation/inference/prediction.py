"""What an ensemble says about some images, and how long it takes; the dataset is not written to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cascade.engine.run import run
from cascade.engine.sinks import MemorySink
from cascade.ensemble import Ensemble
from cascade.errors import ImageError
from cascade.imaging.batches import Image, read
from cascade.inference import decision, latency
from cascade.inference.predictor import Predictor
from cascade.predictions import Detections, Failure
from cascade.runtime.progress import Progress
from cascade.taxonomy import Taxonomy
from cascade.training import fit_state
from cascade.training.fit_key import identity_of

_TIMED_IMAGES = 20


@dataclass(frozen=True)
class ObjectPredictions:
    """An ensemble's own objects in some images.

    Attributes:
        found: One value an image, in their order; empty where the image cannot be read.
        unreadable: Why images cannot be read, by id.
    """

    found: Sequence[Detections]
    unreadable: Mapping[str, str]


def predict_rows(
    ensemble: Ensemble,
    names: Sequence[str],
    ids: Sequence[str],
    paths: Sequence[str],
    device: torch.device,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Return what some members say about some images, in their own words."""
    memory = MemorySink()
    _run(ensemble, names, ids, paths, memory, device, progress)
    return [memory.results[one] for one in ids]


def predict_objects(
    ensemble: Ensemble,
    ids: Sequence[str],
    paths: Sequence[str],
    sizes_px: NDArray[np.int64],
    device: torch.device,
    progress: Progress | None = None,
) -> ObjectPredictions:
    """Return what the detectors find together; memory holds the fused boxes only.

    Args:
        ensemble: Whose detectors are asked.
        ids: Of n images.
        paths: Their files.
        sizes_px: Height and width of each, shape (n, 2).
        device: Where.
        progress: Told after every batch.
    """
    sink = _Fused(ensemble, dict(zip(ids, sizes_px, strict=True)))
    _run(ensemble, ensemble.detectors, ids, paths, sink, device, progress)
    return ObjectPredictions([sink.found[one] for one in ids], sink.unreadable)


def cached_objects(
    kept: Path,
    ensemble: Ensemble,
    ids: Sequence[str],
    paths: Sequence[str],
    sizes_px: NDArray[np.int64],
    device: torch.device,
    progress: Progress | None = None,
) -> ObjectPredictions:
    """Return `objects`, from the file `kept` where the same was asked before, and keep it there."""
    identity = identity_of((ensemble.identity, list(ids), list(paths)), {})
    known = fit_state.load(kept, identity=identity)
    if known:
        return _unpacked(known, ensemble.taxonomy)
    said = predict_objects(ensemble, ids, paths, sizes_px, device, progress)
    record = {"identity": identity, "unreadable": dict(said.unreadable)}
    fit_state.save(kept, record, _packed(said.found))
    return said


def measure_latency(
    ensembles: Mapping[str, Ensemble], paths: Sequence[str], device: torch.device
) -> dict[str, dict[str, float]]:
    """Return the milliseconds of each ensemble for one image, on the first that can be read."""
    images = list(islice(_readable(paths), _TIMED_IMAGES))
    predictors = {name: Predictor(one, device) for name, one in ensembles.items()}
    return latency.measure_latency(predictors, images)


def _run(
    ensemble: Ensemble,
    names: Sequence[str],
    ids: Sequence[str],
    paths: Sequence[str],
    sink: Any,
    device: torch.device,
    progress: Progress | None,
) -> None:
    models = {name: ensemble.build(name, device) for name in names}
    members = {name: ensemble.manifest.member(name) for name in names}
    run(models, members, ids, paths, sink, device=device, progress=progress)


@dataclass
class _Fused:
    """A sink that fuses what the members say, and keeps that alone."""

    ensemble: Ensemble
    sizes_px: Mapping[str, NDArray[np.int64]]
    found: dict[str, Detections] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        sizes = np.array([self.sizes_px[one] for one in results], np.int64)
        votes = decision.collect_votes(list(results.values()), self.ensemble)
        clusters, _ = decision.fuse_and_decide(votes, self.ensemble, sizes)
        self.found |= zip(results, decision.fused_detections(clusters), strict=True)
        for one, row in results.items():
            for said in row.values():
                if isinstance(said, Failure) and said.error == ImageError.__name__:
                    self.unreadable[one] = said.message


def _packed(found: Sequence[Detections]) -> dict[str, torch.Tensor]:
    none = Detections.empty(())  # of no image at all, the types still hold
    columns = {
        name: np.concatenate([getattr(one, name) for one in (none, *found)])
        for name in ("boxes_xyxy", "scores", "class_ids")
    }
    columns["counts"] = np.array([len(one) for one in found], np.int64)
    return {name: torch.from_numpy(one) for name, one in columns.items()}


def _unpacked(known: fit_state.Standing, taxonomy: Taxonomy) -> ObjectPredictions:
    columns = {name: one.numpy() for name, one in known.tensors.items()}
    counts = columns.pop("counts")
    ends = np.cumsum(counts)
    found = [
        Detections(**{name: one[a:b] for name, one in columns.items()}, classes=taxonomy.names)
        for a, b in zip(ends - counts, ends, strict=True)
    ]
    return ObjectPredictions(found, known.record["unreadable"])


def _readable(paths: Sequence[str]) -> Iterator[Image]:
    """Give the images that can be read; the others are failures in the evaluation."""
    for path in paths:
        with suppress(ImageError):
            yield read(path)
