"""The files of a folder with their sizes and hashes, so that a changed byte is noticed by name.

As text, one line a file, `sha256 size path`, paths in order: equal exactly where the files are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from curation.errors import PublishError


@dataclass(frozen=True)
class File:
    """What a file was when it was registered.

    Attributes:
        sha256: Of its content, hex.
        size: In bytes.
    """

    sha256: str
    size: int


def of_folder(folder: Path) -> dict[str, File]:
    """Return every file below a folder, by its path with `/`, in order."""
    files = sorted(one for one in folder.rglob("*") if one.is_file())
    return {one.relative_to(folder).as_posix(): _file(one) for one in files}


def to_text(files: Mapping[str, File]) -> str:
    """Return the text of some files: see above."""
    return "".join(f"{one.sha256} {one.size} {path}\n" for path, one in sorted(files.items()))


def from_text(text: str) -> dict[str, File]:
    """Return the files of which `to_text` wrote.

    Raises:
        PublishError: The text is not of that form.
    """
    files: dict[str, File] = {}
    for line in text.splitlines():
        words = line.split(" ", 2)
        if len(words) != 3 or len(words[0]) != 64 or not words[1].isdecimal():
            raise PublishError(f"A line must be `sha256 size path`, got {line!r}.")
        files[words[2]] = File(words[0], int(words[1]))
    return files


def expect(folder: Path, files: Mapping[str, File], *, what: str) -> None:
    """Refuse a folder whose files are not those that were registered, to the last byte.

    Args:
        folder: What is about to be loaded.
        files: What it must hold, and nothing else.
        what: Whose files these are, to begin the message with.

    Raises:
        PublishError: Names each file that is changed, absent, or there beside.
    """
    found = of_folder(folder)
    problems = [
        f"{path} has the sha256 {found[path].sha256}, registered was {one.sha256}"
        if path in found
        else f"{path} is absent"
        for path, one in files.items()
        if found.get(path) != one
    ]
    problems += [f"{path} was never registered" for path in found if path not in files]
    if problems:
        raise PublishError(
            f"{what} is not what was registered, so it is not loaded: {'; '.join(problems)}. "
            "Restore the files, or roll back to another version (`curate rollback`)."
        )


def _file(path: Path) -> File:
    with path.open("rb") as file:
        return File(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)
