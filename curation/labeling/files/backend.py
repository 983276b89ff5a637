"""Labeling by files: a folder that any tool can open, and a place for what comes back.

    round-01/
      README.txt          what to do, in a few lines
      tasks.csv           why each image is here: rank, arm, hardness, because
      images/             copies, upright (left out where images stay in their place)
      predictions/        what the ensemble believes, to start from; never read back
      returned/           what was labeled goes here, in the format of the round

An image that a returned COCO or Datumaro file lists, or that has a YOLO text or a VOC file, is
done, and without boxes it shows nothing. Everything else waits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from cascade.runtime.atomic_files import replace_text
from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling import export_folder
from curation.labeling.blur import Blur
from curation.labeling.export_folder import Row
from curation.labeling.files.formats import FORMATS, Format
from curation.labeling.protocol import Annotated, PushResult, Status, Task
from curation.labeling.submissions import Submission
from curation.labeling.tasks import in_classes

_READ_ME = """\
Label the images that {list_name} lists, by rank: 1 first. It also says why each is there.
predictions/ holds what the ensemble believes. It is a start, and is never read back.

{how}
An image that came back without boxes means: there is nothing.
An image that did not come back is not labeled yet.
Keep the file names. Then run `curate label` again, as often as you like.
"""


class Files:
    """A labeler that writes a folder and reads what comes back into it.

    Args:
        root: Where one folder per round is made.
        taxonomy: The classes to offer, and what returned labels mean.
        form: `coco` or `datumaro` (one JSON), `yolo` or `voc` (one file per image).
        copy_images: Whether images are copied; else they are listed by their path.
        show_predictions: Whether what the ensemble believes goes along as a start.
        blur: What hides things in the copies; None to copy images as they are.

    Raises:
        LabelingError: Something is to be blurred, and images are not copied.
    """

    def __init__(
        self,
        root: Path,
        *,
        taxonomy: Taxonomy,
        form: Format = "coco",
        copy_images: bool = True,
        show_predictions: bool = True,
        blur: Blur | None = None,
    ) -> None:
        if blur and not copy_images:
            raise LabelingError("Only copies are blurred. Export with copied images.")
        self._root = root
        self._taxonomy = taxonomy
        self._form, self._format = form, FORMATS[form]
        self._copy_images = copy_images
        self._show_predictions = show_predictions
        self._blur = blur

    @property
    def name(self) -> str:
        """What `--labeler` calls it."""
        return "files" if self._form == "coco" else self._form

    @property
    def where(self) -> str:
        """Where tasks wait, and what to read there."""
        return f"They wait in {self._root}; the README.txt of the round says what to do."

    def push(self, tasks: Sequence[Task]) -> PushResult:
        """Write the folder of a round; tasks that are in it already keep their file names.

        Raises:
            LabelingError: The tasks are of several rounds, an image cannot be read, two images
                have one name and are not copied, or the folder cannot be written.
        """
        if not tasks:
            return PushResult(pushed=0, existing=0, where=str(self._root))
        if len({task.round for task in tasks}) > 1:
            raise LabelingError("Tasks of several rounds came at once. Push one round at a time.")
        place = self._root / f"round-{tasks[0].round:02d}"
        with export_folder.explained(place):
            (place / "returned").mkdir(parents=True, exist_ok=True)
            known = export_folder.read_rows(place)
            new = self._new_rows(tasks, known)
            self._write(place, tasks, known, new)
        return PushResult(pushed=len(new), existing=len(tasks) - len(new), where=str(place))

    def pull(self, round_name: str) -> list[Annotated]:
        """Return what lies in `returned/`, in the order of the tasks.

        Raises:
            LabelingError: The round was not pushed, or a returned file is in another format.
        """
        place = self._place(round_name)
        rows = export_folder.read_rows(place)
        submitted = self._submissions(place, rows)
        return [
            Annotated(
                sample_id=row.sample_id,
                boxes=one.boxes,
                annotator=one.annotator,
                seconds=None,
                complete=not one.doubts,
                doubts=one.doubts,
            )
            for row in rows
            if (one := submitted.get(row.image)) is not None
        ]

    def status(self, round_name: str) -> Status:
        """Say how many images of a round came back, and which names belong to none."""
        place = self._place(round_name)
        rows = export_folder.read_rows(place)
        submitted = self._submissions(place, rows)
        ours = {row.image for row in rows} & submitted.keys()
        return Status(
            tasks=len(rows),
            submitted=len(ours),
            doubtful=sum(bool(submitted[name].doubts) for name in ours),
            strangers=tuple(sorted(submitted.keys() - ours)),
        )

    def withdraw(self, round_name: str) -> str:
        """Set the folder of a round aside under another name; nothing in it is lost."""
        place = self._root / _checked(round_name)
        if not place.exists():
            return f"Nothing lies in {place} any more."
        number = 1
        while (aside := place.with_name(f"withdrawn-{number}-{round_name}")).exists():
            number += 1
        with export_folder.explained(place):
            place.rename(aside)
        return f"Its folder, with what was returned, was set aside as {aside}."

    def _place(self, round_name: str) -> Path:
        place = self._root / _checked(round_name)
        if not (place / export_folder.TASKS).is_file():
            raise LabelingError(
                f"There is no {export_folder.TASKS} in {place}: nothing was exported for "
                f"{round_name}, or the folder was moved. Export it again; what was returned stays."
            )
        return place

    def _new_rows(self, tasks: Sequence[Task], known: Sequence[Row]) -> list[Row]:
        """Return a line for each task that has none, with a file name that no other has."""
        have = {row.sample_id for row in known}
        rows: list[Row] = []
        for task in tasks:
            if task.sample_id in have:
                continue
            number = len(known) + len(rows) + 1
            own = Path(task.filepath).name
            rows.append(Row.of(task, image=f"{number:05d}_{own}" if self._copy_images else own))
        _refuse_same_stem([*known, *rows])
        return rows

    def _write(
        self, place: Path, tasks: Sequence[Task], known: Sequence[Row], new: Sequence[Row]
    ) -> None:
        if self._copy_images:
            new = [self._copied(row, place / "images" / row.image) for row in new]
        if self._show_predictions and new:
            names = {row.sample_id: row.image for row in (*known, *new)}
            images = [
                (
                    names[one.sample_id],
                    one.width,
                    one.height,
                    in_classes(one.predictions, self._taxonomy),
                )
                for one in tasks
            ]
            self._format.write(place / "predictions", images, self._taxonomy.names)
        text = _READ_ME.format(list_name=export_folder.TASKS, how=self._format.how)
        replace_text(place / "README.txt", text)
        export_folder.write_rows(place, [*known, *new])  # last: it says that the others are there

    def _copied(self, row: Row, target: Path) -> Row:
        """Copy the image of a row, and return the row with what was hidden in the copy."""
        source = Path(row.filepath)
        if self._blur is None:
            export_folder.copy_upright(source, target)
            return row
        made = self._blur.outgoing(source, target)
        if made != target:
            export_folder.copy_upright(made, target)
        return replace(row, blurred=self._blur.record(source))

    def _submissions(self, place: Path, rows: Sequence[Row]) -> dict[str, Submission]:
        """Return what came back, by file name of the image."""
        returned = place / "returned"
        with export_folder.explained(returned):
            return self._format.read(returned, rows, self._taxonomy)


def _checked(round_name: str) -> str:
    if not re.fullmatch(r"round-\d{2,}", round_name):
        raise LabelingError(f"A round is called like round-01, got {round_name!r}.")
    return round_name


def _refuse_same_stem(rows: Iterable[Row]) -> None:
    owners: dict[str, str] = {}
    for row in rows:
        stem = Path(row.image).stem
        if owners.setdefault(stem, row.sample_id) != row.sample_id:
            raise LabelingError(
                f"Two chosen images are called {stem!r}, so what comes back could not be told "
                "apart. Export with copied images."
            )
