"""State of a fit after an epoch, in one file, from which an interrupted fit resumes.

The file is replaced atomically and always holds a complete epoch.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cascade.errors import TrainingError
from cascade.runtime.atomic_files import atomic_write

logger = logging.getLogger(__name__)

_RECORD = "record"


@dataclass(frozen=True)
class FitState:
    """State of a fit.

    Attributes:
        record: JSON values: the identity of the fit, the epoch and the history.
        tensors: Current weights, best weights and the optimizer's state.
    """

    record: dict[str, Any]
    tensors: dict[str, Tensor]


def save(path: Path, record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a state, completely or not at all.

    Raises:
        TrainingError: The file cannot be written.
    """
    # Safetensors rejects tensors that share memory, so each is copied.
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        with atomic_write(path) as draft:
            save_file(copies, draft, metadata={_RECORD: json.dumps(dict(record))})
            with draft.open("rb") as file:
                os.fsync(file.fileno())
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"Cannot write the state of the fit to {path}: {error}.") from error


def load(path: Path, *, identity: str) -> FitState | None:
    """Return the state of the fit with this identity, or None if the fit must start over."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})[_RECORD])
            if record.get("identity") != identity:
                logger.info("%s belongs to another fit; starting over.", path)
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        logger.warning("%s is damaged (%s); starting over.", path, error)
        return None
    return FitState(record=record, tensors=tensors)


def select_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose name starts with `prefix`, without the prefix."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
