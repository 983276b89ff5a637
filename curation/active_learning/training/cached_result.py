"""Cache of a computed result in a JSON file, with the identity of its inputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cascade.runtime.atomic_files import atomic_write_text


def cached_result(
    path: Path,
    identity: str,
    compute: Callable[[], Mapping[str, Any]],
    *,
    outputs: Sequence[Path] = (),
) -> tuple[dict[str, Any], bool]:
    """Return the cached result of an identity, or compute it, and whether it was computed.

    Args:
        path: The cache file. If it is damaged or of another identity, it is deleted before the
            computation, which may replace the outputs that it describes.
        identity: Hash of all inputs.
        compute: Computes the result, plain values for JSON.
        outputs: Other files of the computation; if any is missing, the result is computed.
    """
    cached = _read(path) if all(output.exists() for output in outputs) else {}
    if cached.get("identity") == identity:
        return dict(cached["content"]), False
    path.unlink(missing_ok=True)
    content = dict(compute())
    atomic_write_text(path, json.dumps({"identity": identity, "content": content}, indent=1) + "\n")
    return content, True


def _read(path: Path) -> dict[str, Any]:
    """Return the content of the file, empty if it is missing or damaged."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
