"""Rendered drives on disk as a COCO dataset, written atomically."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2

from curation.demo.domain import DEPLOYMENT, Domain
from curation.demo.drive import drive_scenes
from curation.demo.scene import CLASSES, HEIGHT, WIDTH, Scene

RENDERER = 1  # incremented when the same seed renders different images
SPLITS = ("train", "val", "test")
QUICKSTART_DRIVES = {"train": 34, "val": 10, "test": 20}  # about 500 images
_JPEG_QUALITY = 90
_STAMP = "demo.json"


class DemoFolderError(FileExistsError):
    """The folder contains something else, which is not overwritten."""


def write_dataset(
    folder: str | Path,
    *,
    n_drives_by_split: Mapping[str, int],
    seed: int,
    domain: Domain = DEPLOYMENT,
) -> Path:
    """Render drives into a folder and return it.

    The folder contains `images/drive0003_002.jpg` and so on, `annotations.json` and the stamp
    `demo.json`. The annotations are COCO; each image entry also has `drive`, `time_s`, `split`,
    `time_of_day` and `weather`. All frames of a drive belong to one split. The same arguments give
    the same bytes. The folder appears when it is complete; a folder with the same stamp is reused.

    Args:
        folder: Destination; missing parents are created.
        n_drives_by_split: Number of drives for each of train, val and test.
        seed: Random seed of the rendered world.
        domain: Distribution that the drives are drawn from.

    Raises:
        DemoFolderError: The folder contains something else.
        ValueError: A split name is unknown, or no drive is requested.
    """
    folder = Path(folder)
    stamp = _stamp(n_drives_by_split, seed, domain)
    if _exists(folder, stamp):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _fill(unfinished, n_drives_by_split, seed, domain)
        (unfinished / _STAMP).write_text(stamp)
        unfinished.chmod(0o755)
        if folder.is_dir():
            folder.rmdir()  # empty, as `_exists` checked
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return folder


def write_quickstart(folder: str | Path, *, seed: int) -> Path:
    """Render the drives of the quickstart, from `DEPLOYMENT`; see `write_dataset`."""
    return write_dataset(folder, n_drives_by_split=QUICKSTART_DRIVES, seed=seed)


def _stamp(n_drives_by_split: Mapping[str, int], seed: int, domain: Domain) -> str:
    unknown = sorted(set(n_drives_by_split) - set(SPLITS))
    if unknown:
        raise ValueError(f"n_drives_by_split accepts {', '.join(SPLITS)}, got {unknown[0]!r}.")
    drives = {split: int(n_drives_by_split.get(split, 0)) for split in SPLITS}
    if min(drives.values()) < 0 or not sum(drives.values()):
        raise ValueError(
            "n_drives_by_split must request at least one drive, and 0 or more in each split, "
            f"got {drives}."
        )
    content = {"renderer": RENDERER, "seed": seed, "drives": drives, "domain": asdict(domain)}
    return json.dumps(content, indent=1) + "\n"


def _exists(folder: Path, stamp: str) -> bool:
    if not folder.exists():
        return False
    path = folder / _STAMP
    if path.is_file() and path.read_text() == stamp:
        return True
    if folder.is_dir() and not any(folder.iterdir()):
        return False
    raise DemoFolderError(
        f"{folder} exists and does not contain these drives. Remove it, or choose another folder."
    )


def _fill(folder: Path, n_drives_by_split: Mapping[str, int], seed: int, domain: Domain) -> None:
    (folder / "images").mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    first = 0
    for split in SPLITS:
        count = int(n_drives_by_split.get(split, 0))
        for drive_index in range(first, first + count):
            for scene in drive_scenes(seed, drive_index, domain=domain):
                images.append(_write_image(folder, scene, split, number=len(images) + 1))
                annotations += _annotations(scene, len(images), first=len(annotations) + 1)
        first += count
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))


def _write_image(folder: Path, scene: Scene, split: str, *, number: int) -> dict[str, Any]:
    """Write one image and return its COCO entry."""
    name = f"{scene.drive}_{scene.frame:03d}.jpg"
    bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    (folder / "images" / name).write_bytes(data.tobytes())
    return {
        "id": number,
        "file_name": f"images/{name}",
        "width": WIDTH,
        "height": HEIGHT,
        "drive": scene.drive,
        "time_s": scene.time_s,
        "split": split,
        "time_of_day": scene.time_of_day,
        "weather": scene.weather,
    }


def _annotations(scene: Scene, image_id: int, *, first: int) -> list[dict[str, Any]]:
    """Return the COCO entries of an image's boxes, numbered from `first`."""
    entries: list[dict[str, Any]] = []
    for label, box in zip(scene.labels, scene.boxes_xyxy.tolist(), strict=True):
        x0, x1 = (round(part * WIDTH, 2) for part in box[0::2])
        y0, y1 = (round(part * HEIGHT, 2) for part in box[1::2])
        bbox = [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)]
        entries.append(
            {
                "id": first + len(entries),
                "image_id": image_id,
                "category_id": CLASSES.index(label) + 1,
                "bbox": bbox,
                "area": round(bbox[2] * bbox[3], 2),
                "iscrowd": 0,
            }
        )
    return entries
