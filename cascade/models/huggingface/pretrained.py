"""Checkpoints for transformers: folders in the hub's format, checked and opened offline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer

from cascade.errors import CheckpointError
from cascade.models.huggingface import image_processor
from cascade.models.huggingface.image_processor import ProcessorView

_VOCABULARIES = ("tokenizer.json", "vocab.json")


def check_folder(checkpoint: Path | None, families: Sequence[str], *, adapter: str) -> Path:
    """Return the folder of a checkpoint after a check of its family.

    Args:
        checkpoint: Folder, or None if the manifest names no source.
        families: Accepted values of `model_type` in config.json.
        adapter: Name of the adapter, for messages.

    Raises:
        CheckpointError: The folder is missing, or contains another model family.
    """
    if checkpoint is None:
        raise CheckpointError(f"The adapter {adapter!r} needs a checkpoint: give it a `source`.")
    config = read_config(checkpoint)
    model_type = config.get("model_type")
    if model_type not in families:
        raise CheckpointError(
            f"{checkpoint} contains a model of the type {model_type!r}; the adapter {adapter!r} "
            f"expects one of {', '.join(families)}."
        )
    return checkpoint


def read_config(folder: Path) -> dict[str, Any]:
    """Return the content of a folder's config.json, empty if it is not an object.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"Cannot find a checkpoint at {folder}: config.json is missing.")
    try:
        config = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error
    return config if isinstance(config, dict) else {}


def open_vision_model(
    kind: Any, checkpoint: Path | None, families: Sequence[str], *, adapter: str
) -> tuple[Path, ProcessorView, Any]:
    """Return the folder of a checkpoint, its image processor's view, and its frozen network.

    Args:
        kind: Auto class or model class from transformers.
        checkpoint: Folder, or None if the manifest names no source.
        families: Accepted values of `model_type` in config.json.
        adapter: Name of the adapter, for messages.

    Raises:
        CheckpointError: The folder is missing, incomplete, damaged, or of another model family.
    """
    folder = check_folder(checkpoint, families, adapter=adapter)
    return folder, image_processor.read(folder), load_network(kind, folder)


def load_network(kind: Any, folder: Path) -> Any:
    """Return the network in `folder`: frozen, float32, from safetensors only.

    Args:
        kind: Auto class or model class from transformers.
        folder: Checkpoint.

    Raises:
        CheckpointError: The weights are missing or damaged, or do not match the config.
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
        raise CheckpointError(f"Cannot load the weights in {folder}: {error}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise CheckpointError(
            f"{folder} is incomplete: {len(missing)} tensors are missing, "
            f"the first is {missing[0]!r}."
        )
    return module.eval().requires_grad_(False)


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer in `folder`.

    Raises:
        CheckpointError: The tokenizer is missing or damaged.
    """
    # transformers would create an empty tokenizer without these files.
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise CheckpointError(f"{folder} has no tokenizer: expected {' or '.join(_VOCABULARIES)}.")
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"Cannot read the tokenizer in {folder}: {error}") from error
