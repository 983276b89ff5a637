"""Write-ahead journal of moves in the database.

An interrupted move is found here and completed; completed moves stay as a record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curation.tracking.registry.move_plan import Move

if TYPE_CHECKING:
    from pymongo.database import Database

COLLECTION = "curation_moves"


@dataclass(frozen=True)
class Entry:
    """A recorded move.

    Attributes:
        number: Fencing token of the lease under which it was written; increasing.
        move: The move.
        done: Whether it was completed.
    """

    number: int
    move: Move
    done: bool


class Journal:
    """Moves of one registered model.

    Args:
        database: MongoDB database.
        key: Key of the model and its registry.
    """

    def __init__(self, database: Database[Any], key: str) -> None:
        from pymongo import WriteConcern

        # Acknowledged only after it is on disk, as a write-ahead journal requires.
        durable = WriteConcern(w="majority", j=True)
        self._entries = database.get_collection(COLLECTION, write_concern=durable)
        self._key = key

    def begin(self, number: int, move: Move) -> Entry:
        """Record a move before it is made."""
        entry = {"_id": f"{self._key}#{number}", "key": self._key, "number": number}
        self._entries.insert_one(entry | {"done": False, "move": move.to_dict()})
        return Entry(number, move, done=False)

    def end(self, entry: Entry) -> None:
        """Record that a move was completed."""
        self._entries.update_one({"_id": f"{self._key}#{entry.number}"}, {"$set": {"done": True}})

    def pending(self) -> list[Entry]:
        """Return interrupted moves, oldest first; there is at most one."""
        return self._find({"done": False})

    def last(self) -> Entry | None:
        """Return the last completed move; None if there is none."""
        return next(reversed(self._find({"done": True})), None)

    def _find(self, query: dict[str, Any]) -> list[Entry]:
        documents = self._entries.find({"key": self._key, **query}).sort("number", 1)
        return [Entry(d["number"], Move.from_dict(d["move"]), d["done"]) for d in documents]
