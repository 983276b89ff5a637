"""Folders of transformers' zero-shot detectors: a network, an image processor and a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

from cascade.errors import CheckpointError
from cascade.models.huggingface import pretrained

_IMAGES = ("preprocessor_config.json", "processor_config.json")
_WORDS = ("tokenizer.json", "vocab.json", "vocab.txt")


def open_folder(
    checkpoint: Path | None, families: Sequence[str], *, adapter: str
) -> tuple[Any, Any]:
    """Return the network, frozen and in float32, and its processor.

    Args:
        checkpoint: A snapshot of the hub repository, or what `save_pretrained` wrote.
        families: The `model_type` that its config.json may announce.
        adapter: Who asks, for the message.

    Raises:
        CheckpointError: There is none, it is not whole, or it is another family's.
    """
    folder = pretrained.folder_of(checkpoint, families, adapter=adapter)
    for names in (_IMAGES, _WORDS):  # without them, transformers would make up empty ones
        if not any((folder / name).is_file() for name in names):
            raise CheckpointError(f"{folder} is not whole: expected {' or '.join(names)}.")
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: the processor cannot be read: {error}") from error
    return pretrained.network(AutoModelForZeroShotObjectDetection, folder), processor
