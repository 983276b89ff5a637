"""Tasks onto the server, each once, whatever fails on the way."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from curation.errors import LabelingError
from curation.labeling.label_studio.api import tasks
from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.errors import TooLargeError, UnsureError
from curation.labeling.label_studio.api.tasks import Condition
from curation.labeling.label_studio.task_json import BLURRED, KEY, chunked

logger = logging.getLogger(__name__)

CHUNK_TASKS = 500  # a second of the server's time
CHUNK_BYTES = 4 * 2**20  # proxies before it often take no more than 10 MB
_USE = ("total_annotations", "cancelled_annotations", "draft_exists")

Row = Mapping[str, Any]  # a task, as `task_json.to_task` gives it


@dataclass(frozen=True)
class There:
    """The tasks of a round that the server has.

    Attributes:
        keys: The keys of the tasks.
        twins: Whether one is there twice.
        blurred: Whether something was hidden in the images of any.
    """

    keys: frozenset[str]
    twins: bool
    blurred: bool


def in_round(number: int) -> Condition:
    """Return the condition that a task is of a round."""
    return Condition("data.round", "equal", "Number", number)


def there(client: Client, project_id: int, number: int) -> There:
    """Look which tasks of a round the server has."""
    keys: set[str] = set()
    total, blurred = 0, False
    for page in tasks.pages(client, project_id, where=[in_round(number)]):
        keys.update(str(one["data"].get(KEY)) for one in page)
        total += len(page)
        blurred |= any(BLURRED in one["data"] for one in page)
    return There(frozenset(keys), twins=total > len(keys), blurred=blurred)


def add(client: Client, project_id: int, rows: Iterable[Row]) -> bool:
    """Import tasks that are not there, in chunks.

    Returns:
        Whether it was ever unsure, so that something may have arrived a second time.

    Raises:
        LabelingError: The server does not take them.
    """
    unsure = False
    last = tasks.last(client, project_id)
    for chunk in chunked(rows, max_bytes=CHUNK_BYTES, max_count=CHUNK_TASKS):
        unsure |= _add_chunk(client, project_id, chunk, last)
    return unsure


def remove_twins(client: Client, project_id: int, number: int) -> None:
    """Delete tasks that came twice: not the first, and none that anybody has worked on."""
    copies: dict[str, list[tuple[bool, int]]] = {}
    include = ("id", "data", *_USE)
    for page in tasks.pages(client, project_id, include=include, where=[in_round(number)]):
        for one in page:
            if key := one["data"].get(KEY):
                copies.setdefault(str(key), []).append((not _is_used(one), int(one["id"])))
    surplus = [
        task_id for found in copies.values() for unused, task_id in sorted(found)[1:] if unused
    ]
    if surplus:
        logger.info("%d tasks had arrived twice; their untouched twins go.", len(surplus))
        tasks.delete(client, project_id, surplus)


def withdraw(client: Client, project_id: int, number: int) -> tuple[int, int]:
    """Delete the tasks of a round that nobody has worked on; return how many went and stayed."""
    used: list[int] = []
    unused: list[int] = []
    include = ("id", *_USE)
    for page in tasks.pages(client, project_id, include=include, where=[in_round(number)]):
        for one in page:
            (used if _is_used(one) else unused).append(int(one["id"]))
    for i in range(0, len(unused), CHUNK_TASKS):
        tasks.delete(client, project_id, unused[i : i + CHUNK_TASKS])
    return len(unused), len(used)


def _add_chunk(client: Client, project_id: int, chunk: list[Row], last: int) -> bool:
    """Import a chunk; where that failed half-way, look what arrived before it is repeated.

    Args:
        client: The server.
        project_id: Where to.
        chunk: The tasks.
        last: The largest id of a task before this push: younger ones may be ours.

    Returns:
        Whether it was ever unsure.
    """
    waits_s = client.retrying.waits_s()
    unsure = False
    while chunk:
        try:
            tasks.add(client, project_id, json.dumps(chunk).encode())
            return unsure
        except TooLargeError:
            if len(chunk) == 1:
                raise
            middle = len(chunk) // 2
            halves = (chunk[:middle], chunk[middle:])
            return any([unsure, *(_add_chunk(client, project_id, one, last) for one in halves)])
        except UnsureError as error:
            unsure = True
            wait_s = next(waits_s, None)
            if wait_s is None:
                raise LabelingError(
                    f"{error} It was tried {client.retrying.attempts} times. Repeat: what "
                    "arrived is not sent again."
                ) from None
            client.pause(wait_s)
            arrived: set[str] = set()
            for page in tasks.pages(client, project_id, after=last):
                arrived.update(str(one["data"].get(KEY)) for one in page)
            chunk = [one for one in chunk if one["data"][KEY] not in arrived]
    return unsure


def _is_used(task: Mapping[str, Any]) -> bool:
    return any(task.get(name) for name in _USE)
