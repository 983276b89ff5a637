"""Lookup of an exported network's file."""

from __future__ import annotations

from pathlib import Path

from cascade.errors import CheckpointError


def exported_file(checkpoint: Path | None, suffix: str, *, kind: str) -> Path:
    """Return the path of the file.

    Args:
        checkpoint: File, or a folder with exactly one such file.
        suffix: Suffix of the file name, such as ".onnx".
        kind: Subject of messages, such as "An ONNX model".

    Raises:
        CheckpointError: No or several files match.
    """
    if checkpoint is None:
        raise CheckpointError(f"{kind} needs a checkpoint: give it a file `*{suffix}` as source.")
    if checkpoint.is_file():
        return checkpoint
    paths = sorted(checkpoint.rglob(f"*{suffix}"))
    if len(paths) != 1:
        listing = ", ".join(str(path.relative_to(checkpoint)) for path in paths) or "none"
        raise CheckpointError(
            f"{checkpoint} must be a file `*{suffix}`, or a folder with exactly one; "
            f"found: {listing}."
        )
    return paths[0]
