"""The file formats: how predictions are laid out for a tool, and how what it returned is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cascade.predictions import Detections
from cascade.runtime.atomic_files import replace_text
from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling import export_folder
from curation.labeling.export_folder import Row
from curation.labeling.files import coco, datumaro, voc, yolo
from curation.labeling.submissions import Submission

Format = Literal["coco", "yolo", "voc", "datumaro"]
Images = Sequence[tuple[str, int, int, Detections]]  # file name, width, height, boxes

_CLASS_FILES = ("data.yaml", "classes.txt")


@dataclass(frozen=True)
class FileFormat:
    """One format on disk.

    Attributes:
        how: What to put into `returned/`, for the one who labels.
        write: Lays out predictions in a folder, in the given classes.
        read: Returns what lies in a folder, by file name of the image; names that belong to no
            row among them.
    """

    how: str
    write: Callable[[Path, Images, Sequence[str]], None]
    read: Callable[[Path, Sequence[Row], Taxonomy], dict[str, Submission]]


def _write_coco(place: Path, images: Images, classes: Sequence[str]) -> None:
    text = coco.dump(images, classes=classes, description="Predictions: a start")
    replace_text(place / "annotations.json", text)


def _read_coco(returned: Path, rows: Sequence[Row], taxonomy: Taxonomy) -> dict[str, Submission]:
    sizes = {row.image: (row.width, row.height) for row in rows}
    return _joined(
        (
            path,
            coco.parse(
                path.read_text(encoding="utf-8"),
                origin=str(path),
                taxonomy=taxonomy,
                sizes_wh=sizes,
            ),
        )
        for path in export_folder.within(returned, "*.json")
    )


def _write_yolo(place: Path, images: Images, classes: Sequence[str]) -> None:
    replace_text(place / "data.yaml", yolo.dump_classes(classes))
    for name, _, _, boxes in images:
        replace_text(place / "labels" / f"{Path(name).stem}.txt", yolo.dump(boxes))


def _read_yolo(returned: Path, rows: Sequence[Row], taxonomy: Taxonomy) -> dict[str, Submission]:
    classes = _returned_classes(returned) or taxonomy.names  # else as they were given to the tool
    names = _by_stem(rows)
    return _joined(
        (
            path,
            {
                names.get(path.stem, path.name): yolo.parse(
                    path.read_text(encoding="utf-8"), classes=classes, taxonomy=taxonomy
                )
            },
        )
        for path in export_folder.within(returned, "*.txt")
        if path.name not in _CLASS_FILES
    )


def _returned_classes(returned: Path) -> Sequence[str]:
    """Return what class numbers mean as the tool says; nothing where it says nothing."""
    for name in _CLASS_FILES:
        for path in export_folder.within(returned, name):
            text = path.read_text(encoding="utf-8")
            return yolo.parse_classes(text, origin=str(path))
    return ()


def _write_voc(place: Path, images: Images, classes: Sequence[str]) -> None:
    replace_text(place / "labelmap.txt", voc.dump_classes(classes))
    stems = "".join(f"{Path(name).stem}\n" for name, *_ in images)
    replace_text(place / "ImageSets" / "Main" / "default.txt", stems)
    for name, width, height, boxes in images:
        text = voc.dump(name, (width, height), boxes)
        replace_text(place / "Annotations" / f"{Path(name).stem}.xml", text)


def _read_voc(returned: Path, rows: Sequence[Row], taxonomy: Taxonomy) -> dict[str, Submission]:
    names = _by_stem(rows)
    sizes = {row.image: (row.width, row.height) for row in rows}
    found = []
    for path in export_folder.within(returned, "*.xml"):
        image = names.get(path.stem, path.name)
        one = voc.parse(
            path.read_text(encoding="utf-8"),
            origin=str(path),
            taxonomy=taxonomy,
            size_wh=sizes.get(image),
        )
        found.append((path, {image: one}))
    return _joined(found)


def _write_datumaro(place: Path, images: Images, classes: Sequence[str]) -> None:
    text = datumaro.dump(images, classes=classes)
    replace_text(place / "annotations" / "default.json", text)


def _read_datumaro(
    returned: Path, rows: Sequence[Row], taxonomy: Taxonomy
) -> dict[str, Submission]:
    names = _by_stem(rows)
    sizes = {Path(row.image).stem: (row.width, row.height) for row in rows}
    found = []
    for path in export_folder.within(returned, "*.json"):
        items = datumaro.parse(
            path.read_text(encoding="utf-8"), origin=str(path), taxonomy=taxonomy, sizes_wh=sizes
        )
        found.append((path, {names.get(item, item): one for item, one in items.items()}))
    return _joined(found)


def _by_stem(rows: Iterable[Row]) -> dict[str, str]:
    """Return the image of each name without its ending."""
    return {Path(row.image).stem: row.image for row in rows}


def _joined(found: Iterable[tuple[Path, Mapping[str, Submission]]]) -> dict[str, Submission]:
    """Return what several files say; an image that two of them hold is refused."""
    submissions: dict[str, Submission] = {}
    for path, more in found:
        twice = sorted(submissions.keys() & more.keys())
        if twice:
            raise LabelingError(
                f"{twice[0]} came back twice, the second time in {path}. Keep one of the two."
            )
        submissions |= more
    return submissions


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
