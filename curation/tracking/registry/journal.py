"""The write-ahead record of moves: what is about to be done is in the database before it is.

A move that was cut off is found here and done to its end; what is done stays as a record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from curation.tracking.registry.alias_moves import Move

COLLECTION = "curation_moves"


@dataclass(frozen=True)
class Entry:
    """A move on record.

    Attributes:
        number: The fencing token of the lease under which it was written; grows.
        move: The move.
        done: Whether it was done to its end.
    """

    number: int
    move: Move
    done: bool


class Journal:
    """The moves of one registered model.

    Args:
        database: A MongoDB database (of pymongo).
        key: Of the model, and of the registry that it is in.
    """

    def __init__(self, database: Any, key: str) -> None:
        from pymongo import WriteConcern

        # On the disk before it is acknowledged: this is what makes it write-ahead.
        durable = WriteConcern(w="majority", j=True)
        self._entries = database.get_collection(COLLECTION, write_concern=durable)
        self._key = key

    def begin(self, number: int, move: Move) -> Entry:
        """Put a move on record that is about to be done."""
        entry = {"_id": f"{self._key}#{number}", "key": self._key, "number": number}
        self._entries.insert_one(entry | {"done": False, "move": move.to_dict()})
        return Entry(number, move, done=False)

    def end(self, entry: Entry) -> None:
        """Put on record that a move was done to its end."""
        self._entries.update_one({"_id": f"{self._key}#{entry.number}"}, {"$set": {"done": True}})

    def pending(self) -> list[Entry]:
        """Return the moves that were cut off, oldest first; there is one at most."""
        return self._find({"done": False})

    def last(self) -> Entry | None:
        """Return the last move that was done, None where none was."""
        return next(reversed(self._find({"done": True})), None)

    def _find(self, which: dict[str, Any]) -> list[Entry]:
        found = self._entries.find({"key": self._key, **which}).sort("number", 1)
        return [Entry(one["number"], Move.from_dict(one["move"]), one["done"]) for one in found]
