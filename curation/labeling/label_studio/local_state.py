"""State of a project on this machine, in one folder.

    lock                one push or sync at a time
    pushing.json        a push in progress, or interrupted
    round-01.json       imported annotations, see `pull_state`
    round-01.jsonl      every annotator's submissions, and the merged result

The folder may be deleted: the next push then checks the server for longer, and the next sync
treats every annotation as new.
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
from curation.labeling.export_folder import translate_file_errors
from curation.labeling.label_studio.pull_state import Stamp


class LocalState:
    """The state of one dataset's project.

    Args:
        folder: The folder; created on the first write.

    Attributes:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._push_marker = folder / "pushing.json"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Exclude other processes of this machine while the block runs.

        Raises:
            LabelingError: Another process holds the lock.
        """
        with translate_file_errors(self.folder):
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

    def was_interrupted(self) -> bool:
        """Return whether the last push was interrupted."""
        return self._push_marker.is_file()

    def begin_push(self, project_id: int) -> None:
        """Record that a push is in progress."""
        with translate_file_errors(self.folder):
            atomic_write_text(self._push_marker, json.dumps({"project": project_id}))

    def end_push(self) -> None:
        """Record that the push is complete."""
        self._push_marker.unlink(missing_ok=True)

    def write_imported(self, round_name: str, annotations: Mapping[int, tuple[Stamp, str]]) -> None:
        """Record stamp and sample of the imported annotations of a round, by annotation id."""
        rows = {
            annotation_id: (stamp.updated_at.isoformat(), stamp.digest, sample_id)
            for annotation_id, (stamp, sample_id) in annotations.items()
        }
        with translate_file_errors(self.folder):
            atomic_write_text(self._imported(round_name), json.dumps(rows))

    def read_imported(self, round_name: str) -> dict[int, tuple[Stamp, str]]:
        """Return stamp and sample of the imported annotations, by id; empty if not recorded.

        Raises:
            LabelingError: The file was edited and cannot be parsed.
        """
        path = self._imported(round_name)
        if not path.is_file():
            return {}
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            return {
                int(annotation_id): (Stamp(datetime.fromisoformat(at), digest), str(sample_id))
                for annotation_id, (at, digest, sample_id) in rows.items()
            }
        except (ValueError, AttributeError, TypeError) as error:
            raise LabelingError(
                f"{path} was edited and cannot be parsed ({type(error).__name__}). "
                "Remove it; the next sync treats every annotation as new."
            ) from error

    @contextmanager
    def write_rows(self, round_name: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Yield a function that writes the row of one sample; the file is replaced atomically."""
        path = self.folder / f"{round_name}.jsonl"
        with (
            translate_file_errors(self.folder),
            atomic_write(path) as draft,
            draft.open("w", encoding="utf-8") as file,
        ):
            yield lambda row: print(json.dumps(row, ensure_ascii=False), file=file)

    def _imported(self, round_name: str) -> Path:
        return self.folder / f"{round_name}.json"
