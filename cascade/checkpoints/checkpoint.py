"""Checkpoints: folders with a readable `config.json` and `weights.safetensors`.

A checkpoint never contains a pickle, so loading one from an untrusted source runs no code.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cascade.errors import CheckpointError

CONFIG = "config.json"
WEIGHTS = "weights.safetensors"


def save(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint into `folder`, completely or not at all, replacing an existing one.

    Raises:
        CheckpointError: The folder cannot be written.
    """
    draft = folder.with_name(f".{folder.name}.{uuid4().hex}")
    try:
        draft.mkdir(parents=True)
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            draft / WEIGHTS,
        )
        (draft / WEIGHTS).chmod(0o644)  # safetensors creates a private file
        (draft / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        replace_folder(draft, folder)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"Cannot write the checkpoint {folder}: {error}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the config and the tensors of a checkpoint, on the CPU.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"Cannot find a checkpoint at {folder}: expected {CONFIG} and {WEIGHTS}, "
                f"{name} is missing."
            )
    try:
        config = json.loads((folder / CONFIG).read_text())
        tensors = load_file(folder / WEIGHTS)
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise CheckpointError(f"The checkpoint {folder} is damaged: {error}.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder / CONFIG} must contain a JSON object.")
    return config, tensors


def replace_folder(draft: Path, folder: Path) -> None:
    """Rename `draft` to `folder`, moving an existing folder out of the way first.

    Raises:
        OSError: The draft cannot be renamed; an existing folder is restored.
    """
    if not folder.exists():
        draft.rename(folder)
        return
    backup = folder.with_name(f".{folder.name}.{uuid4().hex}")
    folder.rename(backup)
    try:
        draft.rename(folder)
    except BaseException:
        backup.rename(folder)
        raise
    shutil.rmtree(backup)


def state(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters and persistent buffers by name; shared tensors under the first name."""
    tensors: dict[str, Tensor] = dict(module.named_parameters())
    persistent = module.state_dict().keys()
    tensors |= {name: buffer for name, buffer in module.named_buffers() if name in persistent}
    return tensors


def restore(module: nn.Module, tensors: Mapping[str, Tensor], *, origin: object) -> None:
    """Copy `tensors` into the module; names and shapes must match exactly.

    Raises:
        CheckpointError: A tensor is missing, unexpected or of another shape.
    """
    targets = state(module)
    for name in sorted(targets.keys() ^ tensors.keys()):
        problem = "is missing" if name in targets else "does not belong to this architecture"
        raise CheckpointError(f"{origin}: the tensor {name!r} {problem}.")
    for name, target in targets.items():
        if target.shape != tensors[name].shape:
            raise CheckpointError(
                f"{origin}: the tensor {name!r} must have shape {tuple(target.shape)}, "
                f"got {tuple(tensors[name].shape)}."
            )
        target.data.copy_(tensors[name])
