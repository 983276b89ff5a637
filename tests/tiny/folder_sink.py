"""Sink for several processes: predictions as files in a folder, one per image and member.

It can kill its process at a chosen image.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from cascade.predictions import Failure

_TIMEOUT_S = 120  # for a process that starts late on a busy machine


@dataclass(frozen=True)
class FolderSink:
    """Sink that writes into a folder.

    Attributes:
        folder: Destination.
        deadly: Image whose writing kills the process, `deaths` times; None for none.
        deaths: Number of kills.
        company: Number of processes that must have opened the sink before any of them writes.
    """

    folder: Path
    deadly: str | None = None
    deaths: int = 1
    company: int = 1

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Store `results` with the ID of the writing process."""
        self._wait_for_company()
        for image, row in results.items():
            self._die(image)
            for member, prediction in row.items():
                draft = self.folder / f".{uuid4().hex}"
                draft.write_text(json.dumps([os.getpid(), plain(prediction)]))
                draft.replace(self.folder / f"{image}.{member}.json")

    def read(self) -> dict[str, dict[str, Any]]:
        """Return the stored predictions in the form of `plain`."""
        rows: dict[str, dict[str, Any]] = {}
        for path in sorted(self.folder.glob("*.json")):
            image, member, _ = path.name.split(".")
            rows.setdefault(image, {})[member] = json.loads(path.read_text())[1]
        return rows

    def writers(self) -> set[int]:
        """Return the IDs of the writing processes."""
        return {json.loads(path.read_text())[0] for path in self.folder.glob("*.json")}

    def _wait_for_company(self) -> None:
        ends = time.monotonic() + _TIMEOUT_S
        while len(list(self.folder.glob("opened by *"))) < self.company and time.monotonic() < ends:
            time.sleep(0.05)

    def _die(self, image: str) -> None:
        if image != self.deadly or len(list(self.folder.glob("death *"))) >= self.deaths:
            return
        (self.folder / f"death {uuid4().hex}").touch()
        os.kill(os.getpid(), signal.SIGKILL)


def open_sink(
    folder: Path, deadly: str | None = None, deaths: int = 1, company: int = 1
) -> FolderSink:
    """Return the sink of a worker process."""
    (folder / f"opened by {os.getpid()}").touch()
    return FolderSink(folder, deadly, deaths, company)


def plain(prediction: Any) -> Any:
    """Return a prediction as JSON values, without rounding."""
    if isinstance(prediction, Failure):
        return [prediction.error, prediction.message]
    return [
        prediction.boxes_xyxy.tolist(),
        prediction.scores.tolist(),
        prediction.class_ids.tolist(),
    ]
