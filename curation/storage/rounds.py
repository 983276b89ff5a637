"""The record of a round: what each stage did, on disk as readable JSON.

A stage whose entry is in the record is done; a round that was cut off goes on at the first
stage without one. Files are replaced whole, so a record is never half-written.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cascade.runtime.atomic_files import atomic_write_text
from curation.errors import StageError
from curation.settings import folder_of
from curation.storage.tags import round_name

RECORD = "record.json"
CHAMPION = "evaluation_champion.json"
CHALLENGER = "evaluation_challenger.json"
VERDICT = "verdict.json"


@dataclass(frozen=True)
class Round:
    """One pass predict → report, and the folder that it leaves its results in.

    Attributes:
        number: 1 for the first.
        folder: `.../rounds/round-01`.
    """

    number: int
    folder: Path

    @property
    def tag(self) -> str:
        """The sample tag of what the round chose."""
        return round_name(self.number)

    @property
    def ensemble(self) -> Path:
        """The folder of the ensemble that the round trained."""
        return self.folder / "ensemble"

    @property
    def start(self) -> Path:
        """The folder of the ensemble that the round began with."""
        return self.folder / "start"

    def record(self) -> dict[str, Any]:
        """Return the record; a natural empty before the round began."""
        return self.read(RECORD) or {"round": self.number, "stages": {}, "failures": []}

    def read(self, name: str) -> dict[str, Any] | None:
        """Return one of the round's JSON files, or None where it does not exist.

        Raises:
            StageError: The file is there and cannot be read.
        """
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            content: dict[str, Any] = json.loads(path.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise StageError(
                f"{path} cannot be read: {error}. Move it away and run the round again."
            ) from error
        return content

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Replace one of the round's JSON files, whole or not at all."""
        atomic_write_text(self.folder / name, json.dumps(content, indent=1))

    def require_dataset(self, dataset_id: str) -> None:
        """Refuse the record of another dataset that had the same name.

        Raises:
            StageError: It is one.
        """
        known = self.record().get("dataset_id", dataset_id)
        if known != dataset_id:
            raise StageError(
                f"{self.folder.parent} holds the rounds of another dataset that had this name "
                "(it was deleted, or is in another database). Move that folder away, or "
                "give the new dataset another name with `--name`."
            )

    def begin(self, **facts: Any) -> None:
        """Note what the round is about, once: later calls change nothing."""
        record = self.record()
        if "started" not in record:
            started = datetime.now(UTC).isoformat(timespec="seconds")
            self.write(RECORD, {**record, "started": started, **facts})

    def note(self, **facts: Any) -> None:
        """Add facts to the record."""
        self.write(RECORD, {**self.record(), **facts})

    def is_done(self, stage: str) -> bool:
        """Return whether the stage is on record."""
        return stage in self.record()["stages"]

    def forget(self, stage: str) -> None:
        """Take a stage off the record, so that it is done again."""
        record = self.record()
        record["stages"].pop(stage, None)
        self.write(RECORD, record)

    def run_once(self, stage: str, work: Callable[[], Mapping[str, Any]]) -> bool:
        """Do the stage's work unless it is on record; return whether it was done now.

        Args:
            stage: Its verb.
            work: Does it, and returns the summary for the record.
        """
        if self.is_done(stage):
            return False
        began = time.monotonic()
        summary = dict(work())
        record = self.record()
        record["stages"][stage] = {
            "seconds": round(time.monotonic() - began, 3),
            "summary": summary,
        }
        self.write(RECORD, record)
        return True


def get_round(home: Path, dataset: str, number: int) -> Round:
    """Return one round of a dataset.

    Raises:
        StageError: The number is below 1.
    """
    if number < 1:
        raise StageError(f"Rounds count from 1, got {number}.")
    folder = folder_of(home, dataset) / "rounds" / round_name(number)
    return Round(number=number, folder=folder)


def finished_rounds(home: Path, dataset: str) -> list[Round]:
    """Return the rounds that were carried to their report, in order."""
    rounds: list[Round] = []
    while (one := get_round(home, dataset, len(rounds) + 1)).is_done("report"):
        rounds.append(one)
    return rounds
