"""The folder of an exported round: its list of tasks, its images, and reading safely from it."""

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
from cascade.runtime.atomic_files import replace_text, replaced
from curation.errors import LabelingError
from curation.labeling.protocol import Task

TASKS = "tasks.csv"

_ORIENTATION = 0x0112  # the EXIF tag; 1 is upright
_UPRIGHT_QUALITY = 95


@dataclass(frozen=True)
class Row:
    """One line of `tasks.csv`.

    Attributes:
        image: The file name that the image has in the export, and comes back under.
        sample_id: Whose image it is.
        filepath: Where it came from.
        width: Of the upright image, in pixels.
        height: Of the upright image, in pixels.
        round: The round that chose it.
        rank: Its place in the batch.
        arm: Why it was chosen, in a word.
        hardness: As it was shown; empty where there was none.
        because: Why it was chosen, in words.
        blurred: What was hidden in the copy; empty where nobody asked for it.
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
    def of(cls, task: Task, image: str) -> Row:
        """Return the line of a task whose image is called `image`."""
        return cls(
            image=image,
            sample_id=task.sample_id,
            filepath=task.filepath,
            width=task.width,
            height=task.height,
            round=task.round,
            rank=task.rank,
            arm=task.arm,
            hardness="" if task.hardness is None else repr(task.hardness),
            because=task.because,
        )


def read_rows(folder: Path) -> list[Row]:
    """Return the tasks of an exported round; none where it was not exported yet.

    Raises:
        LabelingError: The list was changed so that it cannot be read.
    """
    path = folder / TASKS
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [_row(line, path) for line in csv.DictReader(file)]


def write_rows(folder: Path, rows: Sequence[Row]) -> None:
    """Replace the list of tasks, whole or not at all."""
    text = io.StringIO()
    names = [field.name for field in fields(Row)]
    writer = csv.DictWriter(text, names, lineterminator="\r\n")  # then both are quoted inside
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    replace_text(folder / TASKS, text.getvalue())


def copy_upright(source: Path, target: Path) -> None:
    """Copy an image, turned upright where its EXIF says so, so that every tool agrees.

    Raises:
        LabelingError: The image is gone, or cannot be read.
    """
    try:
        batches.read(source)
        with pillow.opened(source) as image, replaced(target) as draft:
            if image.getexif().get(_ORIENTATION, 1) == 1:
                shutil.copyfile(source, draft)
            else:
                turned = ImageOps.exif_transpose(image)
                turned.save(draft, format=image.format, quality=_UPRIGHT_QUALITY)
    except ImageError as error:
        raise LabelingError(f"{error} Put the image back, or remove the sample.") from error


def within(folder: Path, pattern: str) -> list[Path]:
    """Return the files below `folder` that match, in order; hidden ones are passed over.

    Raises:
        LabelingError: One of them is a link that leads out of the folder.
    """
    root = folder.resolve()
    found = [one for one in sorted(folder.rglob(pattern)) if not one.name.startswith(".")]
    for one in found:
        if not one.resolve().is_relative_to(root):
            raise LabelingError(f"{one} leads out of {folder}. Put the file itself there.")
    return [one for one in found if one.is_file()]


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn what the disk or an encoding refuses into one sentence about `folder`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise LabelingError(
            f"{error.filename or folder}: {reason}. Free the disk or mend the rights, "
            "and repeat: nothing is done twice."
        ) from error
    except UnicodeDecodeError as error:
        raise LabelingError(f"A file in {folder} is not UTF-8 text: {error}.") from error


def _row(line: Mapping[str, str], path: Path) -> Row:
    try:
        return Row(
            image=line["image"],
            sample_id=line["sample_id"],
            filepath=line["filepath"],
            width=int(line["width"]),
            height=int(line["height"]),
            round=int(line["round"]),
            rank=int(line["rank"]),
            arm=line["arm"],
            hardness=line["hardness"],
            because=line["because"],
            blurred=line.get("blurred") or "",  # absent in lists of earlier versions
        )
    except (KeyError, ValueError, TypeError) as error:
        raise LabelingError(
            f"{path} was changed so that it cannot be read ({type(error).__name__}: {error}). "
            "Remove it and export the round again; what was returned stays."
        ) from error
