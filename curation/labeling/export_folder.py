"""Folder of an exported round: task list, upright image copies, and safe reads."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from PIL import ImageOps

from cascade.errors import ImageError
from cascade.imaging import batches, pillow
from cascade.runtime.atomic_files import atomic_write, atomic_write_text
from curation.errors import LabelingError
from curation.labeling.protocol import Task

TASKS = "tasks.csv"

_ORIENTATION = 0x0112  # the EXIF tag; 1 is upright
_QUALITY = 95  # JPEG


@dataclass(frozen=True)
class TaskRow:
    """One row of `tasks.csv`.

    Attributes:
        image: File name of the image in the export and in returned files.
        sample_id: Sample id.
        filepath: Path of the original image.
        width: Width of the upright image, in pixels.
        height: Height of the upright image, in pixels.
        round: Number of the round.
        rank: Rank in the batch.
        arm: Arm that chose the sample.
        hardness: Hardness at the time of the export; may be empty.
        because: Reason for the choice, in words.
        blurred: What was blurred in the copy; empty if nothing was.
    """

    image: str
    sample_id: str
    filepath: str
    width: int
    height: int
    round: int
    rank: int
    arm: str
    hardness: str
    because: str
    blurred: str = ""

    @classmethod
    def from_task(cls, task: Task, image: str) -> TaskRow:
        """Return the row of a task whose image is exported as `image`."""
        shared = {name: getattr(task, name) for name in _COLUMNS if name in Task.__annotations__}
        hardness = "" if task.hardness is None else repr(task.hardness)
        return cls(**{**shared, "image": image, "hardness": hardness})


_COLUMNS = [field.name for field in fields(TaskRow)]
_NUMBERS = ("width", "height", "round", "rank")


def read_rows(folder: Path) -> list[TaskRow]:
    """Return the tasks of an exported round; empty if it was not exported.

    Raises:
        LabelingError: The list was edited and cannot be parsed.
    """
    path = folder / TASKS
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [_parse_row(row, path) for row in csv.DictReader(file)]


def write_rows(folder: Path, rows: Sequence[TaskRow]) -> None:
    """Replace the list of tasks atomically."""
    text = io.StringIO()
    # "\r\n" makes the writer quote both characters inside of values.
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    atomic_write_text(folder / TASKS, text.getvalue())


def copy_upright(source: Path, target: Path) -> None:
    """Copy an image, rotated upright by its EXIF orientation: tools differ in honoring it.

    Raises:
        LabelingError: The image is missing, or cannot be decoded.
    """
    try:
        batches.read(source)
        with pillow.open_image(source) as image, atomic_write(target) as draft:
            if image.getexif().get(_ORIENTATION, 1) == 1:
                shutil.copyfile(source, draft)
            else:
                upright = ImageOps.exif_transpose(image)
                upright.save(draft, format=image.format, quality=_QUALITY)
    except ImageError as error:
        raise unreadable_image(error) from error


def unreadable_image(error: ImageError) -> LabelingError:
    """Return the error of an image that cannot be exported."""
    return LabelingError(f"{error} Restore the image, or remove the sample.")


def find_files(folder: Path, pattern: str) -> list[Path]:
    """Return the files below `folder` that match, sorted and without hidden ones.

    Raises:
        LabelingError: A file is a link that leads out of the folder.
    """
    root = folder.resolve()
    paths = [path for path in sorted(folder.rglob(pattern)) if not path.name.startswith(".")]
    for path in paths:
        if not path.resolve().is_relative_to(root):
            raise LabelingError(f"{path} leads out of {folder}. Put the file itself there.")
    return [path for path in paths if path.is_file()]


@contextmanager
def translate_file_errors(folder: Path) -> Iterator[None]:
    """Raise errors of the disk or of an encoding as one sentence about `folder`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise LabelingError(
            f"{error.filename or folder}: {reason}. Free disk space or fix the permissions, "
            "and repeat: the operation is idempotent."
        ) from error
    except UnicodeDecodeError as error:
        raise LabelingError(f"A file in {folder} is not UTF-8 text: {error}.") from error


def _parse_row(row: Mapping[str, str], path: Path) -> TaskRow:
    try:
        values = {
            name: int(row[name]) if name in _NUMBERS else row[name]
            for name in _COLUMNS
            if name != "blurred"
        }
        # The column `blurred` is missing in lists of earlier versions.
        return TaskRow(**values, blurred=row.get("blurred") or "")  # type: ignore[arg-type]
    except (KeyError, ValueError, TypeError) as error:
        raise LabelingError(
            f"{path} was edited and cannot be parsed ({type(error).__name__}: {error}). "
            "Remove it and export the round again; returned files are kept."
        ) from error
