"""Keeps built models between two runs of a worker's process: building them takes seconds.

Only models of the ensemble that ran last stay, so that memory holds one ensemble. Training builds
its own, since it changes them.
"""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

import torch

from cascade.ensemble import Ensemble

logger = logging.getLogger(__name__)

_models: dict[tuple[str, str], Any] | None = None  # None: this process keeps nothing


def keep() -> None:
    """Have this process keep models from now on."""
    global _models
    _models = {} if _models is None else _models


def of(ensemble: Ensemble) -> Ensemble:
    """Return the same ensemble, with models that are kept where this process keeps any."""
    if _models is None:
        return ensemble
    known = {ensemble.fingerprint(name) for name in ensemble.checkpoints}
    for key in [key for key in _models if key[0] not in known]:
        del _models[key]
    return _Warm(**{one.name: getattr(ensemble, one.name) for one in fields(ensemble)})


class _Warm(Ensemble):
    """An ensemble whose models are built once a process."""

    def build(self, member: str, device: torch.device) -> Any:
        """Return the member's model on `device`, ready to predict."""
        key = (self.fingerprint(member), str(device))
        if _models is None:
            return super().build(member, device)
        if key in _models:
            logger.info("The model of %s is warm.", member)
        else:
            logger.info("Building the model of %s.", member)
            _models[key] = super().build(member, device)
        return _models[key]
