"""Cache of built models between the runs of a worker process, which saves seconds per run.

It holds the models of the latest ensemble only, to limit memory. Training changes its models and
therefore builds them separately.
"""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

import torch

from cascade.ensemble import Ensemble

logger = logging.getLogger(__name__)

_models: dict[tuple[str, str], Any] | None = None  # None: no cache in this process


def enable() -> None:
    """Enable the cache in this process."""
    global _models
    _models = {} if _models is None else _models


def get(ensemble: Ensemble) -> Ensemble:
    """Return an equal ensemble with cached models; the ensemble itself without a cache."""
    if _models is None:
        return ensemble
    fingerprints = {ensemble.fingerprint(name) for name in ensemble.checkpoints}
    for key in [key for key in _models if key[0] not in fingerprints]:
        del _models[key]
    return _CachedEnsemble(**{item.name: getattr(ensemble, item.name) for item in fields(ensemble)})


class _CachedEnsemble(Ensemble):
    """An ensemble that builds each model once per process."""

    def build(self, member: str, device: torch.device) -> Any:
        """Return the member's model on `device`, ready to predict."""
        key = (self.fingerprint(member), str(device))
        if _models is None:
            return super().build(member, device)
        if key in _models:
            logger.info("The model of %s is in memory.", member)
        else:
            logger.info("Building the model for %s.", member)
            _models[key] = super().build(member, device)
        return _models[key]
