"""Work that is done once: what came of it is on record, with what it depended on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cascade.runtime.atomic_files import atomic_write_text


def cached_result(
    file: Path,
    identity: str,
    work: Callable[[], Mapping[str, Any]],
    *,
    outputs: Sequence[Path] = (),
) -> tuple[dict[str, Any], bool]:
    """Return what is on record for this identity, or what the work returns, and whether it ran.

    Args:
        file: The record; one of another identity, or a damaged one, is gone as soon as the work
            begins, for that may replace what the record is of.
        identity: Of all that the work depends on.
        work: Does it, and returns what is put on record, as plain JSON.
        outputs: What it makes beside: if any of it is gone, all is done again.
    """
    known = _read(file) if all(one.exists() for one in outputs) else {}
    if known.get("identity") == identity:
        return dict(known["content"]), False
    file.unlink(missing_ok=True)
    content = dict(work())
    atomic_write_text(file, json.dumps({"identity": identity, "content": content}, indent=1) + "\n")
    return content, True


def _read(file: Path) -> dict[str, Any]:
    """Return the record; nothing where there is none, or it is damaged."""
    try:
        known = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
