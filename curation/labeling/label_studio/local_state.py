"""What is kept on this machine about a project, in one folder.

    lock                one push or sync at a time
    pushing.json        a push that is under way, or that was cut off
    round-01.json       which annotations were taken over, see `pull_state`
    round-01.jsonl      what every annotator submitted, and what was made of it

All of it can be lost: then a push looks at the server for longer, and a sync takes everything
for new.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from cascade.runtime.atomic_files import atomic_write, atomic_write_text
from curation.errors import LabelingError
from curation.labeling import export_folder
from curation.labeling.label_studio.pull_state import Stamp


class Notes:
    """The notes of one dataset.

    Args:
        folder: Where they are; made with the first note.

    Attributes:
        folder: The same.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pushing = folder / "pushing.json"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes of this machine out while the block runs.

        Raises:
            LabelingError: One is at work.
        """
        with export_folder.explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise LabelingError(
                f"Another push or sync of this dataset is running ({self.folder}). "
                "Wait for it to end."
            ) from error
        finally:
            os.close(lock)

    def was_cut_off(self) -> bool:
        """Return whether the last push did not come to its end."""
        return self._pushing.is_file()

    def begin_push(self, project_id: int) -> None:
        """Note that tasks are about to be imported."""
        with export_folder.explained(self.folder):
            atomic_write_text(self._pushing, json.dumps({"project": project_id}))

    def end_push(self) -> None:
        """Note that all of them are there, each once."""
        self._pushing.unlink(missing_ok=True)

    def keep_taken_over(
        self, round_name: str, annotations: Mapping[int, tuple[Stamp, str]]
    ) -> None:
        """Note which annotations of a round were taken over: stamp and sample of each."""
        rows = {
            one: (stamp.updated_at.isoformat(), stamp.digest, sample)
            for one, (stamp, sample) in annotations.items()
        }
        with export_folder.explained(self.folder):
            atomic_write_text(self.folder / f"{round_name}.json", json.dumps(rows))

    def taken_over(self, round_name: str) -> dict[int, tuple[Stamp, str]]:
        """Return stamp and sample of what was taken over; nothing where that is not known.

        Raises:
            LabelingError: Somebody changed the file.
        """
        path = self.folder / f"{round_name}.json"
        if not path.is_file():
            return {}
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            return {
                int(one): (Stamp(datetime.fromisoformat(at), digest), str(sample))
                for one, (at, digest, sample) in rows.items()
            }
        except (ValueError, AttributeError, TypeError) as error:
            raise LabelingError(
                f"{path} was changed so that it cannot be read ({type(error).__name__}). "
                "Remove it; the next sync takes everything for new."
            ) from error

    @contextmanager
    def answers(self, round_name: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Give what keeps every annotator's version of one sample; the file is whole or the old."""
        path = self.folder / f"{round_name}.jsonl"
        with (
            export_folder.explained(self.folder),
            atomic_write(path) as draft,
            draft.open("w", encoding="utf-8") as file,
        ):
            yield lambda row: print(json.dumps(row, ensure_ascii=False), file=file)
