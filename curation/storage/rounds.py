"""Record of a round: the results of its stages, in JSON files.

A stage with an entry in the record is done; an interrupted round resumes at the first stage
without an entry. Files are replaced atomically.
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
    """One run of the stages from predict to report, and its folder.

    Attributes:
        number: Number of the round, from 1.
        folder: Folder of its files, `.../rounds/round-01`.
    """

    number: int
    folder: Path

    @property
    def tag(self) -> str:
        """The sample tag of the batch."""
        return round_name(self.number)

    @property
    def ensemble(self) -> Path:
        """The folder of the ensemble that the round trained."""
        return self.folder / "ensemble"

    @property
    def start(self) -> Path:
        """The folder of the ensemble that the round started with."""
        return self.folder / "start"

    def record(self) -> dict[str, Any]:
        """Return the record, without stages before the round has started."""
        return self.read(RECORD) or {"round": self.number, "stages": {}, "failures": []}

    def read(self, name: str) -> dict[str, Any] | None:
        """Return the content of a JSON file of the round, or None if it does not exist.

        Raises:
            StageError: The file exists and cannot be read.
        """
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            content: dict[str, Any] = json.loads(path.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise StageError(
                f"Cannot read {path}: {error}. Move the file away, then run the round again."
            ) from error
        return content

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Replace a JSON file of the round atomically."""
        atomic_write_text(self.folder / name, json.dumps(content, indent=1))

    def require_dataset(self, dataset_id: str) -> None:
        """Raise StageError for the record of another dataset with the same name."""
        if self.record().get("dataset_id", dataset_id) != dataset_id:
            raise StageError(
                f"{self.folder.parent} contains the rounds of another dataset with this name, "
                "which was deleted or is in another database. Move the folder away, or use "
                "another name for the new dataset with `--name`."
            )

    def begin(self, **facts: Any) -> None:
        """Record the start of the round and facts about it; later calls change nothing."""
        record = self.record()
        if "started" not in record:
            started = datetime.now(UTC).isoformat(timespec="seconds")
            self.write(RECORD, {**record, "started": started, **facts})

    def note(self, **facts: Any) -> None:
        """Add facts to the record."""
        self.write(RECORD, {**self.record(), **facts})

    def is_done(self, stage: str) -> bool:
        """Return whether the record has an entry for the stage."""
        return stage in self.record()["stages"]

    def forget(self, stage: str) -> None:
        """Remove a stage from the record; it will run again."""
        record = self.record()
        record["stages"].pop(stage, None)
        self.write(RECORD, record)

    def run_once(self, stage: str, run: Callable[[], Mapping[str, Any]]) -> bool:
        """Run a stage unless it is done, and return whether it ran.

        Args:
            stage: Name of the stage.
            run: Runs the stage and returns the summary for the record.
        """
        if self.is_done(stage):
            return False
        start = time.monotonic()
        summary = dict(run())
        record = self.record()
        record["stages"][stage] = {
            "seconds": round(time.monotonic() - start, 3),
            "summary": summary,
        }
        self.write(RECORD, record)
        return True


def get_round(home: Path, dataset: str, number: int) -> Round:
    """Return a round of a dataset, which may not have started.

    Raises:
        StageError: The number is below 1.
    """
    if number < 1:
        raise StageError(f"Rounds count from 1, got {number}.")
    return Round(number, folder_of(home, dataset) / "rounds" / round_name(number))


def finished_rounds(home: Path, dataset: str) -> list[Round]:
    """Return the consecutive rounds from the first on that have a report."""
    rounds: list[Round] = []
    while (following := get_round(home, dataset, len(rounds) + 1)).is_done("report"):
        rounds.append(following)
    return rounds
