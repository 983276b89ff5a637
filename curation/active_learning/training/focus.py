"""Training examples that focus on the failures of an ensemble."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from cascade.arrays import BoolArray
from cascade.ensemble import Ensemble
from cascade.predictions import Detections
from cascade.training import hard_negatives, sample_weights
from cascade.training.examples import Example
from curation.active_learning.evaluation import slices
from curation.active_learning.evaluation.frozen_set import frozen_set
from curation.inference import prediction
from curation.storage import collection, queries, reader, schema

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

logger = logging.getLogger(__name__)


def focus_examples(
    dataset: Dataset, ensemble: Ensemble, labeled: list[Example], device: torch.device
) -> tuple[list[Example], list[float]]:
    """Return the examples plus windows around hard negatives, and the sampling weight of each.

    Args:
        dataset: A FiftyOne dataset.
        ensemble: The ensemble whose failures on validation set the weights.
        labeled: The labeled training images, in the order of the dataset.
        device: Device of the ensemble's models.
    """
    frozen = frozen_set(dataset, "val", ensemble.taxonomy)
    predictions = prediction.predict_objects(
        ensemble, frozen.ids, frozen.paths, frozen.sizes_px, device
    ).detections
    threshold = float(ensemble.calibration.threshold)
    view = queries.labeled(dataset, "train")
    targets = [example.target for example in labeled]
    train_slices, val_slices = _slices(view, targets), dict(frozen.slices)
    shared = [name for name in train_slices if name in val_slices]
    weights = sample_weights.image_weights(
        targets,
        sample_weights.count_by_class(predictions, frozen.truths, min_score=threshold),
        slices=[[name for name in shared if train_slices[name][i]] for i in range(len(labeled))],
        of_slice=sample_weights.count_by_slice(
            predictions, frozen.truths, {name: val_slices[name] for name in shared},
            min_score=threshold,
        ),
    )  # fmt: skip
    ids, paths = collection.ids_and_paths(view)
    objects = prediction.predict_objects(
        ensemble, ids, paths, reader.sizes_px(view), device
    ).detections
    negatives = hard_negatives.find_hard_negatives(objects, targets)
    windows = hard_negatives.hard_negative_examples(labeled, negatives)
    logger.info("Training adds %d windows around %d hard negatives.", len(windows), len(negatives))
    return [*labeled, *windows], [*weights.tolist(), *[1.0] * len(windows)]


def _slices(view: DatasetView, truths: Sequence[Detections]) -> dict[str, BoolArray]:
    """Return the slices by size and time of day, regardless of their number of images."""
    tallest = np.array(
        [(truth.boxes_xyxy[:, 3] - truth.boxes_xyxy[:, 1]).max(initial=-np.inf) for truth in truths]
    )
    tallest[np.isneginf(tallest)] = np.nan
    luma = queries.float_array(reader.read_columns(view, [schema.LUMA])[schema.LUMA])
    return slices.build({}, tallest=tallest, mean_luma=luma, min_samples=1)
