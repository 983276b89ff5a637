"""An ensemble that is loaded and answers: images in, its verdict on each out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    """What the ensemble says about one image.

    Attributes:
        objects: The fused boxes, in canonical classes; scores are fused probabilities.
        p: Probability of the image decision, in [0, 1]; None where no member may vote.
        yes: The decision: `p` at or above the threshold that was fixed on validation.
        agreement: Weighted share of the voters on the same side as `p`, in [0, 1]; NaN where
            nobody voted.
        n_voters: How many members voted.
        members: What each detector said, in its own words.
        failures: The members that failed on the image, with the reason; they do not vote.
    """

    objects: Detections
    p: float | None
    yes: bool
    agreement: float
    n_voters: int
    members: dict[str, Detections]
    failures: dict[str, Failure]


class Predictor:
    """The voters of an ensemble that look at every image, built once."""

    def __init__(self, ensemble: Ensemble, device: torch.device | None = None) -> None:
        self.ensemble = ensemble
        self.device = device or default_device()
        self._models = {name: ensemble.build(name, self.device) for name in ensemble.voters}

    def predict(self, images: Sequence[Image]) -> list[Verdict]:
        """Return one verdict per image.

        Args:
            images: RGB, uint8, each of shape (H, W, 3), upright.
        """
        names = tuple(str(i) for i in range(len(images)))
        batch = Batch(ids=names, images=tuple(images), device=self.device)
        if not len(batch):
            return []
        said = {
            name: predict_member(model, self.ensemble.manifest.member(name), batch, self.device)
            for name, model in self._models.items()
        }
        rows = [{name: said[name][i] for name in said} for i in names]
        votes = decision.collect_votes(rows, self.ensemble)
        clusters, decisions = decision.fuse_and_decide(
            votes, self.ensemble, np.array(batch.sizes, np.int64)
        )
        decisions = decision.with_image_votes(
            decisions, self.ensemble, decision.probe_votes(rows, self.ensemble)
        )
        fused = decision.fused_detections(clusters)
        return [
            _verdict(row, fused[i], decisions, i, self.ensemble.calibration.threshold)
            for i, row in enumerate(rows)
        ]


def _verdict(
    row: Mapping[str, Any], objects: Detections, decisions: Decisions, i: int, threshold: float
) -> Verdict:
    p = None if np.isnan(decisions.p[i]) else float(decisions.p[i])
    return Verdict(
        objects=objects,
        p=p,
        yes=p is not None and p >= threshold,
        agreement=float(decisions.agreement[i]),
        n_voters=int(decisions.n_voters[i]),
        members={name: one for name, one in row.items() if isinstance(one, Detections)},
        failures={name: one for name, one in row.items() if isinstance(one, Failure)},
    )
