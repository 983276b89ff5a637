"""Sizes and hashes of a folder's files, to detect and name changed files.

As text: one line `sha256 size path` for each file, in order of paths. Equal texts mean equal
files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from curation.errors import PublishError


@dataclass(frozen=True)
class FileChecksum:
    """Size and hash of a file.

    Attributes:
        sha256: SHA-256 of the content, hex.
        size: Size in bytes.
    """

    sha256: str
    size: int


def of_folder(folder: Path) -> dict[str, FileChecksum]:
    """Return the checksum of every file below a folder, by path with `/`, in order."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _checksum(path) for path in files}


def to_text(files: Mapping[str, FileChecksum]) -> str:
    """Return checksums as text."""
    return "".join(f"{file.sha256} {file.size} {path}\n" for path, file in sorted(files.items()))


def from_text(text: str) -> dict[str, FileChecksum]:
    """Return the checksums from the text of `to_text`.

    Raises:
        PublishError: The text has another format.
    """
    files: dict[str, FileChecksum] = {}
    for line in text.splitlines():
        words = line.split(" ", 2)
        if len(words) != 3 or len(words[0]) != 64 or not words[1].isdecimal():
            raise PublishError(f"A line must be `sha256 size path`, got {line!r}.")
        files[words[2]] = FileChecksum(words[0], int(words[1]))
    return files


def verify(folder: Path, files: Mapping[str, FileChecksum], *, subject: str) -> None:
    """Check that a folder contains exactly the registered files.

    Args:
        folder: Folder to check.
        files: Registered checksums.
        subject: Subject of the error message.

    Raises:
        PublishError: Files are changed, missing or extra; the message names them.
    """
    present = of_folder(folder)
    problems = [
        f"{path} has the SHA-256 {present[path].sha256} instead of {file.sha256}"
        if path in present
        else f"{path} is missing"
        for path, file in files.items()
        if present.get(path) != file
    ]
    problems += [f"{path} was not registered" for path in present if path not in files]
    if problems:
        raise PublishError(
            f"{subject} differs from what was registered and was not loaded: {'; '.join(problems)}"
            ". Restore the files, or roll back to another version (`curate rollback`)."
        )


def expect(folder: Path, files: Mapping[str, FileChecksum], *, what: str) -> None:
    """Check a folder: the name of `verify` in the models that release 0.1 registered."""
    verify(folder, files, subject=what)


def _checksum(path: Path) -> FileChecksum:
    with path.open("rb") as file:
        return FileChecksum(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)
