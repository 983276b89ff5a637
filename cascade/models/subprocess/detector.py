"""Detector in a separate process and Python environment.

It serves models that conflict with this environment: a fork of a package under the same name,
another framework, or an incompatible license. docs/worker.md describes both sides.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from cascade.errors import BadPredictionsError, CheckpointError, ServerError
from cascade.imaging.batches import Batch, Image
from cascade.models.detection.detector_head import to_detections
from cascade.models.subprocess.foreign.worker import PROTOCOL
from cascade.models.subprocess.process import WorkerProcess
from cascade.predictions import Detections
from cascade.protocols import Tensors

# Consecutive failures after which the process is not restarted: the engine halves a batch of 128
# down to the bad image, which takes 8 attempts.
_MAX_FAILURES = 8
_CHECKPOINT = "{checkpoint}"
Result = TypeVar("Result")


class WorkerDetector:
    """Adapter of a worker process.

    The process starts with the first request, and restarts after a crash or a timeout: that batch
    fails, the next one succeeds. It ends with this object or this interpreter.

    Args:
        checkpoint: Replacement of the placeholder `{checkpoint}` in the command.
        command: Program and arguments, e.g. `["/opt/venv/bin/python", "my_worker.py"]`.
        timeout_s: Time limit of one batch.
        start_timeout_s: Time limit of loading.

    Raises:
        CheckpointError: The command is empty, or needs a missing checkpoint.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        command: Sequence[str],
        timeout_s: float = 60.0,
        start_timeout_s: float = 300.0,
    ) -> None:
        if isinstance(command, str) or not command:
            raise CheckpointError(
                f"command must be a list of program and arguments, got {command!r}."
            )
        if checkpoint is None and any(_CHECKPOINT in word for word in command):
            raise CheckpointError(f"The command needs a checkpoint, but none is set: {command}.")
        self.module = nn.Identity()
        self._command = [word.replace(_CHECKPOINT, str(checkpoint)) for word in command]
        self._name = " ".join(self._command)
        self._timeout_s, self._start_timeout_s = timeout_s, start_timeout_s
        self._process: WorkerProcess | None = None
        self._hello: Mapping[str, Any] = {}
        self._requests = self._failures = 0

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names that the worker announces; reading them starts the worker."""
        if not self._hello:
            self._attempt(self._started_process)
        return tuple(self._hello["classes"])

    def prepare(self, batch: Batch) -> Tensors:
        """Return the images; preprocessing is the worker's."""
        return {"images": batch.images}

    def forward(self, tensors: Tensors) -> list[Any]:
        """Return the worker's answer, one value per image.

        Raises:
            ServerError: The worker crashed, timed out, or sent an invalid answer.
        """
        images: Sequence[Image] = tensors["images"]
        if not len(images):
            return []
        answer = self._attempt(lambda: self._request(images))
        if "error" in answer:  # a failure of the model; the process is alive
            raise ServerError(f"The worker `{self._name}` failed: {answer['error']}")
        detections = answer.get("detections")
        if not isinstance(detections, list) or len(detections) != len(images):
            raise ServerError(
                f"The worker `{self._name}` must answer with `detections` of {len(images)} "
                f"images, got {str(answer)[:200]}."
            )
        return detections

    def decode(self, raw: list[Any], batch: Batch) -> list[Detections]:
        """Return the boxes of each image.

        Raises:
            BadPredictionsError: The boxes are invalid, or of classes that were not announced.
        """
        return [_to_detections(answer, self.classes) for answer in raw]

    def close(self) -> None:
        """End the process; the next request restarts it."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _attempt(self, action: Callable[[], Result]) -> Result:
        """Run `action`; a failure ends the process, for good after too many in a row."""
        if self._failures >= _MAX_FAILURES:
            raise ServerError(
                f"The worker `{self._name}` failed {_MAX_FAILURES} times in a row and is not "
                "restarted."
            )
        try:
            result = action()
        except ServerError:
            self._failures += 1
            self.close()
            raise
        self._failures = 0
        return result

    def _started_process(self) -> WorkerProcess:
        if self._process is None:
            self._process = WorkerProcess(self._command)
            deadline = time.monotonic() + self._start_timeout_s
            self._hello = _check_hello(self._process.receive(deadline=deadline), self._name)
        return self._process

    def _request(self, images: Sequence[Image]) -> dict[str, Any]:
        process = self._started_process()
        self._requests += 1
        with tempfile.TemporaryDirectory(prefix="cascade-worker-") as folder:
            deadline = time.monotonic() + self._timeout_s
            files = [_write_ppm(image, Path(folder) / f"{i}.ppm") for i, image in enumerate(images)]
            process.send({"id": self._requests, "images": files}, deadline=deadline)
            answer = process.receive(deadline=deadline)
        if answer.get("id") != self._requests:
            raise ServerError(
                f"The worker `{self._name}` answered request {answer.get('id')!r}, "
                f"expected {self._requests}."
            )
        return answer


def _check_hello(hello: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if "error" in hello:
        raise ServerError(f"The worker `{name}` could not load its model: {hello['error']}")
    if hello.get("protocol") != PROTOCOL:
        raise ServerError(
            f"The worker `{name}` must start with the protocol's version, {PROTOCOL}, "
            f"got {str(dict(hello))[:200]}."
        )
    classes = hello.get("classes")
    if not isinstance(classes, list) or not all(isinstance(label, str) for label in classes):
        raise ServerError(f"The worker `{name}` must announce a list of classes, got {classes!r}.")
    return hello


def _write_ppm(image: Image, path: Path) -> dict[str, Any]:
    """Write a binary PPM, which any language can read in a few lines."""
    height, width = image.shape[:2]
    path.write_bytes(b"P6\n%d %d\n255\n" % (width, height) + np.ascontiguousarray(image).tobytes())
    return {"path": str(path), "height": height, "width": width}


def _to_detections(answer: Any, classes: tuple[str, ...]) -> Detections:
    try:
        labels = [str(label) for label in answer["labels"]]
        boxes = np.asarray(answer["boxes_xyxy"], np.float32).reshape(-1, 4)
        scores = np.asarray(answer["scores"], np.float32).reshape(-1)
        class_ids = [classes.index(label) for label in labels]
    except (KeyError, TypeError, ValueError) as error:
        raise BadPredictionsError(
            "A worker must return boxes_xyxy, scores and labels for each image, with labels of its "
            f"classes {list(classes)}, got {str(answer)[:200]}."
        ) from error
    valid = Detections(boxes, scores, np.array(class_ids, np.int64), classes)  # validates shapes
    return to_detections(
        torch.from_numpy(valid.boxes_xyxy),
        torch.from_numpy(valid.scores),
        torch.from_numpy(valid.class_ids),
        classes,
        nms_iou=None,
    )
