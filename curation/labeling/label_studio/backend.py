"""The labeler that works with a Label Studio server: push, pull, status and what changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling.blur import Blur
from curation.labeling.label_studio import image_delivery, task_reader
from curation.labeling.label_studio import project as own_project
from curation.labeling.label_studio import pull as pulling
from curation.labeling.label_studio import push as pushing
from curation.labeling.label_studio.annotations.reader import Known, Reader
from curation.labeling.label_studio.api import tasks as stored_tasks
from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.projects import Project
from curation.labeling.label_studio.api.tasks import Condition
from curation.labeling.label_studio.local_state import Notes
from curation.labeling.label_studio.project import OwnProject
from curation.labeling.label_studio.pull import Pulled
from curation.labeling.label_studio.pull_state import Stamp
from curation.labeling.label_studio.task_json import KEY, task_key, to_task
from curation.labeling.protocol import Annotated, PushResult, Status, Task

ReadKnown = Callable[[str], Mapping[str, Known]]  # the samples of a round, by its name


class LabelStudio:
    """A labeler whose tasks wait in a project of a Label Studio server, one per dataset.

    Args:
        connect: Makes a client.
        dataset: The dataset's name, as people see it.
        dataset_id: What no other dataset is called, in whatever database; the project is found by
            it.
        taxonomy: The classes to offer, and what labels mean.
        known: Reads the samples of a round, which answers may be for, by the round's name.
        folder: Where notes are kept.
        document_root: The folder that the server serves files from; None to ask it.
        overlap: How many people are to label each image, where the project is made.
        model_version: What the pre-annotations are shown as.
        blur: What hides things in the copies that are uploaded; None to show images as they are.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        *,
        dataset: str,
        dataset_id: str,
        taxonomy: Taxonomy,
        known: ReadKnown,
        folder: Path,
        document_root: Path | None = None,
        overlap: int = 1,
        model_version: str = "consensus",
        blur: Blur | None = None,
    ) -> None:
        self._connect = connect
        self._dataset = dataset
        self._taxonomy = taxonomy
        self._project = OwnProject(dataset, dataset_id, taxonomy, overlap)
        self._known = known
        self._notes = Notes(folder)
        self._document_root = document_root
        self._model_version = model_version
        self._blur = blur
        self._where = "Label Studio"
        self._pulled: dict[str, Pulled] = {}  # by `pull`, until it is known what became of it

    @property
    def name(self) -> str:
        """What records call it."""
        return "label-studio"

    @property
    def where(self) -> str:
        """Where tasks wait."""
        return f"They wait in {self._where}."

    # Push

    def push(self, tasks: Sequence[Task]) -> PushResult:
        """Import the tasks of one round that the server does not have; each is there once.

        Raises:
            LabelingError: The tasks are of several rounds, their images cannot be blurred as
                asked, or the server does not take them.
        """
        if not tasks:
            return PushResult(pushed=0, existing=0, where=self._where)
        rounds = {task.round for task in tasks}
        if len(rounds) > 1:
            raise LabelingError("Tasks of several rounds came at once. Push one round at a time.")
        with self._notes.alone(), self._connect() as client:
            project = self._seen(client, self._project.ready(client))
            new = self._push(client, project, tasks, rounds.pop())
            return PushResult(pushed=new, existing=len(tasks) - new, where=self._where)

    def _push(self, client: Client, project: Project, tasks: Sequence[Task], number: int) -> int:
        by_key = {task_key(self._dataset, number, one.sample_id): one for one in tasks}
        there = pushing.there(client, project.id, number)
        missing = {key: one for key, one in by_key.items() if key not in there.keys}
        doubtful = self._notes.was_cut_off() or there.twins
        if missing:
            if there.blurred and not self._blur:
                raise LabelingError(
                    f"Images of round {number} went out blurred. Push with `--blur faces` again, "
                    "so that the others do, too."
                )
            self._notes.begin_push(project.id)
            delivery = image_delivery.deliver(
                client, project.id, list(missing.values()),
                document_root=self._document_root, blur=self._blur,
            )  # fmt: skip
            rows = (self._task(key, one, delivery) for key, one in missing.items())
            doubtful |= pushing.add(client, project.id, rows)
        if doubtful:
            pushing.remove_twins(client, project.id, number)
        self._notes.end_push()
        return len(missing)

    def _task(self, key: str, task: Task, delivery: image_delivery.Delivery) -> dict[str, Any]:
        return to_task(
            task,
            key=key,
            image_url=delivery.addresses[task.sample_id],
            model_version=self._model_version,
            taxonomy=self._taxonomy,
            blurred=delivery.blurred.get(task.sample_id, ""),
        )

    # Pull

    def pull(self, round_name: str) -> list[Annotated]:
        """Return what people submitted so far; what only some of them have, waits for the rest.

        Raises:
            LabelingError: Nothing was pushed, the labeling config was edited so that answers
                would be lost, or the server does not answer.
        """
        with self._notes.alone():
            seen = self.look(round_name)
            self.begin(round_name, seen)
        self._pulled[round_name] = seen
        return list(seen.merged.annotated)

    def taken_over(self, round_name: str, sample_ids: Collection[str]) -> None:
        """Note that what the last `pull` gave of these samples became ground truth."""
        seen = self._pulled.pop(round_name, None)
        if seen is None:
            return
        taken = set(sample_ids)
        with self._notes.alone():
            stored = self._notes.taken_over(round_name)
            stored |= {
                one: (seen.changes.state[one], sample)
                for one, sample in seen.samples.items()
                if sample in taken
            }
            self._notes.keep_taken_over(round_name, stored)

    def status(self, round_name: str) -> Status:
        """Say how far a round is."""
        seen = self.look(round_name)
        return Status(
            tasks=len(seen.with_task),
            submitted=len(seen.merged.annotated),
            doubtful=seen.merged.doubtful,
            strangers=seen.strangers,
        )

    def look(self, round_name: str, *, since: str | None = None) -> Pulled:
        """Return what people submitted, and what of it is new, changed or deleted.

        Args:
            round_name: Such as `round-01`.
            since: The `mark` of an earlier one: then only what was changed from then on.
        """
        where = [pushing.in_round(_number(round_name))]
        known = self._known(round_name)
        tasks = pulling.Tasks(known, self._notes.folder)
        with self._connect() as client:
            project = self._seen(client, self._project.existing(client))
            people = client.people()
            mark = task_reader.read(client, project.id, tasks.take, where=where, since=since)
            strangers = _strangers(client, project.id)
        # A part of the tasks does not replace what is kept of all.
        with nullcontext(_forget) if since else self._notes.answers(round_name) as keep:
            merged = pulling.merge(
                tasks,
                known=known,
                reader=Reader(self._taxonomy, people),
                overlap=project.overlap,
                folder=self._notes.folder,
                keep=keep,
            )
        stored = self._notes.taken_over(round_name)
        return Pulled(
            merged=merged,
            with_task=tuple(tasks.samples()),
            strangers=(*strangers, *tasks.strangers()),
            changes=pulling.changes(tasks, stored, complete=not since),
            samples=tasks.owners(),
            mark=mark,
            complete=not since,
        )

    def begin(self, round_name: str, seen: Pulled) -> None:
        """Note what is about to be taken over: were it cut off, it would be done again."""
        self._keep(round_name, seen, seen.changes.begun)

    def remember(self, round_name: str, seen: Pulled) -> None:
        """Note that all of it was taken over, so that it is new no more."""
        self._keep(round_name, seen, seen.changes.state)

    def _keep(self, round_name: str, seen: Pulled, stamps: Mapping[int, Stamp]) -> None:
        owners = {**self.past_samples(round_name), **seen.samples}
        self._notes.keep_taken_over(
            round_name, {one: (stamp, owners.get(one, "")) for one, stamp in stamps.items()}
        )

    def past_samples(self, round_name: str) -> dict[int, str]:
        """Return the sample of each annotation that was taken over, by the annotation's id."""
        return {one: sample for one, (_, sample) in self._notes.taken_over(round_name).items()}

    # The rest

    def alone(self) -> AbstractContextManager[None]:
        """Keep other processes of this machine from pushing and taking over meanwhile."""
        return self._notes.alone()

    def withdraw(self, round_name: str) -> str:
        """Delete the tasks of a round that nobody has worked on; the others stay on the server.

        What people submitted so far is kept in our notes, too.
        """
        with self._notes.alone(), self._connect() as client:
            project = self._project.find(client)
            if project is None:
                return "Label Studio has no project of it."
            self._seen(client, project)
            self.look(round_name)
            deleted, used = pushing.withdraw(client, project.id, _number(round_name))
        kept = f"; {used} that somebody worked on stay there" if used else ""
        return f"{deleted} tasks were deleted in {self._where}{kept}."

    @contextmanager
    def project(self) -> Iterator[tuple[Client, int]]:
        """Give a connection and the project's number."""
        with self._connect() as client:
            yield client, self._seen(client, self._project.existing(client)).id

    def _seen(self, client: Client, project: Project) -> Project:
        """Remember where people find the project."""
        self._where = own_project.address(client, project)
        return project


def _strangers(client: Client, project_id: int) -> tuple[str, ...]:
    """Return the tasks that somebody else added to the project, and that were labeled."""
    conditions = [
        Condition("data." + KEY, "empty", "String", "True"),
        Condition("total_annotations", "greater", "Number", 0),
    ]
    pages = stored_tasks.pages(client, project_id, include=("id",), where=conditions)
    return tuple(f"task {one['id']}" for page in pages for one in page)


def _number(round_name: str) -> int:
    word, _, digits = round_name.partition("-")
    if word != "round" or not digits.isdecimal():
        raise LabelingError(f"A round is called like round-01, got {round_name!r}.")
    return int(digits)


def _forget(row: Mapping[str, Any]) -> None:
    """Keep nothing."""
