"""Where a fit stands after an epoch, in one file, so that it can go on after any crash.

The file is replaced in one step: it is always that of a whole epoch.
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
class Standing:
    """What a fit needs to go on.

    Attributes:
        record: Numbers: the epoch, the history, and what identifies the fit.
        tensors: Weights now, the best ones, and the optimiser's state.
    """

    record: dict[str, Any]
    tensors: dict[str, Tensor]


def save(path: Path, record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write where a fit stands, whole or not at all.

    Raises:
        TrainingError: The place cannot be written to.
    """
    # A copy each: weights that share memory cannot be written.
    contiguous = {name: one.detach().cpu().contiguous().clone() for name, one in tensors.items()}
    try:
        with atomic_write(path) as draft:
            save_file(contiguous, draft, metadata={_RECORD: json.dumps(dict(record))})
            with draft.open("rb") as file:
                os.fsync(file.fileno())
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"Where the fit stands cannot be written to {path}: {error}."
        ) from error


def load(path: Path, *, identity: str) -> Standing | None:
    """Return where the fit of this identity stands; None where it has to start anew."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})[_RECORD])
            if record.get("identity") != identity:
                logger.info("%s is of another fit; starting anew.", path)
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        logger.warning("%s is damaged (%s); starting anew.", path, error)
        return None
    return Standing(record=record, tensors=tensors)


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose name starts with `prefix`, without it."""
    return {
        name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)
    }
