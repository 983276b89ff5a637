"""Adapter of a member to FiftyOne's model interface: `dataset.apply_model(member_model(...))`.

FiftyOne then predicts image by image, without resume, provenance or calibration. The stages run
complete ensembles.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fiftyone.core.models import EmbeddingsMixin, Model
from numpy.typing import NDArray

from cascade.engine.member_runner import predict_member
from cascade.ensemble import Ensemble
from cascade.geometry import masks
from cascade.imaging.batches import Batch
from cascade.inference import decision
from cascade.predictions import Answer, DepthMap, Detections, Embedding, Failure, Masks
from cascade.runtime.devices import default_device
from cascade.taxonomy import Taxonomy
from curation.errors import StageError
from curation.storage import conversions
from curation.storage.documents import UNUSABLE

if TYPE_CHECKING:
    import fiftyone as fo


def member_model(ensemble: Ensemble, member: str, device: torch.device | None = None) -> Model:
    """Return a member of an ensemble as a FiftyOne model.

    Use it with `dataset.apply_model(model, label_field=...)`, or for an embedder with
    `dataset.compute_embeddings(model)`.

    Raises:
        ManifestError: The ensemble has no such member.
        StageError: The member cannot run here.
    """
    ensemble.manifest.member(member)
    if member not in ensemble.checkpoints:
        raise StageError(f"The member {member!r} cannot run here: {ensemble.left_out[member]}")
    return _MemberModel(ensemble, member, device or default_device())


class _MemberModel(Model, EmbeddingsMixin):  # type: ignore[misc]
    def __init__(self, ensemble: Ensemble, member: str, device: torch.device) -> None:
        self._member = ensemble.manifest.member(member)
        self._taxonomy = ensemble.taxonomy
        self._device = device
        self._model = ensemble.build(member, device)

    @property
    def media_type(self) -> str:
        return "image"

    @property
    def has_embeddings(self) -> bool:
        return self._member.tier == "embedding"

    @property
    def ragged_batches(self) -> bool:
        return True

    def predict(self, arg: NDArray[np.uint8]) -> fo.Label:
        """Return the label of an RGB image, shape (H, W, 3)."""
        return self.predict_all([arg])[0]

    def predict_all(self, args: Iterable[NDArray[np.uint8]]) -> list[fo.Label]:
        """Return the label of each image."""
        return [_to_label(prediction, self._taxonomy) for prediction in self._predictions(args)]

    def embed(self, arg: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the embedding of an image, shape (D,)."""
        return self.embed_all([arg])[0]

    def embed_all(self, args: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the embeddings of n images, shape (n, D)."""
        return np.stack([embedding.vector for embedding in self._predictions(args)])

    def _predictions(self, images: Iterable[NDArray[np.uint8]]) -> list[Any]:
        upright = tuple(np.ascontiguousarray(image[..., :3]) for image in images)
        batch = Batch(tuple(str(i) for i in range(len(upright))), upright, self._device)
        results = predict_member(self._model, self._member, batch, self._device)
        for result in results.values():
            if isinstance(result, Failure):
                raise StageError(f"{self._member.name} failed: {result.error}: {result.message}")
        return [results[image_id] for image_id in batch.ids]


def _to_label(prediction: Any, taxonomy: Taxonomy) -> fo.Label:
    """Return a prediction as a FiftyOne label, in canonical classes."""
    import fiftyone as fo

    if isinstance(prediction, Detections):
        return conversions.to_label(decision.to_canonical(prediction, taxonomy))
    if isinstance(prediction, Masks):
        return fo.Detections(detections=_mask_labels(prediction, taxonomy))
    if isinstance(prediction, DepthMap):
        depth, is_finite = prediction.depth, np.isfinite(prediction.depth)
        farthest = float(depth[is_finite].max()) if is_finite.any() else 1.0
        return fo.Heatmap(map=np.nan_to_num(depth), range=[0, farthest], unit=prediction.unit)
    if isinstance(prediction, Answer):
        p = prediction.p_yes
        label = UNUSABLE if p is None else "yes" if p >= 0.5 else "no"
        return fo.Classification(label=label, confidence=p, reason=prediction.reason)
    if isinstance(prediction, Embedding):
        raise StageError("Embedders have no labels: use `dataset.compute_embeddings(model)`.")
    raise StageError(f"FiftyOne has no label for {type(prediction).__name__}.")


def _mask_labels(prediction: Masks, taxonomy: Taxonomy) -> list[fo.Detection]:
    import fiftyone as fo

    height, width = prediction.masks.shape[1:]
    labels = []
    for i, (x1, y1, x2, y2) in enumerate(masks.bounding_boxes(prediction)):
        label = taxonomy.canonical(prediction.classes[int(prediction.class_ids[i])])
        if label is None:
            continue
        rows = slice(round(y1 * height), max(round(y2 * height), round(y1 * height) + 1))
        columns = slice(round(x1 * width), max(round(x2 * width), round(x1 * width) + 1))
        labels.append(
            fo.Detection(
                label=label,
                bounding_box=[float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                confidence=float(prediction.scores[i]),
                mask=prediction.masks[i, rows, columns],
            )
        )
    return labels
