"""The images that a project has: the folders that the server may serve, and what was uploaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from curation.errors import LabelingError
from curation.labeling.label_studio.api.client import Client, Json
from curation.labeling.label_studio.api.errors import DeniedError, GoneError, RefusedError

FILES_AT_ONCE = 50  # the server takes 100; half, since each may be large
_ROOT = re.compile(r'LOCAL_FILES_DOCUMENT_ROOT=\\?"([^"\\]+)\\?"')


def document_root(client: Client, project_id: int) -> str | None:
    """Return the folder that the server serves files from; None where it serves none.

    No request asks for it, but a refusal names it: nobody may serve files from `/`.
    """
    try:
        client.ask(
            "ask for the document root",
            "POST",
            "api/storages/localfiles/validate",
            body={"project": project_id, "path": "/"},
        )
    except (RefusedError, DeniedError, GoneError) as error:
        named = _ROOT.search(str(error))
        return named[1] if named else None
    return None


def folders(client: Client, project_id: int) -> list[str]:
    """Return the folders that a project may serve files from."""
    rows = client.by_sdk(
        "list the storage connections",
        lambda sdk: sdk.import_storage.local.list(project=project_id),
    )
    return [str(one.path) for one in rows if one.path]


def add_folder(client: Client, project_id: int, path: str) -> None:
    """Let a project serve files from a folder and those below it."""
    client.by_sdk(
        "add a storage connection",
        lambda sdk: sdk.import_storage.local.create(
            project=project_id, path=path, title=f"images in {path}", use_blob_urls=True
        ),
    )


def uploads(client: Client, project_id: int) -> list[Json]:
    """Return what was uploaded: `id`, `file` (a path) and `size` of each."""
    return list(
        client.ask(
            "list the uploads",
            "GET",
            f"api/projects/{project_id}/file-uploads",
            params={"all": "true"},
        )
    )


def upload(client: Client, project_id: int, files: Sequence[tuple[str, Path]]) -> None:
    """Upload images, each under a name; they become no tasks. At most `FILES_AT_ONCE`.

    Raises:
        UnsureError: They may be there all the same.
        LabelingError: One cannot be read, or the server does not take them.
    """
    with ExitStack() as opened:
        form: dict[str, tuple[str, Any, str]] = {}
        for i, (name, path) in enumerate(files):
            # A field each: of several files under one name, the server keeps the last.
            form[f"file{i}"] = (name, opened.enter_context(_open(path)), "image/*")
        client.ask(
            "upload images",
            "POST",
            f"api/projects/{project_id}/import",
            params={"commit_to_project": "false"},
            files=form,
            repeatable=False,
        )


def unreadable(path: Path, error: OSError) -> LabelingError:
    """Return the error of an image that cannot be read here."""
    return LabelingError(
        f"{path}: {error.strerror or error}. Put the image back, or remove the sample."
    )


def _open(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from error
