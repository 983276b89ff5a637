"""Labeling by files: a folder that any tool can open, with a subfolder for returned files.

    round-01/
      README.txt          instructions, in a few lines
      tasks.csv           rank, arm, hardness and reason of each image
      images/             upright copies (missing if images stay in place)
      predictions/        boxes of the ensemble as a start; never read back
      returned/           labeled files in the format of the round

An image that is listed in a returned COCO or Datumaro file, or has a YOLO text or a VOC file, is
labeled; without boxes it shows nothing. All other images wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from cascade.runtime.atomic_files import atomic_write_text
from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling import export_folder
from curation.labeling.blur import Blur
from curation.labeling.export_folder import TaskRow
from curation.labeling.files.formats import FORMATS, Format
from curation.labeling.protocol import PushResult, SampleAnnotation, Status, Task
from curation.labeling.submissions import Submission
from curation.labeling.tasks import require_one_round, to_taxonomy
from curation.storage import tags

_READ_ME = """\
Label the images that {list_name} lists, by rank: 1 first. It also says why each is there.
predictions/ holds what the ensemble believes. It is a start, and is never read back.

{instructions}
An image that came back without boxes means: there is nothing.
An image that did not come back is not labeled yet.
Keep the file names. Then run `curate label` again, as often as you like.
"""


class FileLabeler:
    """A labeler that exports a folder and reads returned files from it.

    Args:
        root: Parent of the folders of rounds.
        taxonomy: Classes to offer, and to read returned labels with.
        file_format: `coco` or `datumaro` (one JSON), `yolo` or `voc` (one file per image).
        copy_images: Whether images are copied; otherwise the list has their paths only.
        show_predictions: Whether predictions are exported.
        blur: Blur for the copies; None to copy images unchanged.

    Raises:
        LabelingError: A blur is given, but images are not copied.
    """

    def __init__(
        self,
        root: Path,
        *,
        taxonomy: Taxonomy,
        file_format: Format = "coco",
        copy_images: bool = True,
        show_predictions: bool = True,
        blur: Blur | None = None,
    ) -> None:
        if blur and not copy_images:
            raise LabelingError("Only copies can be blurred. Export with copied images.")
        self._root = root
        self._taxonomy = taxonomy
        self._name = "files" if file_format == "coco" else file_format
        self._format = FORMATS[file_format]
        self._copy_images = copy_images
        self._show_predictions = show_predictions
        self._blur = blur

    @property
    def name(self) -> str:
        """Name in records, and for `--labeler`."""
        return self._name

    @property
    def instructions(self) -> str:
        """Folder of the tasks, and what to read there."""
        return f"They wait in {self._root}; the README.txt of the round says what to do."

    def push(self, tasks: Sequence[Task]) -> PushResult:
        """Write the folder of a round; existing tasks keep their file names.

        Raises:
            LabelingError: The tasks span several rounds, an image cannot be decoded, two images
                have the same name and are not copied, or the folder cannot be written.
        """
        if not tasks:
            return PushResult(pushed=0, existing=0, location=str(self._root))
        folder = self._root / tags.round_name(require_one_round(tasks))
        with export_folder.translate_file_errors(folder):
            (folder / "returned").mkdir(parents=True, exist_ok=True)
            existing = export_folder.read_rows(folder)
            new = self._new_rows(tasks, existing)
            self._write(folder, tasks, existing, new)
        return PushResult(pushed=len(new), existing=len(tasks) - len(new), location=str(folder))

    def pull(self, round_name: str) -> list[SampleAnnotation]:
        """Return the submissions in `returned/`, in the order of the tasks.

        Raises:
            LabelingError: The round was not pushed, or a returned file is in another format.
        """
        rows, submissions = self._read(round_name)
        return [
            submissions[row.image].for_sample(row.sample_id)
            for row in rows
            if row.image in submissions
        ]

    def status(self, round_name: str) -> Status:
        """Return the number of returned images, and the names that match no task."""
        rows, submissions = self._read(round_name)
        matched = {row.image for row in rows} & submissions.keys()
        return Status(
            tasks=len(rows),
            submitted=len(matched),
            doubtful=sum(bool(submissions[name].doubts) for name in matched),
            strangers=tuple(sorted(submissions.keys() - matched)),
        )

    def withdraw(self, round_name: str) -> str:
        """Rename the folder of a round; its content is kept."""
        folder = self._root / _checked(round_name)
        if not folder.exists():
            return f"{folder} no longer exists."
        number = 1
        while (target := folder.with_name(f"withdrawn-{number}-{round_name}")).exists():
            number += 1
        with export_folder.translate_file_errors(folder):
            folder.rename(target)
        return f"Its folder, with all returned files, was renamed to {target}."

    def _read(self, round_name: str) -> tuple[list[TaskRow], dict[str, Submission]]:
        """Return the rows of an exported round, and its submissions by image file name."""
        folder = self._root / _checked(round_name)
        if not (folder / export_folder.TASKS).is_file():
            raise LabelingError(
                f"{folder} has no {export_folder.TASKS}: {round_name} was not exported, or the "
                "folder was moved. Export it again; returned files are kept."
            )
        rows = export_folder.read_rows(folder)
        returned = folder / "returned"
        with export_folder.translate_file_errors(returned):
            return rows, self._format.read(returned, rows, self._taxonomy)

    def _new_rows(self, tasks: Sequence[Task], existing: Sequence[TaskRow]) -> list[TaskRow]:
        """Return a row with a unique file name for each task that has none."""
        exported = {row.sample_id for row in existing}
        rows: list[TaskRow] = []
        for task in tasks:
            if task.sample_id in exported:
                continue
            number = len(existing) + len(rows) + 1
            name = Path(task.filepath).name
            image = f"{number:05d}_{name}" if self._copy_images else name
            rows.append(TaskRow.from_task(task, image))
        _refuse_same_stem([*existing, *rows])
        return rows

    def _write(
        self,
        folder: Path,
        tasks: Sequence[Task],
        existing: Sequence[TaskRow],
        new: Sequence[TaskRow],
    ) -> None:
        if self._copy_images:
            new = [self._copy_image(row, folder / "images" / row.image) for row in new]
        if self._show_predictions and new:
            names = {row.sample_id: row.image for row in (*existing, *new)}
            images = [
                (
                    names[task.sample_id],
                    task.width,
                    task.height,
                    to_taxonomy(task.predictions, self._taxonomy),
                )
                for task in tasks
            ]
            self._format.write(folder / "predictions", images, self._taxonomy.names)
        text = _READ_ME.format(
            list_name=export_folder.TASKS, instructions=self._format.instructions
        )
        atomic_write_text(folder / "README.txt", text)
        export_folder.write_rows(folder, [*existing, *new])  # last: it marks the others complete

    def _copy_image(self, row: TaskRow, target: Path) -> TaskRow:
        """Copy the image of a row, and return the row with what was blurred in the copy."""
        source = Path(row.filepath)
        if self._blur is None:
            export_folder.copy_upright(source, target)
            return row
        prepared = self._blur.prepare(source, target)
        if prepared != target:
            export_folder.copy_upright(prepared, target)
        return replace(row, blurred=self._blur.summary(source))


def _checked(round_name: str) -> str:
    if tags.parse_round(round_name) is None:
        raise LabelingError(f"The name of a round must look like round-01, got {round_name!r}.")
    return round_name


def _refuse_same_stem(rows: Iterable[TaskRow]) -> None:
    owners: dict[str, str] = {}
    for row in rows:
        stem = Path(row.image).stem
        if owners.setdefault(stem, row.sample_id) != row.sample_id:
            raise LabelingError(
                f"Two chosen images are named {stem!r}, which makes returned files ambiguous. "
                "Export with copied images."
            )
