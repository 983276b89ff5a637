"""A detector in a process, and a Python environment, of its own.

For models that cannot be installed beside ours: a fork of a package under the same name, another
framework, a licence that must not mix. docs/worker.md describes both sides.
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

# Failures in a row after which it is not started again: the engine halves a batch until the bad
# image is alone, which takes 8 in a batch of 128.
_PATIENCE = 8
_CHECKPOINT = "{checkpoint}"
Result = TypeVar("Result")


class WorkerDetector:
    """The adapter's side.

    The process starts with the first question, and anew after it crashed or was late: that
    batch fails, the next one works. It ends with this object, or this interpreter.

    Args:
        checkpoint: Takes the place of the word `{checkpoint}` in the command.
        command: Program and arguments, e.g. `["/opt/venv/bin/python", "my_worker.py"]`.
        timeout_s: How long one batch may take.
        start_timeout_s: How long loading may take.

    Raises:
        CheckpointError: The command is empty, or asks for a checkpoint where there is none.
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
            raise CheckpointError(
                f"The command asks for a checkpoint, but there is none: {command}."
            )
        self.module = nn.Identity()
        self._command = [word.replace(_CHECKPOINT, str(checkpoint)) for word in command]
        self._name = " ".join(self._command)
        self._timeout_s, self._start_timeout_s = timeout_s, start_timeout_s
        self._process: WorkerProcess | None = None
        self._hello: Mapping[str, Any] = {}
        self._requests = self._failures = 0

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that its detections use, as the worker says; asking starts it."""
        if not self._hello:
            self._attempt(self._running)
        return tuple(self._hello["classes"])

    def prepare(self, batch: Batch) -> Tensors:
        """Return the images as they are; the worker sees to the rest."""
        return {"images": batch.images}

    def forward(self, tensors: Tensors) -> list[Any]:
        """Return what the worker answers, one value an image.

        Raises:
            ServerError: It crashed, was late, or answered nonsense.
        """
        images: Sequence[Image] = tensors["images"]
        if not len(images):
            return []
        answer = self._attempt(lambda: self._ask(images))
        if "error" in answer:  # it lives, and says so itself
            raise ServerError(f"The worker `{self._name}` failed: {answer['error']}")
        found = answer.get("detections")
        if not isinstance(found, list) or len(found) != len(images):
            raise ServerError(
                f"The worker `{self._name}` must answer with `detections` of {len(images)} "
                f"images, got {str(answer)[:200]}."
            )
        return found

    def decode(self, raw: list[Any], batch: Batch) -> list[Detections]:
        """Return the boxes of each image.

        Raises:
            BadPredictionsError: They are no boxes, or of classes that it did not announce.
        """
        return [_to_detections(one, self.classes) for one in raw]

    def close(self) -> None:
        """End the process; the next question starts it again."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _attempt(self, action: Callable[[], Result]) -> Result:
        """Run `action`; where it fails, the process is ended, and in the end given up."""
        if self._failures >= _PATIENCE:
            raise ServerError(
                f"The worker `{self._name}` failed {_PATIENCE} times in a row; it is "
                "not started again."
            )
        try:
            result = action()
        except ServerError:
            self._failures += 1
            self.close()
            raise
        self._failures = 0
        return result

    def _running(self) -> WorkerProcess:
        if self._process is None:
            self._process = WorkerProcess(self._command)
            deadline = time.monotonic() + self._start_timeout_s
            self._hello = _checked(self._process.receive(deadline=deadline), self._name)
        return self._process

    def _ask(self, images: Sequence[Image]) -> dict[str, Any]:
        process = self._running()
        self._requests += 1
        with tempfile.TemporaryDirectory(prefix="cascade-worker-") as folder:
            deadline = time.monotonic() + self._timeout_s
            files = [_write(one, Path(folder) / f"{i}.ppm") for i, one in enumerate(images)]
            process.send({"id": self._requests, "images": files}, deadline=deadline)
            answer = process.receive(deadline=deadline)
        if answer.get("id") != self._requests:
            raise ServerError(
                f"The worker `{self._name}` answered the request {answer.get('id')!r}, "
                f"expected {self._requests}."
            )
        return answer


def _checked(hello: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if "error" in hello:
        raise ServerError(f"The worker `{name}` could not load its model: {hello['error']}")
    if hello.get("protocol") != PROTOCOL:
        raise ServerError(
            f"The worker `{name}` must begin with the protocol's version, {PROTOCOL}, "
            f"got {str(dict(hello))[:200]}."
        )
    classes = hello.get("classes")
    if not isinstance(classes, list) or not all(isinstance(one, str) for one in classes):
        raise ServerError(f"The worker `{name}` must announce a list of classes, got {classes!r}.")
    return hello


def _write(image: Image, path: Path) -> dict[str, Any]:
    """Write a binary PPM, which any language reads in three lines."""
    height, width = image.shape[:2]
    path.write_bytes(b"P6\n%d %d\n255\n" % (width, height) + np.ascontiguousarray(image).tobytes())
    return {"path": str(path), "height": height, "width": width}


def _to_detections(answer: Any, classes: tuple[str, ...]) -> Detections:
    try:
        labels = [str(one) for one in answer["labels"]]
        boxes = np.asarray(answer["boxes_xyxy"], np.float32).reshape(-1, 4)
        scores = np.asarray(answer["scores"], np.float32).reshape(-1)
        class_ids = [classes.index(one) for one in labels]
    except (KeyError, TypeError, ValueError) as error:
        raise BadPredictionsError(
            "A worker must answer for each image with boxes_xyxy, scores and labels of its "
            f"classes {list(classes)}, got {str(answer)[:200]}."
        ) from error
    whole = Detections(boxes, scores, np.array(class_ids, np.int64), classes)  # refuses the rest
    return to_detections(
        torch.from_numpy(whole.boxes_xyxy),
        torch.from_numpy(whole.scores),
        torch.from_numpy(whole.class_ids),
        classes,
        nms_iou=None,
    )
