"""Where a member's weights come from, and what identifies them.

    package:NAME    a folder that ships in `cascade/weights`
    hub:ORG/NAME    a repository of the Hugging Face hub, at the member's `revision`
    release:FILE    a file of ultralytics' releases; `revision` is its sha256
    anything else   a folder or file of this machine

From a hub, safetensors and text are fetched, never a pickle.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from importlib import resources
from pathlib import Path

import httpx
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from cascade.errors import CheckpointError, nearest
from cascade.runtime.atomic_files import atomic_write

PACKAGE, HUB, RELEASE = "package:", "hub:", "release:"
_RELEASES = "https://github.com/ultralytics/assets/releases/download/v8.4.0"
_OF_THE_HUB = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.onnx")


def resolve(source: str | None, revision: str | None = None) -> Path | None:
    """Return the folder or file that a manifest's `source` means, or None for None.

    Args:
        source: See above.
        revision: The commit of a hub source, or the sha256 of a release file.

    Raises:
        CheckpointError: There is no such thing, or it cannot be had from here.
    """
    if source is None:
        return None
    if source.startswith(PACKAGE):
        return _packaged(source.removeprefix(PACKAGE))
    if source.startswith(HUB):
        return _of_the_hub(source.removeprefix(HUB), revision)
    if source.startswith(RELEASE):
        return _release(source.removeprefix(RELEASE), revision)
    path = Path(source).expanduser()
    if not path.exists():
        raise CheckpointError(f"There is no checkpoint at {path}.")
    return path


def is_remote(source: str | None) -> bool:
    """Tell whether a source names weights that are fetched from elsewhere."""
    return source is not None and source.startswith((HUB, RELEASE))


def fingerprint(path: Path) -> str:
    """Return 16 hex digits that are equal exactly when the file, or the folder's files, are.

    Raises:
        CheckpointError: There is nothing, or it cannot be read.
    """
    try:
        files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        if not files:
            raise CheckpointError(f"There is no checkpoint at {path}: the folder is empty.")
        digest = hashlib.sha256()
        for one in files:
            stat = one.stat()
            content = _sha256(one, stat.st_size, stat.st_mtime_ns)
            digest.update(f"{one.relative_to(path)} {content}\n".encode())
    except OSError as error:
        raise CheckpointError(f"The checkpoint {path} cannot be read: {error}.") from error
    return digest.hexdigest()[:16]


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, changed_ns: int) -> str:
    """Return the hash of a file; size and time of change stand for its content meanwhile."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _packaged(name: str) -> Path:
    shipped = Path(str(resources.files("cascade") / "weights"))
    known = sorted(one.name for one in shipped.iterdir() if one.is_dir())
    if name not in known:
        raise CheckpointError(f"No weights are packaged as {name!r}. {nearest(name, known)}")
    return shipped / name


def _of_the_hub(repository: str, revision: str | None) -> Path:
    try:
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=list(_OF_THE_HUB))
        )
    except GatedRepoError as error:
        raise CheckpointError(
            f"The weights {repository!r} are gated: accept their licence on the hub's page of the "
            "model, and set HF_TOKEN to a token of that account."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise CheckpointError(f"The hub has no repository {repository!r}.") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"The weights {repository!r} are not on this machine and could not be fetched from the "
            "hub. Connect it once, or give the folder of a copy as `source`."
        ) from error


def _release(name: str, sha256: str | None) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cascade-curation"
    target = cache / name
    try:
        if not target.is_file():
            _download(f"{_RELEASES}/{name}", target)
        found = hashlib.sha256(target.read_bytes()).hexdigest()
    except (httpx.HTTPError, OSError) as error:
        raise CheckpointError(
            f"The weights {name!r} are not on this machine and could not be fetched: {error}. "
            "Connect it once, or give the path of a copy as `source`."
        ) from error
    if sha256 is not None and found != sha256:
        raise CheckpointError(
            f"{target} is not what the manifest announces: expected sha256 {sha256}, got {found}. "
            "Delete it to fetch it again, or correct `revision`."
        )
    return target


def _download(address: str, target: Path) -> None:
    """Fetch a file, whole or not at all."""
    with (
        atomic_write(target) as draft,
        draft.open("wb") as file,
        httpx.stream("GET", address, follow_redirects=True, timeout=60) as answer,
    ):
        answer.raise_for_status()
        for chunk in answer.iter_bytes():
            file.write(chunk)
