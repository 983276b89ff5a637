"""The labeler that works with a Label Studio server: push, pull, status and what changed."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling.label_studio import config, images, merge, pull_state, reading, results
from curation.labeling.label_studio.client import (
    Client,
    Condition,
    Project,
    TooLargeError,
    UnsureError,
)
from curation.labeling.label_studio.notes import Notes
from curation.labeling.label_studio.pull_state import Changes, Stamp
from curation.labeling.label_studio.task_json import KEY, SAMPLE_ID, chunked, task_key, to_task
from curation.labeling.protocol import Annotated, Doubt, PushResult, Status, Task
from curation.labeling.submitted import understand

logger = logging.getLogger(__name__)

CHUNK_TASKS = 500  # a second of the server's time
CHUNK_BYTES = 4 * 2**20  # proxies before it often take no more than 10 MB
_LEAST_TITLE, _TITLE = 3, 50  # letters that the server takes
_USE = ("total_annotations", "cancelled_annotations", "draft_exists")
_ORIENTATION = 0x0112  # the EXIF tag


@dataclass(frozen=True)
class Known:
    """A sample of the dataset.

    Attributes:
        width: Of the upright image, in pixels.
        height: Of the upright image, in pixels.
        filepath: Where its image is.
    """

    width: int
    height: int
    filepath: str


ReadKnown = Callable[[str], Mapping[str, Known]]  # the samples of a round, by its name


@dataclass(frozen=True, eq=False)
class Pulled:
    """What a pull found.

    Attributes:
        annotated: What is to be taken over, by sample; those who wait for more people left out.
        agreement: How far the people of a sample agree, in [0, 1], by sample.
        skipped: Samples that were skipped, and that nobody submitted.
        partial: Samples that some submitted, and that more people are to label.
        tasks: Tasks of the round on the server, twins counted once.
        with_task: The samples that have one.
        strangers: Submissions that belong to no sample.
        changes: What is new, changed or deleted since the last one that was remembered.
        samples: The sample of each annotation that was seen, by the annotation's id.
        mark: From when the next one has to look, see `reading`.
        complete: Whether all tasks were read.
    """

    annotated: tuple[Annotated, ...]
    agreement: Mapping[str, float]
    skipped: tuple[str, ...]
    partial: tuple[str, ...]
    tasks: int
    with_task: tuple[str, ...]
    strangers: tuple[str, ...]
    changes: Changes
    samples: Mapping[int, str]
    mark: str | None
    complete: bool


@dataclass(frozen=True, eq=False)
class _Answer:
    """What one task says.

    Attributes:
        sample_id: Whose it is; None where it is of no sample of ours.
        name: What to call it where it is nobody's.
        versions: What was submitted.
        doubts: Those of each version.
        skips: How often it was skipped.
        stamps: Of every annotation, skips included.
        comments: What was written about the image, by whom.
        decisions: What was answered about the image, by whom.
    """

    sample_id: str | None
    name: str
    versions: tuple[merge.Version, ...] = ()
    doubts: tuple[tuple[Doubt, ...], ...] = ()
    skips: int = 0
    stamps: Mapping[int, Stamp] = field(default_factory=dict)
    comments: Mapping[str, str] = field(default_factory=dict)
    decisions: Mapping[str, str] = field(default_factory=dict)


class LabelStudio:
    """A labeler whose tasks wait in a project of a Label Studio server, one per dataset.

    Args:
        connect: Makes a client.
        dataset: The dataset's name; the project is found by it.
        taxonomy: The classes to offer, and what labels mean.
        known: Reads the samples of a round, which answers may be for, by the round's name.
        folder: Where notes are kept.
        document_root: The folder that the server serves files from; None to ask it.
        overlap: How many people are to label each image, where the project is made.
        model_version: What the pre-annotations are shown as.
        slice_of: The slice that chose a sample, by its id; for the Data Manager.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        *,
        dataset: str,
        taxonomy: Taxonomy,
        known: ReadKnown,
        folder: Path,
        document_root: Path | None = None,
        overlap: int = 1,
        model_version: str = "consensus",
        slice_of: Mapping[str, str] | None = None,
    ) -> None:
        self._connect = connect
        self._dataset = dataset
        self._taxonomy = taxonomy
        self._known = known
        self._notes = Notes(folder)
        self._document_root = document_root
        self._overlap = overlap
        self._model_version = model_version
        self._slice_of = slice_of or {}
        self._where = "Label Studio"

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
            LabelingError: The tasks are of several rounds, or the server does not take them.
        """
        if not tasks:
            return PushResult(pushed=0, existing=0, where=self._where)
        rounds = {task.round for task in tasks}
        if len(rounds) > 1:
            raise LabelingError("Tasks of several rounds came at once. Push one round at a time.")
        with self._notes.alone(), self._connect() as client:
            project = self._ready_project(client)
            new = self._push(client, project, list(tasks), rounds.pop())
            return PushResult(pushed=new, existing=len(tasks) - new, where=self._where)

    def _push(self, client: Client, project: Project, tasks: list[Task], number: int) -> int:
        by_key = {task_key(self._dataset, number, one.sample_id): one for one in tasks}
        in_round = Condition("data.round", "equal", "Number", number)
        there, twins = _keys(client, project.id, in_round)
        missing = {key: one for key, one in by_key.items() if key not in there}
        doubtful = self._notes.was_cut_off() or twins
        if missing:
            self._notes.begin_push(project.id)
            delivery = images.deliver(
                client, project.id, list(missing.values()), document_root=self._document_root
            )
            last = client.last_task(project.id)
            rows = (self._task(key, one, delivery.addresses) for key, one in missing.items())
            for chunk in chunked(rows, max_bytes=CHUNK_BYTES, max_count=CHUNK_TASKS):
                doubtful |= _import(client, project.id, list(chunk), last)
        if doubtful:
            _remove_twins(client, project.id, in_round)
        self._notes.end_push()
        return len(missing)

    def _task(self, key: str, task: Task, addresses: Mapping[str, str]) -> dict[str, Any]:
        return to_task(
            task,
            key=key,
            image_url=addresses[task.sample_id],
            model_version=self._model_version,
            taxonomy=self._taxonomy,
            slice_name=self._slice_of.get(task.sample_id, ""),
        )

    # Pull

    def pull(self, round_name: str) -> list[Annotated]:
        """Return what people submitted so far; what only some of them have, waits for the rest.

        Raises:
            LabelingError: Nothing was pushed, the labeling config was edited so that answers
                would be lost, or the server does not answer.
        """
        return list(self.look(round_name).annotated)

    def status(self, round_name: str) -> Status:
        """Say how far a round is."""
        seen = self.look(round_name)
        return Status(
            tasks=seen.tasks,
            submitted=len(seen.annotated),
            doubtful=sum(bool(one.doubts) for one in seen.annotated),
            strangers=seen.strangers,
        )

    def look(self, round_name: str, *, since: str | None = None) -> Pulled:
        """Return what people submitted, and what of it is new, changed or deleted.

        Args:
            round_name: Such as `round-01`.
            since: The `mark` of an earlier one: then only what was changed from then on.
        """
        number = _number(round_name)
        with self._connect() as client:
            project = self._existing_project(client)
            names = client.people()
            known = self._known(round_name)
            in_round = Condition("data.round", "equal", "Number", number)
            found = reading.read(
                client,
                project.id,
                lambda task: self._answer(task, known, names),
                where=[in_round],
                since=since,
            )
            strangers = _strangers(client, project.id)
        return self._pulled(round_name, found, strangers, project.overlap, complete=not since)

    def remember(self, round_name: str, seen: Pulled) -> None:
        """Note that all of it was taken over, so that it is new no more."""
        state = seen.changes.state
        samples = {**self._notes.samples(round_name), **seen.samples}
        self._notes.keep_taken_over(
            round_name, {one: (stamp, samples.get(one, "")) for one, stamp in state.items()}
        )

    def past_samples(self, round_name: str) -> dict[int, str]:
        """Return the sample of each annotation that was taken over, by the annotation's id."""
        return self._notes.samples(round_name)

    def alone(self) -> AbstractContextManager[None]:
        """Keep other processes of this machine from pushing and taking over meanwhile."""
        return self._notes.alone()

    def withdraw(self, round_name: str) -> str:
        """Delete the tasks of a round that nobody has worked on; the others stay on the server.

        What people submitted so far is kept in our notes, too.
        """
        in_round = Condition("data.round", "equal", "Number", _number(round_name))
        with self._notes.alone(), self._connect() as client:
            project = self._find(client)
            if project is None:
                return "Label Studio has no project of it."
            self.look(round_name)
            used, unused = _used(client, project.id, in_round)
            for i in range(0, len(unused), CHUNK_TASKS):
                client.delete_tasks(project.id, unused[i : i + CHUNK_TASKS])
        kept = f"; {len(used)} that somebody worked on stay there" if used else ""
        return f"{len(unused)} tasks were deleted in {self._where}{kept}."

    @contextmanager
    def project(self) -> Iterator[tuple[Client, int]]:
        """Give a connection and the project's number."""
        with self._connect() as client:
            yield client, self._existing_project(client).id

    def _answer(
        self, task: Mapping[str, Any], known: Mapping[str, Known], names: Mapping[int, str]
    ) -> _Answer:
        """Return what one task says, without the task."""
        sample_id = str(task["data"].get(SAMPLE_ID))
        sample = known.get(sample_id)
        annotations = task.get("annotations") or []
        stamps = {int(one["id"]): pull_state.stamp(one) for one in annotations}
        answer = _Answer(sample_id if sample else None, f"task {task['id']}", stamps=stamps)
        if sample is None or not annotations:
            return answer
        orientation = _orientation(sample, annotations)
        versions, doubts, comments, decisions = [], [], {}, {}
        skips = 0
        for one in annotations:
            said = results.read(
                one,
                taxonomy=self._taxonomy,
                upright_size=(sample.width, sample.height),
                orientation=orientation,
            )
            if said is None:
                skips += 1
                continue
            who = _annotator(one, names)
            submission = understand(said.drawn, taxonomy=self._taxonomy, annotator=who)
            versions.append(
                merge.Version(
                    annotator=who,
                    boxes=submission.boxes,
                    submitted_at=stamps[int(one["id"])].updated_at,
                    seconds=one.get("lead_time"),
                )
            )
            doubts.append(submission.doubts)
            if said.comment:
                comments[who] = said.comment
            if said.decision:
                decisions[who] = said.decision
        return replace(
            answer,
            versions=tuple(versions),
            doubts=tuple(doubts),
            skips=skips,
            comments=comments,
            decisions=decisions,
        )

    def _pulled(
        self,
        round_name: str,
        found: reading.Found[_Answer],
        strangers: tuple[str, ...],
        overlap: int,
        *,
        complete: bool,
    ) -> Pulled:
        of_sample: dict[str, list[_Answer]] = {}
        for one in found.tasks.values():
            if one.sample_id is not None:
                of_sample.setdefault(one.sample_id, []).append(one)
        annotated, agreement, partial = [], {}, []
        # A part of the tasks does not replace what is kept of all.
        with self._notes.answers(round_name) if complete else nullcontext(_forget) as keep:
            for sample_id, answers in of_sample.items():
                versions = [one for answer in answers for one in answer.versions]
                if not versions:
                    continue
                resolved = merge.resolve(versions)
                keep(_row(sample_id, resolved, answers))
                if len(resolved.versions) < overlap:
                    partial.append(sample_id)
                    continue
                agreement[sample_id] = resolved.agreement
                annotated.append(_annotated(sample_id, resolved, answers))
        stamps = [pair for one in found.tasks.values() for pair in one.stamps.items()]
        return Pulled(
            annotated=tuple(annotated),
            agreement=agreement,
            skipped=tuple(
                one
                for one, answers in of_sample.items()
                if any(answer.skips for answer in answers)
                and not any(answer.versions for answer in answers)
            ),
            partial=tuple(partial),
            tasks=len(of_sample),
            with_task=tuple(of_sample),
            strangers=(
                *strangers,
                *(one.name for one in found.tasks.values() if one.sample_id is None and one.stamps),
            ),
            changes=self._changes(round_name, of_sample, stamps, complete=complete),
            samples={
                annotation: one.sample_id
                for one in found.tasks.values()
                if one.sample_id is not None
                for annotation in one.stamps
            },
            mark=found.mark,
            complete=complete,
        )

    def _changes(
        self,
        round_name: str,
        of_sample: Mapping[str, Sequence[_Answer]],
        stamps: Sequence[tuple[int, Stamp]],
        *,
        complete: bool,
    ) -> Changes:
        """Return what changed; of a part of the tasks, only what their samples had is compared."""
        stored = self._notes.stamps(round_name)
        samples = self._notes.samples(round_name)
        compared = {
            one: stamp for one, stamp in stored.items() if complete or samples[one] in of_sample
        }
        changes = pull_state.compare(compared, stamps, complete=True)
        rest = {one: stamp for one, stamp in stored.items() if one not in compared}
        return replace(changes, state={**rest, **changes.state})

    # The project

    def _mark(self) -> str:
        """Return the words in its description by which our project is found."""
        digest = hashlib.sha256(self._dataset.encode()).hexdigest()[:16]
        return f"[cascade-curation:{digest}]"

    def _existing_project(self, client: Client) -> Project:
        project = self._find(client)
        if project is None:
            raise LabelingError(
                f"Label Studio at {client.url} has no project of {self._dataset!r}, or it was "
                "deleted. Push its tasks again: what was labeled and pulled before stays."
            )
        self._refuse_edited(project)
        return project

    def _ready_project(self, client: Client) -> Project:
        """Return the project, made or brought up to date where that is needed."""
        ours = config.labeling_config(self._taxonomy)
        project = self._find(client)
        if project is None:
            try:
                self._create(client, ours)
            except UnsureError:
                logger.info("Looking whether the project was made.")
            project = self._find(client)
        if project is None:
            raise LabelingError(f"Label Studio at {client.url} made no project. Repeat.")
        if project.label_config != ours and _digest(project.label_config) in project.description:
            # As we left it, so the taxonomy has changed since, and nobody's work is undone.
            client.set_label_config(project.id, ours, description=self._description(ours))
            project = client.project(project.id)
        self._refuse_edited(project)
        return project

    def _create(self, client: Client, label_config: str) -> None:
        made = client.create_project(
            title=self._dataset[:_TITLE].ljust(_LEAST_TITLE, "_"),
            description=self._description(label_config),
            label_config=label_config,
            overlap=self._overlap,
        )
        for column, title in (("rank", "By rank"), ("hardness", "By hardness")):
            client.create_view(made.id, title=title, order_by=column)

    def _description(self, label_config: str) -> str:
        return (
            f"What {self._dataset!r} is to have labeled. Keep this line, by which it is found: "
            f"{self._mark()} {_digest(label_config)}"
        )

    def _find(self, client: Client) -> Project | None:
        found = client.find_projects(self._mark())
        if found:
            self._where = f"{client.url}/projects/{found[0].id}/data"
        return found[0] if found else None

    def _refuse_edited(self, project: Project) -> None:
        lacks = config.lacks(project.label_config, self._taxonomy)
        if lacks:
            raise LabelingError(
                f"The labeling config of {self._where} was edited: {' '.join(lacks)} Mend it "
                "there (Settings, Labeling Interface), and repeat."
            )


def _keys(client: Client, project_id: int, in_round: Condition) -> tuple[set[str], bool]:
    """Return the keys of the tasks that are there, and whether one is there twice."""
    there: set[str] = set()
    total = 0
    for page in client.tasks(project_id, where=[in_round]):
        keys = [str(one["data"].get(KEY)) for one in page]
        total += len(keys)
        there.update(keys)
    return there, total > len(there)


def _import(client: Client, project_id: int, chunk: list[Mapping[str, Any]], last: int) -> bool:
    """Import a chunk; where that failed half-way, look what arrived before it is repeated.

    Args:
        client: The server.
        project_id: Where to.
        chunk: The tasks.
        last: The largest id of a task before this push: younger ones may be ours.

    Returns:
        Whether it was ever unsure, so that something may yet arrive a second time.
    """
    waits_s = client.retrying.waits_s()
    unsure = False
    while chunk:
        try:
            client.import_tasks(project_id, json.dumps(chunk).encode())
            return unsure
        except TooLargeError:
            if len(chunk) == 1:
                raise
            middle = len(chunk) // 2
            halves = (chunk[:middle], chunk[middle:])
            return any([unsure, *(_import(client, project_id, one, last) for one in halves)])
        except UnsureError as error:
            unsure = True
            wait_s = next(waits_s, None)
            if wait_s is None:
                raise LabelingError(
                    f"{error} It was tried {client.retrying.attempts} times. Repeat: what "
                    "arrived is not sent again."
                ) from None
            client.pause(wait_s)
            arrived: set[str] = set()
            for page in client.tasks(project_id, after=last):
                arrived.update(str(one["data"].get(KEY)) for one in page)
            chunk = [one for one in chunk if one["data"][KEY] not in arrived]
    return unsure


def _remove_twins(client: Client, project_id: int, in_round: Condition) -> None:
    """Delete tasks that came twice: not the first, and none that anybody has worked on."""
    copies: dict[str, list[tuple[bool, int]]] = {}
    for page in client.tasks(project_id, include=("id", "data", *_USE), where=[in_round]):
        for one in page:
            if key := one["data"].get(KEY):
                copies.setdefault(str(key), []).append((not _is_used(one), int(one["id"])))
    surplus = [
        task_id for found in copies.values() for unused, task_id in sorted(found)[1:] if unused
    ]
    if surplus:
        logger.info("%d tasks had arrived twice; their untouched twins go.", len(surplus))
        client.delete_tasks(project_id, surplus)


def _used(client: Client, project_id: int, in_round: Condition) -> tuple[list[int], list[int]]:
    """Return the tasks that somebody has worked on, and those that nobody has."""
    used: list[int] = []
    unused: list[int] = []
    for page in client.tasks(project_id, include=("id", *_USE), where=[in_round]):
        for one in page:
            (used if _is_used(one) else unused).append(int(one["id"]))
    return used, unused


def _is_used(task: Mapping[str, Any]) -> bool:
    return any(task.get(name) for name in _USE)


def _strangers(client: Client, project_id: int) -> tuple[str, ...]:
    """Return the tasks that somebody else added to the project, and that were labeled."""
    conditions = [
        Condition("data." + KEY, "empty", "String", "True"),
        Condition("total_annotations", "greater", "Number", 0),
    ]
    pages = client.tasks(project_id, include=("id",), where=conditions)
    return tuple(f"task {one['id']}" for page in pages for one in page)


def _number(round_name: str) -> int:
    word, _, digits = round_name.partition("-")
    if word != "round" or not digits.isdecimal():
        raise LabelingError(f"A round is called like round-01, got {round_name!r}.")
    return int(digits)


def _annotator(annotation: Mapping[str, Any], names: Mapping[int, str]) -> str:
    author = annotation.get("completed_by")
    if isinstance(author, Mapping):
        author = author.get("id")
    return names.get(author, f"user {author}") if isinstance(author, int) else "somebody"


def _orientation(sample: Known, annotations: Iterable[Mapping[str, Any]]) -> int:
    """Return an image's EXIF orientation, where an answer was drawn on another shape than ours."""
    shapes = {
        (item.get("original_width"), item.get("original_height"))
        for one in annotations
        for item in one.get("result") or ()
    }
    if shapes <= {(sample.width, sample.height), (None, None)}:
        return 1
    try:
        with Image.open(sample.filepath) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, ValueError):  # in a cloud, or gone: then it is a doubt
        return 1


def _annotated(sample_id: str, resolved: merge.Resolved, answers: Sequence[_Answer]) -> Annotated:
    doubts = [*resolved.doubts]
    latest = {(one.annotator, one.submitted_at) for one in resolved.versions}
    for answer in answers:
        for version, own in zip(answer.versions, answer.doubts, strict=True):
            if (version.annotator, version.submitted_at) in latest:
                doubts.extend(own)
    return Annotated(
        sample_id=sample_id,
        boxes=resolved.boxes,
        annotator=", ".join(one.annotator for one in resolved.versions),
        seconds=resolved.seconds,
        complete=not doubts,
        doubts=tuple(doubts),
    )


def _row(sample_id: str, resolved: merge.Resolved, answers: Sequence[_Answer]) -> dict[str, Any]:
    """Return what is kept of one sample: every annotator's version, and the agreement."""
    return {
        "sample_id": sample_id,
        "agreement": resolved.agreement,
        "seconds": resolved.seconds,
        "skips": sum(one.skips for one in answers),
        "comments": {who: said for one in answers for who, said in one.comments.items()},
        "decisions": {who: said for one in answers for who, said in one.decisions.items()},
        "versions": [
            {
                "annotator": one.annotator,
                "submitted_at": one.submitted_at.isoformat(),
                "seconds": one.seconds,
                "labels": one.boxes.labels,
                "boxes_xyxy": one.boxes.boxes_xyxy.tolist(),
            }
            for one in resolved.versions
        ],
    }


def _forget(row: Mapping[str, Any]) -> None:
    """Keep nothing."""


def _digest(label_config: str) -> str:
    """Return the words by which we know a labeling config that nobody has edited."""
    return f"[config:{hashlib.sha256(label_config.strip().encode()).hexdigest()[:16]}]"
