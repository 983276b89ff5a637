"""Where the file of an exported network is: named itself, or alone of its kind in a folder."""

from __future__ import annotations

from pathlib import Path

from cascade.errors import CheckpointError


def exported_file(checkpoint: Path | None, suffix: str, *, kind: str) -> Path:
    """Return the file.

    Args:
        checkpoint: The file, or a folder that holds exactly one.
        suffix: Of its name, as in ".onnx".
        kind: What asks for it, as a sentence begins: "An ONNX model".

    Raises:
        CheckpointError: There is none, or there are several.
    """
    if checkpoint is None:
        raise CheckpointError(f"{kind} needs a checkpoint: give it a file `*{suffix}` as source.")
    if checkpoint.is_file():
        return checkpoint
    found = sorted(checkpoint.rglob(f"*{suffix}"))
    if len(found) != 1:
        listing = ", ".join(str(one.relative_to(checkpoint)) for one in found) or "none"
        raise CheckpointError(
            f"{checkpoint} must be a file `*{suffix}`, or a folder that holds exactly one; "
            f"found: {listing}."
        )
    return found[0]
