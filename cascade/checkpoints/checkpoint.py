"""Checkpoints: a folder with a readable `config.json` and `weights.safetensors`.

Nothing here is ever a pickle, so a checkpoint from a stranger can be read but cannot run.
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
    """Write a checkpoint into `folder`, whole or not at all; one that is there is replaced.

    Raises:
        CheckpointError: The place cannot be written to.
    """
    draft = folder.with_name(f".{folder.name}.{uuid4().hex}")
    try:
        draft.mkdir(parents=True)
        save_file(
            {name: one.detach().cpu().contiguous() for name, one in tensors.items()},
            draft / WEIGHTS,
        )
        (draft / WEIGHTS).chmod(0o644)  # safetensors makes it private
        (draft / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        replace_folder(draft, folder)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"The checkpoint {folder} cannot be written: {error}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the config and the tensors of a checkpoint, on the CPU.

    Raises:
        CheckpointError: A part is absent, or is not what its name says.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"There is no checkpoint at {folder}: expected {CONFIG} and {WEIGHTS}, "
                f"{name} is missing."
            )
    try:
        config = json.loads((folder / CONFIG).read_text())
        tensors = load_file(folder / WEIGHTS)
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise CheckpointError(f"The checkpoint {folder} is damaged: {error}.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder / CONFIG} must hold a JSON object.")
    return config, tensors


def replace_folder(draft: Path, folder: Path) -> None:
    """Rename `draft` to `folder`; a directory cannot be overwritten, so it steps aside first.

    Raises:
        OSError: It could not be renamed; what was there is there again.
    """
    if not folder.exists():
        draft.rename(folder)
        return
    aside = folder.with_name(f".{folder.name}.{uuid4().hex}")
    folder.rename(aside)
    try:
        draft.rename(folder)
    except BaseException:
        aside.rename(folder)
        raise
    shutil.rmtree(aside)


def state(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name; a shared tensor once, under its first name."""
    tensors: dict[str, Tensor] = dict(module.named_parameters())
    persistent = module.state_dict().keys()
    tensors |= {name: one for name, one in module.named_buffers() if name in persistent}
    return tensors


def restore(module: nn.Module, tensors: Mapping[str, Tensor], *, origin: object) -> None:
    """Copy `tensors` into the module, where they must fit one to one.

    Raises:
        CheckpointError: A tensor is absent, superfluous or of another shape.
    """
    own = state(module)
    for name in sorted(own.keys() ^ tensors.keys()):
        what = "is missing" if name in own else "is not of this architecture"
        raise CheckpointError(f"{origin}: the tensor {name!r} {what}.")
    for name, one in own.items():
        if one.shape != tensors[name].shape:
            raise CheckpointError(
                f"{origin}: the tensor {name!r} must have shape {tuple(one.shape)}, "
                f"got {tuple(tensors[name].shape)}."
            )
        one.data.copy_(tensors[name])
