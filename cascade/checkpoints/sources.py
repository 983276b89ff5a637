"""Sources of weights, and fingerprints that identify them.

    package:NAME    a packaged folder in `cascade/weights`
    hub:ORG/NAME    a repository on the Hugging Face hub, at the member's `revision`
    release:FILE    a file of the ultralytics releases; `revision` is its sha256
    anything else   a folder or file on this machine

Only safetensors and text files are downloaded from a hub, never a pickle.
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
_HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.onnx")


def resolve(source: str | None, revision: str | None = None) -> Path | None:
    """Return the local folder or file of a manifest's `source`; None for None.

    Args:
        source: A source in one of the forms above.
        revision: The commit of a hub source, or the sha256 of a release file.

    Raises:
        CheckpointError: The source does not exist or cannot be downloaded.
    """
    if source is None:
        return None
    if source.startswith(PACKAGE):
        return _packaged(source.removeprefix(PACKAGE))
    if source.startswith(HUB):
        return _from_hub(source.removeprefix(HUB), revision)
    if source.startswith(RELEASE):
        return _from_release(source.removeprefix(RELEASE), revision)
    path = Path(source).expanduser()
    if not path.exists():
        raise CheckpointError(f"Cannot find a checkpoint at {path}.")
    return path


def is_remote(source: str | None) -> bool:
    """Return whether the weights of a source are downloaded."""
    return source is not None and source.startswith((HUB, RELEASE))


def fingerprint(path: Path) -> str:
    """Return a hash of a file, or of the files of a folder, 16 hex digits.

    Raises:
        CheckpointError: The path does not exist, is empty or cannot be read.
    """
    try:
        files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
        if not files:
            raise CheckpointError(f"Cannot find a checkpoint at {path}: the folder is empty.")
        digest = hashlib.sha256()
        for file in files:
            stat = file.stat()
            content = _sha256(file, stat.st_size, stat.st_mtime_ns)
            digest.update(f"{file.relative_to(path)} {content}\n".encode())
    except OSError as error:
        raise CheckpointError(f"Cannot read the checkpoint {path}: {error}.") from error
    return digest.hexdigest()[:16]


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, changed_ns: int) -> str:
    """Return the hash of a file, cached until its size or modification time changes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _packaged(name: str) -> Path:
    packaged = Path(str(resources.files("cascade") / "weights"))
    names = [folder.name for folder in packaged.iterdir() if folder.is_dir()]
    if name not in names:
        raise CheckpointError(f"No packaged weights are named {name!r}. {nearest(name, names)}")
    return packaged / name


def _from_hub(repository: str, revision: str | None) -> Path:
    try:
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=list(_HUB_FILES))
        )
    except GatedRepoError as error:
        raise CheckpointError(
            f"The weights {repository!r} are gated: accept their license on the model's hub page, "
            "and set HF_TOKEN to a token of your account."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise CheckpointError(f"The hub has no repository {repository!r}.") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"The weights {repository!r} are not on this machine, and downloading them from the "
            "hub failed. Connect to the internet once, or set `source` to the folder of a copy."
        ) from error


def _from_release(name: str, sha256: str | None) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cascade-curation"
    target = cache / name
    try:
        if not target.is_file():
            _download(f"{_RELEASES}/{name}", target)
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
    except (httpx.HTTPError, OSError) as error:
        raise CheckpointError(
            f"The weights {name!r} are not on this machine, and downloading them failed: {error}. "
            "Connect to the internet once, or set `source` to the path of a copy."
        ) from error
    if sha256 is not None and digest != sha256:
        raise CheckpointError(
            f"{target} differs from the manifest: expected sha256 {sha256}, got {digest}. "
            "Delete it to download it again, or correct `revision`."
        )
    return target


def _download(address: str, target: Path) -> None:
    """Download a file, completely or not at all."""
    with (
        atomic_write(target) as draft,
        draft.open("wb") as file,
        httpx.stream("GET", address, follow_redirects=True, timeout=60) as response,
    ):
        response.raise_for_status()
        for chunk in response.iter_bytes():
            file.write(chunk)
