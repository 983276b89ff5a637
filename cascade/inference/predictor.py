"""Prediction with a loaded ensemble: images in, a verdict for each out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cascade.engine.member_runner import predict_member
from cascade.ensemble import Ensemble
from cascade.fusion.consensus import Decisions
from cascade.imaging.batches import Batch, Image
from cascade.inference import decision
from cascade.predictions import Detections, Failure
from cascade.runtime.devices import default_device


@dataclass(frozen=True)
class Verdict:
    """Result of the ensemble for one image.

    Attributes:
        objects: The fused boxes, in canonical classes; scores are fused probabilities.
        p: Probability of a positive image decision, in [0, 1]; None if there are no voters.
        yes: The decision: whether `p` reaches the threshold fitted on validation.
        agreement: Weighted share of the voters on the same side as `p`, in [0, 1]; NaN without
            voters.
        n_voters: Number of voting members.
        members: Raw detections of each detector, with native class names.
        failures: Failed members, which do not vote.
    """

    objects: Detections
    p: float | None
    yes: bool
    agreement: float
    n_voters: int
    members: dict[str, Detections]
    failures: dict[str, Failure]


class Predictor:
    """The members of an ensemble that vote on every image, built once."""

    def __init__(self, ensemble: Ensemble, device: torch.device | None = None) -> None:
        self.ensemble = ensemble
        self.device = device or default_device()
        self._models = {name: ensemble.build(name, self.device) for name in ensemble.voters}

    def predict(self, images: Sequence[Image]) -> list[Verdict]:
        """Return one verdict per image.

        Args:
            images: RGB, uint8, each of shape (H, W, 3), upright.
        """
        ids = tuple(str(i) for i in range(len(images)))
        batch = Batch(ids=ids, images=tuple(images), device=self.device)
        if not len(batch):
            return []
        results = {
            name: predict_member(model, self.ensemble.manifest.member(name), batch, self.device)
            for name, model in self._models.items()
        }
        rows = [{name: results[name][i] for name in results} for i in ids]
        votes = decision.collect_votes(rows, self.ensemble)
        sizes_px = np.array(batch.sizes, np.int64)
        clusters, decisions = decision.fuse_and_decide(votes, self.ensemble, sizes_px)
        p_probe = decision.probe_votes(rows, self.ensemble)
        decisions = decision.with_image_votes(decisions, self.ensemble, p_probe)
        objects = decision.fused_detections(clusters)
        return [
            _verdict(row, objects[i], decisions, i, self.ensemble.calibration.threshold)
            for i, row in enumerate(rows)
        ]


def _verdict(
    row: decision.Row, objects: Detections, decisions: Decisions, i: int, threshold: float
) -> Verdict:
    p = None if np.isnan(decisions.p[i]) else float(decisions.p[i])
    return Verdict(
        objects=objects,
        p=p,
        yes=p is not None and p >= threshold,
        agreement=float(decisions.agreement[i]),
        n_voters=int(decisions.n_voters[i]),
        members={name: r for name, r in row.items() if isinstance(r, Detections)},
        failures={name: r for name, r in row.items() if isinstance(r, Failure)},
    )
