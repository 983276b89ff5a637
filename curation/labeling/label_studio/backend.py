"""The Label Studio labeler: push, pull, status and changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling.blur import Blur
from curation.labeling.label_studio import image_delivery, pull, push, task_reader
from curation.labeling.label_studio.annotations.reader import AnnotationReader, SampleImage
from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.projects import Project
from curation.labeling.label_studio.api.tasks import Condition, pages
from curation.labeling.label_studio.local_state import LocalState
from curation.labeling.label_studio.project import DatasetProject, project_url
from curation.labeling.label_studio.pull import PullResult, RoundTasks
from curation.labeling.label_studio.pull_state import Stamp
from curation.labeling.label_studio.task_json import KEY, task_key, to_task
from curation.labeling.protocol import PushResult, SampleAnnotation, Status, Task
from curation.labeling.tasks import require_one_round
from curation.storage.tags import parse_round

ReadSamples = Callable[[str], Mapping[str, SampleImage]]  # samples of a round, by its name


class LabelStudio:
    """A labeler whose tasks are in a project of a Label Studio server, one per dataset.

    Args:
        connect: Creates a client.
        dataset: Name of the dataset.
        dataset_id: Id of the dataset, unique across databases; it identifies the project.
        taxonomy: Classes to offer, and to read labels with.
        read_samples: Reads the samples of a round by the round's name.
        folder: Folder for local state.
        document_root: Folder that the server serves files from; None to ask the server.
        overlap: Number of annotators per image, if the project is created.
        model_version: Version shown with the pre-annotations.
        blur: Blur for uploaded copies; None to show images unchanged.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        *,
        dataset: str,
        dataset_id: str,
        taxonomy: Taxonomy,
        read_samples: ReadSamples,
        folder: Path,
        document_root: Path | None = None,
        overlap: int = 1,
        model_version: str = "consensus",
        blur: Blur | None = None,
    ) -> None:
        self._connect = connect
        self._dataset = dataset
        self._taxonomy = taxonomy
        self._project = DatasetProject(dataset, dataset_id, taxonomy, overlap)
        self._read_samples = read_samples
        self._state = LocalState(folder)
        self._document_root = document_root
        self._model_version = model_version
        self._blur = blur
        self._location = "Label Studio"
        self._pulled: dict[str, PullResult] = {}  # by `pull`, until `mark_imported`

    @property
    def name(self) -> str:
        """Name in records."""
        return "label-studio"

    @property
    def instructions(self) -> str:
        """Location of the tasks."""
        return f"They wait in {self._location}."

    # Push

    def push(self, tasks: Sequence[Task]) -> PushResult:
        """Import the tasks of one round that the server does not have.

        Raises:
            LabelingError: The tasks span several rounds, their images cannot be blurred, or the
                server rejects them.
        """
        if not tasks:
            return PushResult(pushed=0, existing=0, location=self._location)
        number = require_one_round(tasks)
        with self._state.lock(), self._connect() as client:
            project = self._locate(client, self._project.ensure(client))
            new = self._push(client, project, tasks, number)
            return PushResult(pushed=new, existing=len(tasks) - new, location=self._location)

    def _push(self, client: Client, project: Project, tasks: Sequence[Task], number: int) -> int:
        by_key = {task_key(self._dataset, number, task.sample_id): task for task in tasks}
        existing = push.find_existing(client, project.id, number)
        missing = {key: task for key, task in by_key.items() if key not in existing.keys}
        uncertain = self._state.was_interrupted() or existing.duplicated
        if missing:
            if existing.blurred and not self._blur:
                raise LabelingError(
                    f"Earlier images of round {number} were blurred. Push with `--blur faces` "
                    "again, which also blurs the other images."
                )
            self._state.begin_push(project.id)
            delivery = image_delivery.deliver(
                client, project.id, list(missing.values()),
                document_root=self._document_root, blur=self._blur,
            )  # fmt: skip
            rows = (self._to_json(key, task, delivery) for key, task in missing.items())
            uncertain |= push.add(client, project.id, rows)
        if uncertain:
            push.remove_duplicates(client, project.id, number)
        self._state.end_push()
        return len(missing)

    def _to_json(self, key: str, task: Task, delivery: image_delivery.Delivery) -> dict[str, Any]:
        return to_task(
            task,
            key=key,
            image_url=delivery.addresses[task.sample_id],
            model_version=self._model_version,
            taxonomy=self._taxonomy,
            blurred=delivery.blurred.get(task.sample_id, ""),
        )

    # Pull

    def pull(self, round_name: str) -> list[SampleAnnotation]:
        """Return the submissions so far, without samples that wait for more annotators.

        Raises:
            LabelingError: Nothing was pushed, the labeling config was edited in a way that would
                lose answers, or the server does not answer.
        """
        with self._state.lock():
            result = self.fetch(round_name)
            self.begin_import(round_name, result)
        self._pulled[round_name] = result
        return list(result.merged.annotations)

    def mark_imported(self, round_name: str, sample_ids: Collection[str]) -> None:
        """Record that the last `pull` of these samples became ground truth."""
        result = self._pulled.pop(round_name, None)
        if result is None:
            return
        imported_ids = set(sample_ids)
        with self._state.lock():
            imported = self._state.read_imported(round_name)
            imported |= {
                annotation_id: (result.changes.state[annotation_id], sample_id)
                for annotation_id, sample_id in result.samples.items()
                if sample_id in imported_ids
            }
            self._state.write_imported(round_name, imported)

    def status(self, round_name: str) -> Status:
        """Return the progress of a round."""
        result = self.fetch(round_name)
        return Status(
            tasks=len(result.with_task),
            submitted=len(result.merged.annotations),
            doubtful=result.merged.doubtful,
            strangers=result.strangers,
        )

    def fetch(self, round_name: str, *, since: str | None = None) -> PullResult:
        """Return the submissions, and which of them are new, changed or deleted.

        Args:
            round_name: Name of the round, such as `round-01`.
            since: The `mark` of an earlier result, to read only later changes.
        """
        conditions = [push.in_round(_round_number(round_name))]
        samples = self._read_samples(round_name)
        tasks = RoundTasks(samples, self._state.folder)
        with self._connect() as client:
            project = self._locate(client, self._project.require(client))
            reader = AnnotationReader(self._taxonomy, client.user_names())
            mark = task_reader.read(
                client, project.id, tasks.add, conditions=conditions, since=since
            )
            strangers = _strangers(client, project.id)
        # Rows of some tasks must not replace the stored rows of all.
        rows = nullcontext(_ignore) if since else self._state.write_rows(round_name)
        with rows as write_row:
            merged = pull.merge(
                tasks,
                samples=samples,
                reader=reader,
                overlap=project.overlap,
                folder=self._state.folder,
                write_row=write_row,
            )
        imported = self._state.read_imported(round_name)
        return PullResult(
            merged=merged,
            with_task=tuple(tasks.by_sample()),
            strangers=(*strangers, *tasks.strangers()),
            changes=pull.compare(tasks, imported, complete=not since),
            samples=tasks.owners(),
            mark=mark,
            complete=not since,
        )

    def begin_import(self, round_name: str, result: PullResult) -> None:
        """Record that an import starts; if interrupted, it will be repeated."""
        self._store(round_name, result, result.changes.begun)

    def end_import(self, round_name: str, result: PullResult) -> None:
        """Record that everything was imported."""
        self._store(round_name, result, result.changes.state)

    def _store(self, round_name: str, result: PullResult, stamps: Mapping[int, Stamp]) -> None:
        owners = {**self.imported_samples(round_name), **result.samples}
        imported = {key: (stamp, owners.get(key, "")) for key, stamp in stamps.items()}
        self._state.write_imported(round_name, imported)

    def imported_samples(self, round_name: str) -> dict[int, str]:
        """Return the sample of each imported annotation, by annotation id."""
        imported = self._state.read_imported(round_name)
        return {annotation_id: sample_id for annotation_id, (_, sample_id) in imported.items()}

    # Other operations

    def lock(self) -> AbstractContextManager[None]:
        """Exclude pushes and imports by other processes of this machine."""
        return self._state.lock()

    def withdraw(self, round_name: str) -> str:
        """Delete the tasks of a round without work on them; the others stay on the server.

        Submissions so far are also stored locally.
        """
        with self._state.lock(), self._connect() as client:
            project = self._project.find(client)
            if project is None:
                return "Label Studio has no project for the dataset."
            self._locate(client, project)
            self.fetch(round_name)
            deleted, remaining = push.withdraw(client, project.id, _round_number(round_name))
        remark = f"; {remaining} with work on them stay there" if remaining else ""
        return f"{deleted} tasks were deleted in {self._location}{remark}."

    @contextmanager
    def open_project(self) -> Iterator[tuple[Client, int]]:
        """Yield a connection and the project id."""
        with self._connect() as client:
            yield client, self._locate(client, self._project.require(client)).id

    def _locate(self, client: Client, project: Project) -> Project:
        """Remember the address of the project."""
        self._location = project_url(client, project)
        return project


def _strangers(client: Client, project_id: int) -> tuple[str, ...]:
    """Return the labeled tasks of the project that were not pushed by us."""
    conditions = [
        Condition("data." + KEY, "empty", "String", "True"),
        Condition("total_annotations", "greater", "Number", 0),
    ]
    labeled = pages(client, project_id, include=("id",), conditions=conditions)
    return tuple(f"task {task['id']}" for page in labeled for task in page)


def _round_number(round_name: str) -> int:
    number = parse_round(round_name)
    if number is None:
        raise LabelingError(f"The name of a round must look like round-01, got {round_name!r}.")
    return number


def _ignore(row: Mapping[str, Any]) -> None:
    """Do not store the row."""
