"""Labeling with CVAT. The only file that knows cvat-sdk.

It never met a CVAT server: none can be had where it was built. Its requests are checked against
the models of cvat-sdk 2.80, and its reading against answers of the shape that they prescribe, on
a stand-in that answers over HTTP. Expect to mend something at the first real one.

A round is one CVAT task, and a further one for samples that joined later: CVAT adds no image to a
task that has some. Certificates are always checked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling import export_folder
from curation.labeling.cvat import shapes as cvat_shapes
from curation.labeling.cvat.shapes import Frame, Job
from curation.labeling.protocol import Annotated, PushResult, Status, Task
from curation.secrets import Secret
from curation.storage import tags

Outgoing = Callable[[Path, Path], Path]

_FRAMES_A_JOB = 50
_UPLOAD_QUALITY = 95  # of the copies that CVAT shows
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_WITHDRAWN = "withdrawn: "


@dataclass(frozen=True, eq=False)
class _Part:
    """A CVAT task that holds some or all samples of a round."""

    task: Any
    frames: tuple[Frame, ...]
    deleted: tuple[int, ...]


class Cvat:
    """A labeler that sends tasks to a CVAT server.

    Args:
        address: Of the server, https.
        token: A personal access token of CVAT.
        taxonomy: The classes to offer, and what returned labels mean.
        title: What the tasks are called, before the round: the dataset's name.
        outgoing: Returns the file to send for an image, writing it to the second path where it
            is not the image itself; None to send images as they are.

    Raises:
        LabelingError: cvat-sdk is not installed, or the address is not to be trusted.
    """

    def __init__(
        self,
        address: str,
        token: Secret,
        *,
        taxonomy: Taxonomy,
        title: str,
        outgoing: Outgoing | None = None,
    ) -> None:
        parts = urlsplit(address)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise LabelingError(
                f"The address of CVAT must begin with https://, got {address!r}: the token would "
                "travel for everyone to read."
            )
        self._sdk = _sdk()
        self._address = address
        self._token = token
        self._taxonomy = taxonomy
        self._title = title
        self._outgoing = outgoing

    @property
    def name(self) -> str:
        """What records call it."""
        return "cvat"

    @property
    def where(self) -> str:
        """Where tasks wait."""
        return (
            f"They wait in CVAT at {self._address}, in tasks called {self._title}; a job counts "
            "when its state is `completed`."
        )

    def push(self, tasks: Sequence[Task]) -> PushResult:
        """Make a CVAT task of the samples that no task of the round holds yet.

        Raises:
            LabelingError: The tasks are of several rounds, an image cannot be read, or CVAT does
                not take them.
        """
        if not tasks:
            return PushResult(pushed=0, existing=0, where=self._address)
        if len({task.round for task in tasks}) > 1:
            raise LabelingError("Tasks of several rounds came at once. Push one round at a time.")
        round_name = tags.round_name(tasks[0].round)
        with self._connected() as client:
            parts = self._parts(client, round_name)
            known = {frame.sample_id for part in parts for frame in part.frames}
            new = [task for task in tasks if task.sample_id not in known]
            if new:
                parts.append(self._make(client, round_name, len(parts), new))
            for part in parts:
                self._show_predictions(client, part, tasks)
        where = f"{self._address}/tasks/{parts[-1].task.id}"
        return PushResult(pushed=len(new), existing=len(tasks) - len(new), where=where)

    def pull(self, round_name: str) -> list[Annotated]:
        """Return the frames of completed jobs.

        Raises:
            LabelingError: CVAT has no task of the round, or does not answer.
        """
        with self._connected() as client:
            found = {
                sample: one
                for part in self._pushed(client, round_name)
                for sample, one in self._submissions(client, part).items()
            }
        return [
            Annotated(
                sample_id=sample,
                boxes=one.boxes,
                annotator=one.annotator,
                seconds=None,  # CVAT measures no time
                complete=not one.doubts,
                doubts=one.doubts,
            )
            for sample, one in found.items()
        ]

    def status(self, round_name: str) -> Status:
        """Say how many frames of a round are in completed jobs."""
        with self._connected() as client:
            parts = self._pushed(client, round_name)
            found = [self._submissions(client, part) for part in parts]
        return Status(
            tasks=sum(len(part.frames) for part in parts),
            submitted=sum(len(one) for one in found),
            doubtful=sum(bool(one.doubts) for part in found for one in part.values()),
        )

    def withdraw(self, round_name: str) -> str:
        """Rename the round's tasks, so that a new push makes new ones; nothing is deleted."""
        with self._connected() as client:
            parts = self._parts(client, round_name)
            for part in parts:
                part.task.update({"name": _WITHDRAWN + str(part.task.name)})
        return f"{len(parts)} tasks in CVAT were renamed to begin with `{_WITHDRAWN.strip()}`."

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Give a client that has logged in, and say in our words what goes wrong with it."""
        try:
            with self._sdk.client.Client(
                self._address,
                config=self._sdk.client.Config(verify_ssl=True),
                check_server_version=False,
            ) as client:
                client.login(self._sdk.client.AccessTokenCredentials(self._token.reveal()))
                yield client
        except self._sdk.status_error as error:
            # NOTE: `from None`: what the SDK raises may hold headers, and those the token.
            raise self._refusal(f"answered {error.status} {error.reason}") from None
        except self._sdk.errors as error:
            raise self._refusal(f"did not do it ({type(error).__name__})") from None

    def _refusal(self, problem: str) -> LabelingError:
        return LabelingError(
            f"CVAT at {self._address} {problem}. Look at the address, at the rights of "
            f"{self._token}, and at the server; then repeat: nothing is done twice."
        )

    def _name(self, round_name: str, part: int) -> str:
        return f"{self._title} {round_name}" + (f" part {part + 1}" if part else "")

    def _parts(self, client: Any, round_name: str) -> list[_Part]:
        """Return the tasks of a round that have images; those that never got any are removed."""
        parts: list[_Part] = []
        while True:
            found = client.tasks.list(name=self._name(round_name, len(parts)))
            whole = [one for one in found if one.size]
            for one in found:
                if not one.size:
                    one.remove()  # a push that was cut off before its images came
            if not whole:
                return parts
            if len(whole) > 1:
                raise LabelingError(
                    f"CVAT has {len(whole)} tasks called {whole[0].name!r}. Rename all but one."
                )
            parts.append(_part(whole[0]))

    def _pushed(self, client: Any, round_name: str) -> list[_Part]:
        parts = self._parts(client, round_name)
        if not parts:
            raise LabelingError(
                f"CVAT at {self._address} has no task called {self._name(round_name, 0)!r}: "
                "nothing was pushed, or somebody renamed or deleted it. Push it again."
            )
        return parts

    def _make(self, client: Any, round_name: str, number: int, tasks: Sequence[Task]) -> _Part:
        request = task_request(
            self._sdk.models, self._name(round_name, number), self._taxonomy.names
        )
        with tempfile.TemporaryDirectory(prefix="curation-cvat-") as place:
            files = [self._copy(task, Path(place)) for task in tasks]
            made = client.tasks.create_from_data(
                request,
                files,
                data_params={"image_quality": _UPLOAD_QUALITY, "sorting_method": "predefined"},
            )
        return _part(made)

    def _copy(self, task: Task, place: Path) -> Path:
        source, target = Path(task.filepath), place / cvat_shapes.file_name(task)
        if self._outgoing is not None:
            source = self._outgoing(source, target)
        if source != target:
            export_folder.copy_upright(source, target)
        return target

    def _show_predictions(self, client: Any, part: _Part, tasks: Sequence[Task]) -> None:
        """Give an untouched task the predictions to start from, unless it has shapes."""
        jobs = _jobs(part.task)
        if any(job.state != "new" for job in jobs) or part.task.get_annotations().shapes:
            return
        ids = {label: number for number, label in _label_names(part.task).items()}
        by_sample = {task.sample_id: task for task in tasks}
        drawn = [
            shape
            for frame in part.frames
            if frame.sample_id in by_sample
            for shape in cvat_shapes.shapes(by_sample[frame.sample_id], frame, ids)
        ]
        if drawn:
            part.task.set_annotations(annotations_request(self._sdk.models, drawn))

    def _submissions(self, client: Any, part: _Part) -> dict[str, Any]:
        annotations = client.api_client.sanitize_for_serialization(part.task.get_annotations())
        return cvat_shapes.submissions(
            part.frames,
            _jobs(part.task),
            annotations,
            label_names=_label_names(part.task),
            taxonomy=self._taxonomy,
            deleted=part.deleted,
        )


def task_request(models: Any, name: str, classes: Sequence[str]) -> Any:
    """Return the request that makes a task, as the SDK's own model, which checks it."""
    return models.TaskWriteRequest(
        name=name,
        labels=[models.PatchedLabelRequest(**one) for one in cvat_shapes.labels(classes)],
        segment_size=_FRAMES_A_JOB,
        overlap=0,
    )


def annotations_request(models: Any, drawn: Sequence[Mapping[str, Any]]) -> Any:
    """Return the request that writes shapes, as the SDK's own model, which checks it."""
    shapes = [
        models.LabeledShapeRequest(**{**one, "type": models.ShapeType(one["type"])})
        for one in drawn
    ]
    return models.LabeledDataRequest(version=0, tags=[], shapes=shapes, tracks=[])


def _part(task: Any) -> _Part:
    meta = task.get_meta()
    frames = tuple(
        Frame(number=number, name=str(one.name), width=int(one.width), height=int(one.height))
        for number, one in enumerate(meta.frames)
    )
    return _Part(task, frames, tuple(int(one) for one in meta.deleted_frames))


def _jobs(task: Any) -> list[Job]:
    return [
        Job(
            first=int(one.start_frame),
            last=int(one.stop_frame),
            kind=str(one.type),
            state=str(one.state),
            annotator=str(one.assignee.username) if one.assignee else "cvat",
        )
        for one in task.get_jobs()
    ]


def _label_names(task: Any) -> dict[int, str]:
    return {int(one.id): str(one.name) for one in task.get_labels()}


@dataclass(frozen=True)
class _Sdk:
    """What we use of the SDK."""

    client: Any
    models: Any
    status_error: Any
    errors: tuple[Any, ...]


def _sdk() -> _Sdk:
    try:
        from cvat_sdk.api_client import exceptions, models
        from cvat_sdk.core import client
        from cvat_sdk.core.exceptions import CvatSdkException
        from urllib3.exceptions import HTTPError
    except ImportError:
        raise LabelingError(
            "The labeler `cvat` needs the package cvat-sdk, which is not installed. "
            'Install it with `pip install "cascade-curation[cvat_sdk]"`.'
        ) from None
    errors = (exceptions.OpenApiException, CvatSdkException, HTTPError)
    return _Sdk(client, models, exceptions.ApiException, errors)
