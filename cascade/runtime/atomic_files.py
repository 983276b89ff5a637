"""Atomic file replacement: a concurrent reader sees either the old file or the new one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


@contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
    """Yield the path of a draft that replaces `file` when the block ends.

    If the block raises, the draft is deleted and `file` is unchanged. Missing folders are
    created.

    Raises:
        OSError: The folder cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        yield draft
        draft.replace(file)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def atomic_write_text(file: Path, text: str) -> None:
    """Write a UTF-8 text file, completely or not at all.

    Raises:
        OSError: The folder cannot be written.
    """
    with atomic_write(file) as draft:
        draft.write_text(text, encoding="utf-8")
