"""Predictions of an ensemble for image files, and their latency; writes nothing to a dataset."""

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

_LATENCY_IMAGES = 20


@dataclass(frozen=True)
class ObjectPredictions:
    """Fused objects of the detectors in some images.

    Attributes:
        detections: Objects of each image, in order; empty for an unreadable image.
        unreadable: Error messages of unreadable images, by id.
    """

    detections: Sequence[Detections]
    unreadable: Mapping[str, str]


def predict_rows(
    ensemble: Ensemble,
    members: Sequence[str],
    ids: Sequence[str],
    paths: Sequence[str],
    device: torch.device,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Return the predictions of members for each image, with the members' own labels."""
    sink = MemorySink()
    _run(ensemble, members, ids, paths, sink, device, progress)
    return [sink.results[image_id] for image_id in ids]


def predict_objects(
    ensemble: Ensemble,
    ids: Sequence[str],
    paths: Sequence[str],
    sizes_px: NDArray[np.int64],
    device: torch.device,
    progress: Progress | None = None,
    *,
    cache: Path | None = None,
) -> ObjectPredictions:
    """Return the fused objects of the detectors; only the fused boxes stay in memory.

    Args:
        ensemble: Ensemble of the detectors.
        ids: Ids of the n images.
        paths: Files of the images.
        sizes_px: Height and width of each image, shape (n, 2).
        device: Device of the models.
        progress: Called after every batch.
        cache: File for the result; it is read if it has the same ensemble and images.
    """
    identity = identity_of((ensemble.identity, list(ids), list(paths)), {}) if cache else ""
    if cache and (state := fit_state.load(cache, identity=identity)):
        return _unpack(state, ensemble.taxonomy)
    sink = _FusingSink(ensemble, dict(zip(ids, sizes_px, strict=True)))
    _run(ensemble, ensemble.detectors, ids, paths, sink, device, progress)
    detections = [sink.objects[image_id] for image_id in ids]
    if cache:
        record = {"identity": identity, "unreadable": sink.unreadable}
        fit_state.save(cache, record, _pack(detections))
    return ObjectPredictions(detections, sink.unreadable)


def measure_latency(
    ensembles: Mapping[str, Ensemble], paths: Sequence[str], device: torch.device
) -> dict[str, dict[str, float | None]]:
    """Return the latency of each ensemble in milliseconds per image, on some readable images."""
    images = list(islice(_readable(paths), _LATENCY_IMAGES))
    predictors = {name: Predictor(ensemble, device) for name, ensemble in ensembles.items()}
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
class _FusingSink:
    """Sink that fuses the members' predictions of each batch."""

    ensemble: Ensemble
    sizes_px: Mapping[str, NDArray[np.int64]]
    objects: dict[str, Detections] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        sizes = np.array([self.sizes_px[image_id] for image_id in results], np.int64)
        votes = decision.collect_votes(list(results.values()), self.ensemble)
        clusters, _ = decision.fuse_and_decide(votes, self.ensemble, sizes)
        self.objects |= zip(results, decision.fused_detections(clusters), strict=True)
        for image_id, row in results.items():
            for result in row.values():
                if isinstance(result, Failure) and result.error == ImageError.__name__:
                    self.unreadable[image_id] = result.message


def _pack(detections: Sequence[Detections]) -> dict[str, torch.Tensor]:
    empty = Detections.empty(())  # keeps the data types without any image
    columns = {
        name: np.concatenate([getattr(boxes, name) for boxes in (empty, *detections)])
        for name in ("boxes_xyxy", "scores", "class_ids")
    }
    columns["counts"] = np.array([len(boxes) for boxes in detections], np.int64)
    return {name: torch.from_numpy(column) for name, column in columns.items()}


def _unpack(state: fit_state.FitState, taxonomy: Taxonomy) -> ObjectPredictions:
    columns = {name: tensor.numpy() for name, tensor in state.tensors.items()}
    counts = columns.pop("counts")
    ends = np.cumsum(counts)
    detections = [
        Detections(
            **{name: column[start:end] for name, column in columns.items()},
            classes=taxonomy.names,
        )
        for start, end in zip(ends - counts, ends, strict=True)
    ]
    return ObjectPredictions(detections, state.record["unreadable"])


def _readable(paths: Sequence[str]) -> Iterator[Image]:
    """Yield the readable images; others count as failures in the evaluation."""
    for path in paths:
        with suppress(ImageError):
            yield read(path)
