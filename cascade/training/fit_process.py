"""One fit as a file, for processes of its own: several GPUs, or one that may be killed.

    python -m cascade.training.fit_process JOB.json
    torchrun --standalone --nproc-per-node 8 -m cascade.training.fit_process JOB.json

Process 0 says on its standard output, as one line of JSON, after every epoch how far it is, and
writes what came of it beside the job, as `JOB.result.json`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascade import registry
from cascade.errors import TrainingError
from cascade.predictions import Detections
from cascade.runtime.atomic_files import atomic_write_text
from cascade.training.augmentation.augment import Effects
from cascade.training.data_parallel import joined
from cascade.training.examples import Example
from cascade.training.fit import FitResult, fit

_LAST_WORDS = 2000  # characters of a failed process's output that are passed on


@dataclass(frozen=True)
class Job:
    """What `fit` needs to know, with images as files.

    Attributes:
        adapter: What builds the model.
        checkpoint: Where it starts.
        classes: What it is to name.
        meaning: Which of `classes` each word of its own stands for; itself where not given.
        train: What to learn from.
        val: What decides which epoch is kept.
        out: The checkpoint's folder.
        params: Of the adapter.
        options: Of `fit`, as it names them, but for the device and the progress.
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
        content: dict[str, Any] = {
            "adapter": self.adapter,
            "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
            "classes": list(self.classes),
            "meaning": dict(self.meaning),
            "params": dict(self.params),
            "out": str(self.out),
            "train": [_to_json(one) for one in self.train],
            "val": [_to_json(one) for one in self.val],
            "options": {name: _plain(value) for name, value in self.options.items()},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))

    @classmethod
    def read(cls, path: Path) -> Job:
        """Return the job that `write` wrote."""
        content = json.loads(path.read_text())
        classes = tuple(content["classes"])
        options = content["options"]
        if "effects" in options:
            options["effects"] = Effects(**options["effects"])
        if options.get("goes_on"):
            options["goes_on"] = Path(options["goes_on"])
        return cls(
            adapter=content["adapter"],
            checkpoint=Path(content["checkpoint"]) if content["checkpoint"] else None,
            classes=classes,
            meaning=content["meaning"],
            params=content["params"],
            out=Path(content["out"]),
            train=[_from_json(one, classes) for one in content["train"]],
            val=[_from_json(one, classes) for one in content["val"]],
            options=options,
        )

    def model(self) -> Any:
        """Return the model, naming `classes` and ready to be trained."""
        start = {} if self.checkpoint else {"classes": self.classes}
        model = registry.create(self.adapter, self.checkpoint, **start, **self.params)
        return model.with_classes(self.classes, meaning=lambda word: self.meaning.get(word, word))

    def run(
        self, device: torch.device, progress: Callable[[int, int], None] | None = None
    ) -> FitResult:
        """Fit in this process, together with its group, if it has one."""
        return fit(
            self.model(), self.train, self.val, out=self.out, device=device, progress=progress,
            **self.options,
        )  # fmt: skip


def launch(
    job: Job, path: Path, *, processes: int, progress: Callable[[int, int], None] | None = None
) -> FitResult:
    """Fit in `processes` processes of their own, one a GPU, and return what came of it.

    Args:
        job: What to fit.
        path: Where to write the job; the result comes to lie beside it.
        processes: How many.
        progress: Called after every epoch.

    Raises:
        TrainingError: A process failed; the end of what it said is in the message.
    """
    job.write(path)
    result = _result(path)
    result.unlink(missing_ok=True)
    group = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    command = [sys.executable, "-m", *(group if processes > 1 else []), __name__, str(path)]
    said: list[str] = []
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        for line in running.stdout or ():
            told = _progress_in(line)
            if told is None:
                said.append(line)
            elif progress:
                progress(*told)
    if running.returncode or not result.is_file():
        raise TrainingError(
            f"The fit of {job.adapter!r} in {processes} processes failed with code "
            f"{running.returncode}: {''.join(said)[-_LAST_WORDS:].strip()}"
        )
    return _result_from(json.loads(result.read_text()))


def main(path: Path) -> None:
    """Run the job in `path`, in whatever group this process was started."""
    with joined() as group:
        place = "cuda" if torch.cuda.is_available() else "cpu"
        index = int(os.environ.get("LOCAL_RANK", "0")) if place == "cuda" else None
        device = torch.device(place, index) if index is not None else torch.device(place)
        result = Job.read(path).run(device, progress=_say)
        if group.rank == 0:
            atomic_write_text(_result(path), json.dumps(asdict(result), default=str))


def _say(done: int, total: int) -> None:
    sys.stdout.write(json.dumps({"epoch": done, "epochs": total}) + "\n")
    sys.stdout.flush()


def _progress_in(line: str) -> tuple[int, int] | None:
    if not line.startswith('{"epoch": '):
        return None
    told = json.loads(line)
    return told["epoch"], told["epochs"]


def _result(path: Path) -> Path:
    return path.with_suffix(".result.json")


def _result_from(content: dict[str, Any]) -> FitResult:
    known = {one.name: content[one.name] for one in fields(FitResult)}
    lists = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
    return FitResult(**{**known, **lists, "checkpoint": Path(known["checkpoint"])})


def _to_json(one: Example) -> dict[str, Any]:
    if isinstance(one.image, np.ndarray):
        raise TrainingError("The images of a job must be files, got pixels.")
    return {
        "image": str(one.image),
        "boxes": one.target.boxes_xyxy.tolist(),
        "class_ids": one.target.class_ids.tolist(),
        "window": one.window,
        "hidden": one.hidden,
    }


def _from_json(row: dict[str, Any], classes: tuple[str, ...]) -> Example:
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
        hidden=tuple(tuple(one) for one in row["hidden"]),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Effects):
        return asdict(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value) if isinstance(value, Path) else value


if __name__ == "__main__":
    main(Path(sys.argv[1]))
