"""How the server gets to see the images: whatever costs least and is sure to work.

1. An image that lies in a cloud, or on a web server, stays where it is.
2. One that lies below the folder that the server serves files from is served from there. That
   the server sees the very same file is checked by fetching one of each folder.
3. Anything else is uploaded, under the sample's id, so that a second call finds it there.

The files are handed over as they are: a browser turns them upright by their EXIF. Where things
are to be hidden in them, all are uploaded, as blurred copies: those who label see no other.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from curation.errors import LabelingError
from curation.labeling.blur import Blur
from curation.labeling.export_folder import explained
from curation.labeling.label_studio.api import uploads
from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.errors import RefusedError, TooLargeError, UnsureError
from curation.labeling.protocol import Task

logger = logging.getLogger(__name__)

_ELSEWHERE = re.compile(r"(s3|gs|gcs|azure-blob|azure|https?)://", re.IGNORECASE)
_OWN_PREFIX = re.compile(r"[0-9a-f]{8}-")  # what the server puts before an uploaded file's name
_BYTES_AT_ONCE = 64 * 2**20


@dataclass(frozen=True)
class Delivery:
    """How the server gets the images of some tasks.

    Attributes:
        addresses: What a task says its image is, by sample id.
        elsewhere: Images that stay in their cloud or on their web server.
        served: Images that the server reads from its own disk.
        uploaded: Images that were uploaded, now or before.
        blurred: What was hidden in each, in words; empty where nothing was to be.
    """

    addresses: Mapping[str, str]
    elsewhere: int
    served: int
    uploaded: int
    blurred: Mapping[str, str]


def deliver(
    client: Client,
    project_id: int,
    tasks: Sequence[Task],
    *,
    document_root: Path | None = None,
    blur: Blur | None = None,
) -> Delivery:
    """Make sure that the server sees every image, and return where.

    Args:
        client: The server.
        project_id: Whose images they are.
        tasks: The tasks; no two of one sample.
        document_root: The folder that the server serves files from; None to ask it.
        blur: What hides things in copies; None to hand images over as they are.

    Raises:
        LabelingError: An image is not there, the server does not take it, or it lies where
            nothing can be hidden in it.
    """
    elsewhere = {one.sample_id: one.filepath for one in tasks if _ELSEWHERE.match(one.filepath)}
    here = {one.sample_id: Path(one.filepath) for one in tasks if one.sample_id not in elsewhere}
    if blur:
        _refuse_to_blur(elsewhere)
        return _deliver_blurred(client, project_id, here, blur)
    served = _serve(client, project_id, here, document_root) if here else {}
    rest = {one: path for one, path in here.items() if one not in served}
    uploaded = _upload(client, project_id, rest) if rest else {}
    return Delivery(
        addresses=elsewhere | served | uploaded,
        elsewhere=len(elsewhere),
        served=len(served),
        uploaded=len(uploaded),
        blurred={},
    )


def folders_below(root: Path, files: Iterable[Path]) -> list[Path]:
    """Return the fewest folders, none of them the root itself, that hold all files below it.

    Files that lie in the root itself are passed over: the server serves none of those.
    """
    parents = {file.parent for file in files if root in file.parent.parents}
    if not parents:
        return []
    common = Path(os.path.commonpath(parents))
    if common != root:
        return [common]
    return sorted({root / parent.relative_to(root).parts[0] for parent in parents})


def _refuse_to_blur(elsewhere: Mapping[str, str]) -> None:
    if elsewhere:
        raise LabelingError(
            f"{len(elsewhere)} images lie in a cloud or on a web server, where nothing can be "
            f"hidden in them, such as {next(iter(elsewhere.values()))}. Push without `--blur`, "
            "or ingest copies of them."
        )


def _deliver_blurred(
    client: Client, project_id: int, here: Mapping[str, Path], blur: Blur
) -> Delivery:
    """Upload copies in which things are hidden, however well the server sees the originals."""
    with tempfile.TemporaryDirectory(prefix="curation-blurred-") as name:
        place = Path(name)
        with explained(place):
            copies = {
                one: blur.outgoing(path, place / _name(one, path)) for one, path in here.items()
            }
        addresses = _upload(client, project_id, copies, mark="-blurred")
    return Delivery(
        addresses=addresses,
        elsewhere=0,
        served=0,
        uploaded=len(addresses),
        blurred={one: blur.record(path) for one, path in here.items()},
    )


def _serve(
    client: Client, project_id: int, files: Mapping[str, Path], document_root: Path | None
) -> dict[str, str]:
    """Return the addresses of the files that the server can read by itself."""
    root = document_root or _ask_for_root(client, project_id)
    if root is None:
        return {}
    inside = {one: found for one, path in files.items() if (found := _inside(root, path))}
    addresses: dict[str, str] = {}
    for folder in folders_below(root, inside.values()):
        below = {one: path for one, path in inside.items() if folder in path.parents}
        if _sees(client, project_id, root, folder, next(iter(below.values()))):
            addresses |= {one: _address(root, path) for one, path in below.items()}
    return addresses


def _ask_for_root(client: Client, project_id: int) -> Path | None:
    named = uploads.document_root(client, project_id)
    root = Path(named) if named else None
    return root if root and root.is_absolute() and root != Path("/") else None


def _inside(root: Path, path: Path) -> Path | None:
    """Return the file's path below the root, through links where need be."""
    return next((one for one in (path.absolute(), path.resolve()) if root in one.parents), None)


def _sees(client: Client, project_id: int, root: Path, folder: Path, probe: Path) -> bool:
    """Return whether the server serves what lies in a folder, and the same as lies here."""
    covered = any(
        folder == Path(one) or Path(one) in folder.parents
        for one in uploads.folders(client, project_id)
    )
    try:
        if not covered:
            uploads.add_folder(client, project_id, str(folder))
        same = client.fetch(_address(root, probe)) == probe.read_bytes()
    except OSError as error:
        raise uploads.unreadable(probe, error) from error
    except RefusedError as error:
        logger.info("The server does not serve %s: %s", folder, error)
        same = False
    if not same:
        logger.info("The server does not see %s as it is here: its images are uploaded.", folder)
    return same


def _address(root: Path, path: Path) -> str:
    return f"/data/local-files/?d={quote(path.relative_to(root).as_posix())}"


def _upload(
    client: Client, project_id: int, paths: Mapping[str, Path], mark: str = ""
) -> dict[str, str]:
    """Upload what the server does not have, and return all addresses.

    Args:
        client: The server.
        project_id: Whose images they are.
        paths: The file of each sample.
        mark: What tells these uploads from others of the same samples.
    """
    names = {one: _name(one + mark, path) for one, path in paths.items()}
    sizes = {one: _size(path) for one, path in paths.items()}
    waits_s = client.retrying.waits_s()
    while True:
        there = _uploaded(client, project_id)
        missing = [one for one in paths if (names[one], sizes[one]) not in there]
        if not missing:
            return {one: there[names[one], sizes[one]] for one in paths}
        try:
            for batch in _batches(missing, sizes):
                _send(client, project_id, [(names[one], paths[one]) for one in batch])
        except UnsureError as error:
            wait_s = next(waits_s, None)
            if wait_s is None:
                raise LabelingError(f"{error} Repeat: nothing is uploaded twice.") from None
            client.pause(wait_s)
            continue
        if next(waits_s, None) is None:
            raise LabelingError(
                f"Label Studio at {client.url} took {len(missing)} images and does not list them. "
                "Look whether its disk is full."
            )


def _send(client: Client, project_id: int, files: Sequence[tuple[str, Path]]) -> None:
    """Upload a batch, in halves where it is too large for one request."""
    try:
        uploads.upload(client, project_id, files)
    except TooLargeError:
        if len(files) == 1:
            raise LabelingError(
                f"{files[0][1]} is too large for Label Studio at {client.url}, or for a proxy "
                "before it (413). Raise its limit, or make the image smaller."
            ) from None
        middle = len(files) // 2
        _send(client, project_id, files[:middle])
        _send(client, project_id, files[middle:])


def _uploaded(client: Client, project_id: int) -> dict[tuple[str, int], str]:
    """Return the addresses of what was uploaded, by name and size; of two, the older one's."""
    found: dict[tuple[str, int], str] = {}
    for row in uploads.uploads(client, project_id):
        path = str(row["file"])
        name = _OWN_PREFIX.sub("", path.rpartition("/")[2], count=1)
        found.setdefault((name, int(row["size"] or 0)), f"/data/{path}")
    return found


def _batches(sample_ids: Sequence[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    batch: list[str] = []
    weight = 0
    for one in sample_ids:
        if batch and (len(batch) == uploads.FILES_AT_ONCE or weight + sizes[one] > _BYTES_AT_ONCE):
            yield batch
            batch, weight = [], 0
        batch.append(one)
        weight += sizes[one]
    if batch:
        yield batch


def _name(sample_id: str, path: Path) -> str:
    """Return a name that the server leaves as it is."""
    return re.sub(r"[^A-Za-z0-9-]", "_", sample_id) + path.suffix.lower()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise uploads.unreadable(path, error) from error
