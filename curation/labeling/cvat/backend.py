"""Labeling with CVAT. The only module that uses cvat-sdk.

It has not been tested against a CVAT server. Its requests are validated by the models of cvat-sdk
2.80, and its parsing by answers of the prescribed shape from a stand-in over HTTP. Expect fixes
when it first meets a real server.

A round is one CVAT task, plus a further one for samples that joined later: CVAT cannot add images
to a task that has some. Certificates are always verified.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling import export_folder
from curation.labeling.cvat.shapes import (
    Frame,
    Job,
    class_labels,
    file_name,
    predicted_shapes,
    read_submissions,
)
from curation.labeling.protocol import PushResult, SampleAnnotation, Status, Task
from curation.labeling.submissions import Submission
from curation.labeling.tasks import require_one_round
from curation.secrets import Secret
from curation.storage import tags

PrepareImage = Callable[[Path, Path], Path]

_FRAMES_PER_JOB = 50
_UPLOAD_QUALITY = 95  # of the copies that CVAT shows
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_WITHDRAWN = "withdrawn: "


@dataclass(frozen=True, eq=False)
class _Part:
    """A CVAT task with some or all samples of a round."""

    task: Any
    frames: tuple[Frame, ...]
    deleted: tuple[int, ...]


class Cvat:
    """A labeler that submits tasks to a CVAT server.

    Args:
        address: Address of the server, https.
        token: Personal access token of CVAT.
        taxonomy: Classes to offer, and to read returned labels with.
        title: Title of the tasks before the round: the dataset's name.
        prepare_image: Returns the file to send for an image, and writes it to the second path if
            it is not the image itself; None to send images unchanged.

    Raises:
        LabelingError: cvat-sdk is not installed, or the address is not secure.
    """

    def __init__(
        self,
        address: str,
        token: Secret,
        *,
        taxonomy: Taxonomy,
        title: str,
        prepare_image: PrepareImage | None = None,
    ) -> None:
        parts = urlsplit(address)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise LabelingError(
                f"The address of CVAT must begin with https://, got {address!r}: the token would "
                "be sent unencrypted."
            )
        self._sdk = _import_sdk()
        self._address = address
        self._token = token
        self._taxonomy = taxonomy
        self._title = title
        self._prepare_image = prepare_image

    @property
    def name(self) -> str:
        """Name in records."""
        return "cvat"

    @property
    def instructions(self) -> str:
        """Server and title of the tasks."""
        return (
            f"They wait in CVAT at {self._address}, in tasks called {self._title}; a job counts "
            "when its state is `completed`."
        )

    def push(self, tasks: Sequence[Task]) -> PushResult:
        """Create a CVAT task for the samples that no task of the round contains.

        Raises:
            LabelingError: The tasks span several rounds, an image cannot be decoded, or CVAT
                rejects them.
        """
        if not tasks:
            return PushResult(pushed=0, existing=0, location=self._address)
        round_name = tags.round_name(require_one_round(tasks))
        with self._connect() as client:
            parts = self._parts(client, round_name)
            existing = {frame.sample_id for part in parts for frame in part.frames}
            new = [task for task in tasks if task.sample_id not in existing]
            if new:
                parts.append(self._create(client, round_name, len(parts), new))
            for part in parts:
                self._add_predictions(part, tasks)
        location = f"{self._address}/tasks/{parts[-1].task.id}"
        return PushResult(pushed=len(new), existing=len(tasks) - len(new), location=location)

    def pull(self, round_name: str) -> list[SampleAnnotation]:
        """Return the frames of completed jobs.

        Raises:
            LabelingError: CVAT has no task of the round, or does not answer.
        """
        with self._connect() as client:
            submissions = {
                sample_id: submission
                for part in self._pushed_parts(client, round_name)
                for sample_id, submission in self._submissions(client, part).items()
            }
        return [submission.for_sample(sample_id) for sample_id, submission in submissions.items()]

    def status(self, round_name: str) -> Status:
        """Return the number of frames of a round in completed jobs."""
        with self._connect() as client:
            parts = self._pushed_parts(client, round_name)
            submissions = [s for part in parts for s in self._submissions(client, part).values()]
        return Status(
            tasks=sum(len(part.frames) for part in parts),
            submitted=len(submissions),
            doubtful=sum(bool(submission.doubts) for submission in submissions),
        )

    def withdraw(self, round_name: str) -> str:
        """Rename the round's tasks, which makes a new push create new ones."""
        with self._connect() as client:
            parts = self._parts(client, round_name)
            for part in parts:
                part.task.update({"name": _WITHDRAWN + str(part.task.name)})
        return f"{len(parts)} tasks in CVAT were renamed to begin with `{_WITHDRAWN.strip()}`."

    @contextmanager
    def _connect(self) -> Iterator[Any]:
        """Yield a client that has logged in, and translate its errors."""
        try:
            with self._sdk.client.Client(
                self._address,
                config=self._sdk.client.Config(verify_ssl=True),
                check_server_version=False,
            ) as client:
                client.login(self._sdk.client.AccessTokenCredentials(self._token.reveal()))
                yield client
        except self._sdk.status_error as error:
            # NOTE: `from None`: the SDK's errors may contain headers, and those the token.
            raise self._error(f"answered {error.status} {error.reason}") from None
        except self._sdk.errors as error:
            raise self._error(f"failed ({type(error).__name__})") from None

    def _error(self, problem: str) -> LabelingError:
        return LabelingError(
            f"CVAT at {self._address} {problem}. Check the address, the permissions of "
            f"{self._token}, and the server; then repeat: the operation is idempotent."
        )

    def _name(self, round_name: str, part: int) -> str:
        return f"{self._title} {round_name}" + (f" part {part + 1}" if part else "")

    def _parts(self, client: Any, round_name: str) -> list[_Part]:
        """Return the tasks of a round that have images; tasks without images are removed."""
        parts: list[_Part] = []
        while True:
            tasks = client.tasks.list(name=self._name(round_name, len(parts)))
            complete = [task for task in tasks if task.size]
            for task in tasks:
                if not task.size:
                    task.remove()  # a push that was interrupted before its images arrived
            if not complete:
                return parts
            if len(complete) > 1:
                raise LabelingError(
                    f"CVAT has {len(complete)} tasks called {complete[0].name!r}. "
                    "Rename all but one."
                )
            parts.append(_part(complete[0]))

    def _pushed_parts(self, client: Any, round_name: str) -> list[_Part]:
        parts = self._parts(client, round_name)
        if not parts:
            raise LabelingError(
                f"CVAT at {self._address} has no task called {self._name(round_name, 0)!r}: it "
                "was not pushed, or was renamed or deleted. Push it again."
            )
        return parts

    def _create(self, client: Any, round_name: str, number: int, tasks: Sequence[Task]) -> _Part:
        request = task_request(
            self._sdk.models, self._name(round_name, number), self._taxonomy.names
        )
        with tempfile.TemporaryDirectory(prefix="curation-cvat-") as folder:
            files = [self._copy_image(task, Path(folder)) for task in tasks]
            created = client.tasks.create_from_data(
                request,
                files,
                data_params={"image_quality": _UPLOAD_QUALITY, "sorting_method": "predefined"},
            )
        return _part(created)

    def _copy_image(self, task: Task, folder: Path) -> Path:
        source, target = Path(task.filepath), folder / file_name(task)
        if self._prepare_image is not None:
            source = self._prepare_image(source, target)
        if source != target:
            export_folder.copy_upright(source, target)
        return target

    def _add_predictions(self, part: _Part, tasks: Sequence[Task]) -> None:
        """Add pre-annotations to a task without shapes whose jobs are all new."""
        jobs = _jobs(part.task)
        if any(job.state != "new" for job in jobs) or part.task.get_annotations().shapes:
            return
        ids = {label: number for number, label in _label_names(part.task).items()}
        by_sample = {task.sample_id: task for task in tasks}
        shapes = [
            shape
            for frame in part.frames
            if frame.sample_id in by_sample
            for shape in predicted_shapes(by_sample[frame.sample_id], frame, ids)
        ]
        if shapes:
            part.task.set_annotations(annotations_request(self._sdk.models, shapes))

    def _submissions(self, client: Any, part: _Part) -> dict[str, Submission]:
        annotations = client.api_client.sanitize_for_serialization(part.task.get_annotations())
        return read_submissions(
            part.frames,
            _jobs(part.task),
            annotations,
            label_names=_label_names(part.task),
            taxonomy=self._taxonomy,
            deleted=part.deleted,
        )


def task_request(models: Any, name: str, classes: Sequence[str]) -> Any:
    """Return the request to create a task, as the SDK's model, which validates it."""
    return models.TaskWriteRequest(
        name=name,
        labels=[models.PatchedLabelRequest(**label) for label in class_labels(classes)],
        segment_size=_FRAMES_PER_JOB,
        overlap=0,
    )


def annotations_request(models: Any, shapes: Sequence[Mapping[str, Any]]) -> Any:
    """Return the request to write shapes, as the SDK's model, which validates it."""
    requests = [
        models.LabeledShapeRequest(**{**shape, "type": models.ShapeType(shape["type"])})
        for shape in shapes
    ]
    return models.LabeledDataRequest(version=0, tags=[], shapes=requests, tracks=[])


def _part(task: Any) -> _Part:
    meta = task.get_meta()
    frames = tuple(
        Frame(number, str(frame.name), width=int(frame.width), height=int(frame.height))
        for number, frame in enumerate(meta.frames)
    )
    return _Part(task, frames, tuple(map(int, meta.deleted_frames)))


def _jobs(task: Any) -> list[Job]:
    return [
        Job(
            first=int(job.start_frame),
            last=int(job.stop_frame),
            kind=str(job.type),
            state=str(job.state),
            annotator=str(job.assignee.username) if job.assignee else "cvat",
        )
        for job in task.get_jobs()
    ]


def _label_names(task: Any) -> dict[int, str]:
    return {int(label.id): str(label.name) for label in task.get_labels()}


def _import_sdk() -> Any:
    """Return the parts of the SDK in use."""
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
    return SimpleNamespace(
        client=client, models=models, status_error=exceptions.ApiException, errors=errors
    )
