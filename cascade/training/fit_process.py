"""Fits in separate processes: several GPUs, or a process that may be killed.

    python -m cascade.training.fit_process JOB.json
    torchrun --standalone --nproc-per-node 8 -m cascade.training.fit_process JOB.json

Process 0 prints one line of JSON with its progress after every epoch, and writes the result next
to the job, as `JOB.result.json`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascade import registry
from cascade.errors import TrainingError
from cascade.predictions import Detections
from cascade.protocols import Trainable
from cascade.runtime.atomic_files import atomic_write_text
from cascade.runtime.progress import Progress
from cascade.training.augmentation.augment import Effects
from cascade.training.data_parallel import join_group
from cascade.training.examples import Example
from cascade.training.fit import FitResult, fit

_MAX_OUTPUT_CHARS = 2000  # end of a failed process's output in the error


@dataclass(frozen=True)
class FitJob:
    """The arguments of `fit`, with images as files.

    Attributes:
        adapter: Adapter that builds the model.
        checkpoint: Checkpoint to start from; None for a new model.
        classes: Classes of the trained model.
        train: Training examples.
        val: Validation examples, which select the best epoch.
        out: Folder of the new checkpoint.
        meaning: Class in `classes` for each class of the starting model; itself by default.
        params: Parameters of the adapter.
        options: Options of `fit`, except the device and the progress callback.
    """

    adapter: str
    checkpoint: Path | None
    classes: tuple[str, ...]
    train: Sequence[Example]
    val: Sequence[Example]
    out: Path
    meaning: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the job as JSON."""
        content = {
            **vars(self),
            "train": [_example_to_json(example) for example in self.train],
            "val": [_example_to_json(example) for example in self.val],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, default=_to_json))

    @classmethod
    def read(cls, path: Path) -> FitJob:
        """Return the job that `write` wrote."""
        content = json.loads(path.read_text())
        classes = tuple(content["classes"])
        options = content["options"]
        if "effects" in options:
            options["effects"] = Effects(**options["effects"])
        if options.get("state_file"):
            options["state_file"] = Path(options["state_file"])
        content |= {
            "checkpoint": Path(content["checkpoint"]) if content["checkpoint"] else None,
            "classes": classes,
            "out": Path(content["out"]),
            "train": [_example_from_json(row, classes) for row in content["train"]],
            "val": [_example_from_json(row, classes) for row in content["val"]],
        }
        return cls(**content)

    def model(self) -> Trainable:
        """Return the model, trainable and with `classes`."""
        start = {} if self.checkpoint else {"classes": self.classes}
        model = registry.create(self.adapter, self.checkpoint, **start, **self.params)
        return model.with_classes(self.classes, meaning=lambda word: self.meaning.get(word, word))

    def run(self, device: torch.device, progress: Progress | None = None) -> FitResult:
        """Fit in this process, together with its process group, if any."""
        return fit(
            self.model(), self.train, self.val, out=self.out, device=device, progress=progress,
            **self.options,
        )  # fmt: skip


def launch(
    job: FitJob, path: Path, *, processes: int, progress: Progress | None = None
) -> FitResult:
    """Fit in `processes` new processes, one per GPU, and return the result.

    Args:
        job: The job.
        path: File for the job; the result is written next to it.
        processes: Number of processes.
        progress: Callback after every epoch.

    Raises:
        TrainingError: A process failed; the message includes the end of its output.
    """
    job.write(path)
    result = _result_file(path)
    result.unlink(missing_ok=True)
    group = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    command = [sys.executable, "-m", *(group if processes > 1 else []), __name__, str(path)]
    output: list[str] = []
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            if not line.startswith('{"epoch": '):
                output.append(line)
            elif progress:
                epochs = json.loads(line)
                progress(epochs["epoch"], epochs["epochs"])
    if process.returncode or not result.is_file():
        raise TrainingError(
            f"The fit of {job.adapter!r} in {processes} processes failed with code "
            f"{process.returncode}: {''.join(output)[-_MAX_OUTPUT_CHARS:].strip()}"
        )
    return FitResult.from_record(json.loads(result.read_text()))


def main(path: Path) -> None:
    """Run the job in `path`, within the process group of the environment."""
    with join_group() as group:
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        result = FitJob.read(path).run(device, progress=_print_progress)
        if group.rank == 0:
            atomic_write_text(_result_file(path), json.dumps(asdict(result), default=str))


def _print_progress(done: int, total: int) -> None:
    sys.stdout.write(json.dumps({"epoch": done, "epochs": total}) + "\n")
    sys.stdout.flush()


def _result_file(path: Path) -> Path:
    return path.with_suffix(".result.json")


def _example_to_json(example: Example) -> dict[str, Any]:
    if isinstance(example.image, np.ndarray):
        raise TrainingError("The images of a job must be files, got pixels.")
    return {
        "image": str(example.image),
        "boxes": example.target.boxes_xyxy.tolist(),
        "class_ids": example.target.class_ids.tolist(),
        "window": example.window,
        "hidden": example.hidden,
    }


def _example_from_json(row: dict[str, Any], classes: tuple[str, ...]) -> Example:
    n = len(row["class_ids"])
    target = Detections(
        np.array(row["boxes"], np.float32).reshape(n, 4),
        np.ones(n, np.float32),
        np.array(row["class_ids"], np.int64),
        classes,
    )
    window = row["window"]
    return Example(
        Path(row["image"]),
        target,
        window=tuple(window) if window else None,
        hidden=tuple(tuple(corners) for corners in row["hidden"]),
    )


def _to_json(value: object) -> Any:
    if isinstance(value, Effects):
        return asdict(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"Cannot write a value of type {type(value).__name__} as JSON.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
