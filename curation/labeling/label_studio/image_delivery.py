"""Delivery of images to the server, by the cheapest way that works.

1. An image in a cloud or on a web server stays there.
2. An image below the folder that the server serves files from is served from there. One image of
   each folder is fetched to verify that the server sees the same file.
3. All other images are uploaded under their sample id, by which a second call finds them.

Files are delivered unchanged; browsers rotate them upright by their EXIF. With blurring, all
images are uploaded as blurred copies, and annotators see no originals.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import quote

from curation.errors import LabelingError
from curation.labeling.blur import Blur
from curation.labeling.export_folder import translate_file_errors
from curation.labeling.label_studio.api import uploads
from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.errors import (
    BadRequestError,
    TooLargeError,
    UnknownOutcomeError,
)
from curation.labeling.label_studio.batching import batches, send_in_halves
from curation.labeling.protocol import Task

logger = logging.getLogger(__name__)

_REMOTE = re.compile(r"(s3|gs|gcs|azure-blob|azure|https?)://", re.IGNORECASE)
_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-")  # added by the server to names of uploaded files
_MAX_BATCH_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Delivery:
    """Delivered images of some tasks.

    Attributes:
        addresses: Image address in the task, by sample id.
        remote: Number of images that stay in a cloud or on a web server.
        served: Number of images that the server reads from its own disk.
        uploaded: Number of images that were uploaded, now or before.
        blurred: What was blurred in each image, by sample id; empty if nothing was.
    """

    addresses: Mapping[str, str]
    remote: int
    served: int
    uploaded: int
    blurred: Mapping[str, str] = field(default_factory=dict)


def deliver(
    client: Client,
    project_id: int,
    tasks: Sequence[Task],
    *,
    document_root: Path | None = None,
    blur: Blur | None = None,
) -> Delivery:
    """Make every image available to the server, and return the addresses.

    Args:
        client: Connection to the server.
        project_id: Id of the project.
        tasks: The tasks, of distinct samples.
        document_root: Folder that the server serves files from; None to ask the server.
        blur: Blur for the copies; None to deliver images unchanged.

    Raises:
        LabelingError: An image is missing, the server rejects it, or a remote image cannot be
            blurred.
    """
    remote = {task.sample_id: task.filepath for task in tasks if _REMOTE.match(task.filepath)}
    local = {t.sample_id: Path(t.filepath) for t in tasks if t.sample_id not in remote}
    if blur:
        _refuse_to_blur(remote)
        return _deliver_blurred(client, project_id, local, blur)
    served = _serve(client, project_id, local, document_root) if local else {}
    remaining = {sample_id: path for sample_id, path in local.items() if sample_id not in served}
    uploaded = _upload(client, project_id, remaining) if remaining else {}
    addresses = remote | served | uploaded
    return Delivery(addresses, len(remote), len(served), len(uploaded))


def folders_below(root: Path, files: Iterable[Path]) -> list[Path]:
    """Return the fewest folders below the root that contain all files below it.

    The root itself is not returned, and files directly in it are skipped: the server serves none
    of those.
    """
    parents = {file.parent for file in files if root in file.parent.parents}
    if not parents:
        return []
    common = Path(os.path.commonpath(parents))
    if common != root:
        return [common]
    return sorted({root / parent.relative_to(root).parts[0] for parent in parents})


def _refuse_to_blur(remote: Mapping[str, str]) -> None:
    if remote:
        raise LabelingError(
            f"{len(remote)} images are in cloud storage or on a web server and cannot be blurred, "
            f"such as {next(iter(remote.values()))}. Push without `--blur`, or ingest copies."
        )


def _deliver_blurred(
    client: Client, project_id: int, paths: Mapping[str, Path], blur: Blur
) -> Delivery:
    """Upload blurred copies, even if the server could read the originals."""
    with tempfile.TemporaryDirectory(prefix="curation-blurred-") as name:
        folder = Path(name)
        with translate_file_errors(folder):
            copies = {
                sample_id: blur.prepare(path, folder / _upload_name(sample_id, path))
                for sample_id, path in paths.items()
            }
        addresses = _upload(client, project_id, copies, suffix="-blurred")
    blurred = {sample_id: blur.summary(path) for sample_id, path in paths.items()}
    return Delivery(addresses, 0, 0, len(addresses), blurred)


def _serve(
    client: Client, project_id: int, paths: Mapping[str, Path], document_root: Path | None
) -> dict[str, str]:
    """Return the addresses of the files that the server can read from its disk."""
    root = document_root or _ask_for_root(client, project_id)
    if root is None:
        return {}
    inside = {
        sample_id: below for sample_id, path in paths.items() if (below := _path_below(root, path))
    }
    addresses: dict[str, str] = {}
    for folder in folders_below(root, inside.values()):
        files = {sample_id: path for sample_id, path in inside.items() if folder in path.parents}
        if _is_served(client, project_id, root, folder, next(iter(files.values()))):
            addresses |= {sample_id: _address(root, path) for sample_id, path in files.items()}
    return addresses


def _ask_for_root(client: Client, project_id: int) -> Path | None:
    name = uploads.document_root(client, project_id)
    root = Path(name) if name else None
    return root if root and root.is_absolute() and root != Path("/") else None


def _path_below(root: Path, path: Path) -> Path | None:
    """Return the file's path below the root, following links if necessary."""
    candidates = (path.absolute(), path.resolve())
    return next((candidate for candidate in candidates if root in candidate.parents), None)


def _is_served(client: Client, project_id: int, root: Path, folder: Path, probe: Path) -> bool:
    """Return whether the server serves a folder, with the same content as on this machine."""
    covered = any(
        folder == Path(served) or Path(served) in folder.parents
        for served in uploads.folders(client, project_id)
    )
    try:
        if not covered:
            uploads.add_folder(client, project_id, str(folder))
        same = client.fetch(_address(root, probe)) == probe.read_bytes()
    except OSError as error:
        raise uploads.unreadable(probe, error) from error
    except BadRequestError as error:
        logger.info("The server does not serve %s: %s", folder, error)
        same = False
    if not same:
        logger.info("The server does not see %s as on this machine; uploading images.", folder)
    return same


def _address(root: Path, path: Path) -> str:
    return f"/data/local-files/?d={quote(path.relative_to(root).as_posix())}"


def _upload(
    client: Client, project_id: int, paths: Mapping[str, Path], suffix: str = ""
) -> dict[str, str]:
    """Upload the files that the server does not have, and return all addresses.

    Args:
        client: Connection to the server.
        project_id: Id of the project.
        paths: File of each sample.
        suffix: Suffix that distinguishes these uploads from others of the same samples.
    """
    names = {sample_id: _upload_name(sample_id + suffix, path) for sample_id, path in paths.items()}
    sizes = {sample_id: _size(path) for sample_id, path in paths.items()}
    delays_s = client.retry_policy.delays_s()
    send = partial(_send, client, project_id)
    while True:
        uploaded = _uploaded(client, project_id)
        missing = [key for key in paths if (names[key], sizes[key]) not in uploaded]
        if not missing:
            return {key: uploaded[names[key], sizes[key]] for key in paths}
        try:
            for batch in batches(
                missing,
                sizes.__getitem__,
                max_size=_MAX_BATCH_BYTES,
                max_count=uploads.MAX_FILES,
            ):
                send_in_halves([(names[key], paths[key]) for key in batch], send)
        except UnknownOutcomeError as error:
            delay_s = next(delays_s, None)
            if delay_s is None:
                raise LabelingError(f"{error} Repeat: uploads are idempotent.") from None
            time.sleep(delay_s)
            continue
        if next(delays_s, None) is None:
            raise LabelingError(
                f"Label Studio at {client.url} accepted {len(missing)} images but does not list "
                "them. Check whether its disk is full."
            )


def _send(client: Client, project_id: int, files: Sequence[tuple[str, Path]]) -> None:
    try:
        uploads.upload(client, project_id, files)
    except TooLargeError:
        if len(files) > 1:
            raise
        raise LabelingError(
            f"{files[0][1]} is too large for Label Studio at {client.url}, or for a proxy in front "
            "of it (413). Raise the limit, or reduce the image."
        ) from None


def _uploaded(client: Client, project_id: int) -> dict[tuple[str, int], str]:
    """Return the addresses of uploaded files by name and size; the older of two duplicates."""
    addresses: dict[tuple[str, int], str] = {}
    for row in uploads.uploads(client, project_id):
        path = str(row["file"])
        name = _UPLOAD_PREFIX.sub("", path.rpartition("/")[2], count=1)
        addresses.setdefault((name, int(row["size"] or 0)), f"/data/{path}")
    return addresses


def _upload_name(sample_id: str, path: Path) -> str:
    """Return a file name that the server does not change."""
    return re.sub(r"[^A-Za-z0-9-]", "_", sample_id) + path.suffix.lower()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise uploads.unreadable(path, error) from error
