"""Checkpoints of transformers: a folder as on the hub, checked and opened without the network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer

from cascade.errors import CheckpointError

_VOCABULARIES = ("tokenizer.json", "vocab.json")


def folder_of(checkpoint: Path | None, families: Sequence[str], *, adapter: str) -> Path:
    """Return the folder, once it is known to hold a model of one of `families`.

    Args:
        checkpoint: The folder, or None where the manifest names no source.
        families: The `model_type` that its config.json may announce.
        adapter: Who asks, for the message.

    Raises:
        CheckpointError: There is none, or it is another family's.
    """
    if checkpoint is None:
        raise CheckpointError(f"The adapter {adapter!r} needs a checkpoint: give it a `source`.")
    path = checkpoint / "config.json"
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {checkpoint}: config.json is missing.")
    try:
        config = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error
    found = config.get("model_type") if isinstance(config, dict) else None
    if found not in families:
        raise CheckpointError(
            f"{checkpoint} holds a model of the type {found!r}; the adapter {adapter!r} expects "
            f"one of {', '.join(families)}."
        )
    return checkpoint


def network(kind: Any, folder: Path) -> Any:
    """Return the network in `folder`: frozen, float32, from safetensors only.

    Args:
        kind: One of transformers' Auto classes, or a class of models.
        folder: The checkpoint.

    Raises:
        CheckpointError: The weights are absent or damaged, or do not fit the config.
    """
    try:
        module, report = kind.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"{folder} holds no weights that can be loaded: {error}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise CheckpointError(
            f"{folder} is no whole checkpoint: {len(missing)} tensors are missing, "
            f"the first of them {missing[0]!r}."
        )
    return module.eval().requires_grad_(False)


def tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a folder; transformers itself makes an empty one where it is absent.

    Raises:
        CheckpointError: It is absent, or damaged.
    """
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise CheckpointError(f"{folder} has no tokenizer: expected {' or '.join(_VOCABULARIES)}.")
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder} has no tokenizer that can be read: {error}") from error
