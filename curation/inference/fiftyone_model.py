"""Any member as a model of FiftyOne's, for one-offs: `dataset.apply_model(member_model(...))`.

FiftyOne then reads, runs and writes image by image: convenient, without resume, provenance or
calibration. Whole ensembles are run by the stages.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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
from curation.storage.deep_tier_documents import UNUSABLE


def member_model(ensemble: Ensemble, member: str, device: torch.device | None = None) -> Model:
    """Return a member of an ensemble as a model that FiftyOne can apply.

    `dataset.apply_model(model, label_field=...)` for every tier but the embedding;
    `dataset.compute_embeddings(model)` for that one.

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
        self._entry = ensemble.manifest.member(member)
        self._taxonomy = ensemble.taxonomy
        self._device = device
        self._model = ensemble.build(member, device)

    @property
    def media_type(self) -> str:
        return "image"

    @property
    def has_embeddings(self) -> bool:
        return self._entry.tier == "embedding"

    @property
    def ragged_batches(self) -> bool:
        return True

    def predict(self, arg: NDArray[np.uint8]) -> Any:
        """Return the label of one image, RGB, (H, W, 3)."""
        return self.predict_all([arg])[0]

    def predict_all(self, args: Iterable[NDArray[np.uint8]]) -> list[Any]:
        """Return the label of each image."""
        return [_label(said, self._taxonomy) for said in self._ask(args)]

    def embed(self, arg: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the vector of one image, shape (D,)."""
        return self.embed_all([arg])[0]

    def embed_all(self, args: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the vectors of n images, shape (n, D)."""
        return np.stack([one.vector for one in self._ask(args)])

    def _ask(self, images: Iterable[NDArray[np.uint8]]) -> list[Any]:
        upright = tuple(np.ascontiguousarray(one[..., :3]) for one in images)
        batch = Batch(tuple(str(i) for i in range(len(upright))), upright, self._device)
        said = predict_member(self._model, self._entry, batch, self._device)
        for one in said.values():
            if isinstance(one, Failure):
                raise StageError(f"{self._entry.name} failed: {one.error}: {one.message}")
        return [said[name] for name in batch.ids]


def _label(said: Any, taxonomy: Taxonomy) -> Any:
    """Return a prediction as a label of FiftyOne's, in canonical classes."""
    import fiftyone as fo

    if isinstance(said, Detections):
        return conversions.to_label(decision.to_canonical(said, taxonomy))
    if isinstance(said, Masks):
        return fo.Detections(detections=_outlined(said, taxonomy))
    if isinstance(said, DepthMap):
        known = said.depth[np.isfinite(said.depth)]
        most = float(known.max()) if known.size else 1.0
        return fo.Heatmap(map=np.nan_to_num(said.depth), range=[0, most], unit=said.unit)
    if isinstance(said, Answer):
        yes = UNUSABLE if said.p_yes is None else "yes" if said.p_yes >= 0.5 else "no"
        return fo.Classification(label=yes, confidence=said.p_yes, reason=said.reason)
    if isinstance(said, Embedding):
        raise StageError("An embedder gives no labels: use `dataset.compute_embeddings(model)`.")
    raise StageError(f"There is no label for {type(said).__name__}.")


def _outlined(said: Masks, taxonomy: Taxonomy) -> list[Any]:
    import fiftyone as fo

    height, width = said.masks.shape[1:]
    found = []
    for i, (x1, y1, x2, y2) in enumerate(masks.bounding_boxes(said)):
        label = taxonomy.canonical(said.classes[int(said.class_ids[i])])
        if label is None:
            continue
        rows = slice(round(y1 * height), max(round(y2 * height), round(y1 * height) + 1))
        columns = slice(round(x1 * width), max(round(x2 * width), round(x1 * width) + 1))
        found.append(
            fo.Detection(
                label=label,
                bounding_box=[float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                confidence=float(said.scores[i]),
                mask=said.masks[i, rows, columns],
            )
        )
    return found
