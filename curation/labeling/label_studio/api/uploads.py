"""Images of a project: folders that the server may serve, and uploaded files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from curation.errors import LabelingError
from curation.labeling.label_studio.api.client import Client, Json
from curation.labeling.label_studio.api.errors import (
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
)

MAX_FILES = 50  # per request; the server accepts 100, which may be too large together
_ROOT = re.compile(r'LOCAL_FILES_DOCUMENT_ROOT=\\?"([^"\\]+)\\?"')


def document_root(client: Client, project_id: int) -> str | None:
    """Return the folder that the server serves files from, or None.

    No request returns it, but the server names it when it rejects the folder `/`.
    """
    try:
        client.request(
            "ask for the document root",
            "POST",
            "api/storages/localfiles/validate",
            body={"project": project_id, "path": "/"},
        )
    except (BadRequestError, PermissionDeniedError, NotFoundError) as error:
        match = _ROOT.search(str(error))
        return match[1] if match else None
    return None


def folders(client: Client, project_id: int) -> list[str]:
    """Return the folders that a project may serve files from."""
    storages = client.call_sdk(
        "list the storage connections",
        lambda sdk: sdk.import_storage.local.list(project=project_id),
    )
    return [str(storage.path) for storage in storages if storage.path]


def add_folder(client: Client, project_id: int, path: str) -> None:
    """Let a project serve files from a folder and its subfolders."""
    client.call_sdk(
        "add a storage connection",
        lambda sdk: sdk.import_storage.local.create(
            project=project_id, path=path, title=f"images in {path}", use_blob_urls=True
        ),
    )


def uploads(client: Client, project_id: int) -> list[Json]:
    """Return `id`, `file` (a path) and `size` of each uploaded file."""
    return list(
        client.request(
            "list the uploads",
            "GET",
            f"api/projects/{project_id}/file-uploads",
            params={"all": "true"},
        )
    )


def upload(client: Client, project_id: int, files: Sequence[tuple[str, Path]]) -> None:
    """Upload at most `MAX_FILES` images with their names, without creating tasks.

    Raises:
        UnknownOutcomeError: The images may have been uploaded.
        LabelingError: An image cannot be read, or the server rejects them.
    """
    with ExitStack() as stack:
        form: dict[str, tuple[str, Any, str]] = {}
        for i, (name, path) in enumerate(files):
            # One field per file: of several files in one field, the server keeps the last.
            form[f"file{i}"] = (name, stack.enter_context(_open(path)), "image/*")
        client.request(
            "upload images",
            "POST",
            f"api/projects/{project_id}/import",
            params={"commit_to_project": "false"},
            files=form,
            repeatable=False,
        )


def unreadable(path: Path, error: OSError) -> LabelingError:
    """Return the error of an image that cannot be read."""
    return LabelingError(
        f"{path}: {error.strerror or error}. Restore the image, or remove the sample."
    )


def _open(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from error
