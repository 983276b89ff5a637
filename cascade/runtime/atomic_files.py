"""Files that are whole or not there: whoever reads meanwhile has the old one or the new."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


@contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
    """Give a draft beside `file`, which takes its place in one step when the block ends.

    Where the block raises, the draft is gone and the file is as it was. Folders are made.

    Raises:
        OSError: The place cannot be written to.
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
    """Write a text file in UTF-8, whole or not at all.

    Raises:
        OSError: The place cannot be written to.
    """
    with atomic_write(file) as draft:
        draft.write_text(text, encoding="utf-8")
