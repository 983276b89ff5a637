"""Checkpoints of zero-shot detectors from transformers: network, image processor and tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

from cascade.errors import CheckpointError
from cascade.models.huggingface import pretrained

_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt")


def open_folder(
    checkpoint: Path | None, families: Sequence[str], *, adapter: str
) -> tuple[Any, Any]:
    """Return the network, frozen and in float32, and its processor.

    Args:
        checkpoint: Snapshot of a hub repository, or a folder written by `save_pretrained`.
        families: Accepted values of `model_type` in config.json.
        adapter: Name of the adapter, for messages.

    Raises:
        CheckpointError: The folder is missing, incomplete, or contains another model family.
    """
    folder = pretrained.check_folder(checkpoint, families, adapter=adapter)
    for names in (_PROCESSORS, _VOCABULARIES):  # transformers would create empty ones
        if not any((folder / name).is_file() for name in names):
            raise CheckpointError(f"{folder} is incomplete: expected {' or '.join(names)}.")
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: cannot read the processor: {error}") from error
    return pretrained.load_network(AutoModelForZeroShotObjectDetection, folder), processor
