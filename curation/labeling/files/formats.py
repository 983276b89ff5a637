"""File formats: layout of exported predictions, and reading of returned files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cascade.predictions import Detections
from cascade.runtime.atomic_files import atomic_write_text
from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling import export_folder
from curation.labeling.export_folder import TaskRow
from curation.labeling.files import coco, datumaro, returned, voc, yolo
from curation.labeling.submissions import Submission

Format = Literal["coco", "yolo", "voc", "datumaro"]
Images = Sequence[tuple[str, int, int, Detections]]  # file name, width, height, boxes

_NAME_FILES = ("data.yaml", "classes.txt")


@dataclass(frozen=True)
class FileFormat:
    """One format on disk.

    Attributes:
        instructions: What to put into `returned/`, for the annotator.
        write: Writes predictions to a folder, in the given classes.
        read: Returns the submissions in a folder by file name of the image, including names that
            match no row.
    """

    instructions: str
    write: Callable[[Path, Images, Sequence[str]], None]
    read: Callable[[Path, Sequence[TaskRow], Taxonomy], dict[str, Submission]]


def _write_coco(folder: Path, images: Images, classes: Sequence[str]) -> None:
    text = coco.dump(images, classes=classes, description="Predictions: a start")
    atomic_write_text(folder / "annotations.json", text)


def _read_coco(folder: Path, rows: Sequence[TaskRow], taxonomy: Taxonomy) -> dict[str, Submission]:
    sizes = {row.image: (row.width, row.height) for row in rows}

    def read(path: Path, text: str) -> dict[str, Submission]:
        return returned.read_coco(text, origin=str(path), taxonomy=taxonomy, sizes_wh=sizes)

    return _read_files(folder, "*.json", read)


def _write_yolo(folder: Path, images: Images, classes: Sequence[str]) -> None:
    atomic_write_text(folder / "data.yaml", yolo.dump_names(classes))
    for name, _, _, boxes in images:
        atomic_write_text(folder / "labels" / f"{Path(name).stem}.txt", yolo.dump(boxes))


def _read_yolo(folder: Path, rows: Sequence[TaskRow], taxonomy: Taxonomy) -> dict[str, Submission]:
    classes = _returned_names(folder) or taxonomy.names  # else in the exported order
    names = _image_by_stem(rows)

    def read(path: Path, text: str) -> dict[str, Submission]:
        if path.name in _NAME_FILES:
            return {}
        submission = returned.read_yolo(text, classes=classes, taxonomy=taxonomy)
        return {names.get(path.stem, path.name): submission}

    return _read_files(folder, "*.txt", read)


def _returned_names(folder: Path) -> Sequence[str]:
    """Return the class names from the first returned names file; empty if there is none."""
    for name in _NAME_FILES:
        for path in export_folder.find_files(folder, name):
            text = path.read_text(encoding="utf-8")
            return returned.read_yolo_names(text, origin=str(path))
    return ()


def _write_voc(folder: Path, images: Images, classes: Sequence[str]) -> None:
    atomic_write_text(folder / "labelmap.txt", voc.dump_label_map(classes))
    stems = "".join(f"{Path(name).stem}\n" for name, *_ in images)
    atomic_write_text(folder / "ImageSets" / "Main" / "default.txt", stems)
    for name, width, height, boxes in images:
        text = voc.dump(name, (width, height), boxes)
        atomic_write_text(folder / "Annotations" / f"{Path(name).stem}.xml", text)


def _read_voc(folder: Path, rows: Sequence[TaskRow], taxonomy: Taxonomy) -> dict[str, Submission]:
    names = _image_by_stem(rows)
    sizes = {row.image: (row.width, row.height) for row in rows}

    def read(path: Path, text: str) -> dict[str, Submission]:
        image = names.get(path.stem, path.name)
        size = sizes.get(image)
        return {image: returned.read_voc(text, origin=str(path), taxonomy=taxonomy, size_wh=size)}

    return _read_files(folder, "*.xml", read)


def _write_datumaro(folder: Path, images: Images, classes: Sequence[str]) -> None:
    text = datumaro.dump(images, classes=classes)
    atomic_write_text(folder / "annotations" / "default.json", text)


def _read_datumaro(
    folder: Path, rows: Sequence[TaskRow], taxonomy: Taxonomy
) -> dict[str, Submission]:
    names = _image_by_stem(rows)
    sizes = {Path(row.image).stem: (row.width, row.height) for row in rows}

    def read(path: Path, text: str) -> dict[str, Submission]:
        items = returned.read_datumaro(text, origin=str(path), taxonomy=taxonomy, sizes_wh=sizes)
        return {names.get(item, item): items[item] for item in items}

    return _read_files(folder, "*.json", read)


def _image_by_stem(rows: Iterable[TaskRow]) -> dict[str, str]:
    return {Path(row.image).stem: row.image for row in rows}


def _read_files(
    folder: Path, pattern: str, read: Callable[[Path, str], Mapping[str, Submission]]
) -> dict[str, Submission]:
    """Return the submissions of all matching files; an image in two of them is an error."""
    submissions: dict[str, Submission] = {}
    for path in export_folder.find_files(folder, pattern):
        more = read(path, path.read_text(encoding="utf-8"))
        repeated = sorted(submissions.keys() & more.keys())
        if repeated:
            raise LabelingError(
                f"{repeated[0]} was returned twice, the second time in {path}. Keep one of the two."
            )
        submissions |= more
    return submissions


# The instructions are part of exported files.
FORMATS: Mapping[Format, FileFormat] = {
    "coco": FileFormat(
        "Put COCO detection .json files into returned/. List only images that are done.\n",
        _write_coco,
        _read_coco,
    ),
    "yolo": FileFormat(
        "Put one YOLO .txt for each image that is done into returned/, and a data.yaml\n"
        "or classes.txt beside them if your tool numbers the classes in its own order.\n",
        _write_yolo,
        _read_yolo,
    ),
    "voc": FileFormat(
        "Put one Pascal VOC .xml for each image that is done into returned/.\n",
        _write_voc,
        _read_voc,
    ),
    "datumaro": FileFormat(
        "Put Datumaro .json files into returned/. List only images that are done.\n",
        _write_datumaro,
        _read_datumaro,
    ),
}
