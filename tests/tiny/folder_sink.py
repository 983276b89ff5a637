"""A sink that other processes can open: predictions as files in a folder, one an image and member.

It can be told to die, as if killed, in the middle of its work.
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

_PATIENCE_S = 120  # with a machine on which a process starts late


@dataclass(frozen=True)
class FolderSink:
    """Writes into a folder.

    Attributes:
        folder: Where.
        deadly: An image whose writing kills the process, `deaths` times; None for none.
        deaths: How often.
        company: Processes that must have opened it before one of them writes.
    """

    folder: Path
    deadly: str | None = None
    deaths: int = 1
    company: int = 1

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Store `results`; the process that wrote each is on record."""
        self._wait_for_company()
        for image, row in results.items():
            self._die(image)
            for member, said in row.items():
                draft = self.folder / f".{uuid4().hex}"
                draft.write_text(json.dumps([os.getpid(), plain(said)]))
                draft.replace(self.folder / f"{image}.{member}.json")

    def read(self) -> dict[str, dict[str, Any]]:
        """Return what was written, as `plain` has it."""
        found: dict[str, dict[str, Any]] = {}
        for one in sorted(self.folder.glob("*.json")):
            image, member, _ = one.name.split(".")
            found.setdefault(image, {})[member] = json.loads(one.read_text())[1]
        return found

    def writers(self) -> set[int]:
        """Return the processes that wrote."""
        return {json.loads(one.read_text())[0] for one in self.folder.glob("*.json")}

    def _wait_for_company(self) -> None:
        ends = time.monotonic() + _PATIENCE_S
        while len(list(self.folder.glob("opened by *"))) < self.company and time.monotonic() < ends:
            time.sleep(0.05)

    def _die(self, image: str) -> None:
        if image != self.deadly or len(list(self.folder.glob("death *"))) >= self.deaths:
            return
        (self.folder / f"death {uuid4().hex}").touch()
        os.kill(os.getpid(), signal.SIGKILL)


def opened(
    folder: Path, deadly: str | None = None, deaths: int = 1, company: int = 1
) -> FolderSink:
    """Return the sink: what a worker process calls."""
    (folder / f"opened by {os.getpid()}").touch()
    return FolderSink(folder, deadly, deaths, company)


def plain(said: Any) -> Any:
    """Return boxes to the last digit, as JSON has them."""
    if isinstance(said, Failure):
        return [said.error, said.message]
    return [said.boxes_xyxy.tolist(), said.scores.tolist(), said.class_ids.tolist()]
