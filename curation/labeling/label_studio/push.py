"""Idempotent import of tasks: each task exists once, even after failures."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from curation.errors import LabelingError
from curation.labeling.label_studio.api import tasks
from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.errors import UnknownOutcomeError
from curation.labeling.label_studio.api.tasks import Condition
from curation.labeling.label_studio.batching import send_in_halves
from curation.labeling.label_studio.task_json import BLURRED, KEY, chunked

logger = logging.getLogger(__name__)

CHUNK_TASKS = 500  # a second of the server's time
CHUNK_BYTES = 4 * 2**20  # proxies often accept 10 MB at most
_WORK = ("total_annotations", "cancelled_annotations", "draft_exists")

TaskJson = Mapping[str, Any]  # as returned by `task_json.to_task`


@dataclass(frozen=True)
class ExistingTasks:
    """Tasks of a round on the server.

    Attributes:
        keys: Keys of the tasks.
        duplicated: Whether any task exists twice.
        blurred: Whether any image was blurred.
    """

    keys: frozenset[str]
    duplicated: bool
    blurred: bool


def in_round(number: int) -> Condition:
    """Return the condition that a task belongs to a round."""
    return Condition("data.round", "equal", "Number", number)


def find_existing(client: Client, project_id: int, number: int) -> ExistingTasks:
    """Return the tasks of a round on the server."""
    keys: set[str] = set()
    total, blurred = 0, False
    for page in tasks.pages(client, project_id, conditions=[in_round(number)]):
        keys.update(str(task["data"].get(KEY)) for task in page)
        total += len(page)
        blurred |= any(BLURRED in task["data"] for task in page)
    return ExistingTasks(frozenset(keys), duplicated=total > len(keys), blurred=blurred)


def add(client: Client, project_id: int, rows: Iterable[TaskJson]) -> bool:
    """Import new tasks, in chunks.

    Returns:
        Whether the outcome of a request was unknown, which may have duplicated tasks.

    Raises:
        LabelingError: The server rejects the tasks.
    """
    uncertain = False
    last_id = tasks.largest_id(client, project_id)
    for chunk in chunked(rows, max_bytes=CHUNK_BYTES, max_count=CHUNK_TASKS):
        uncertain |= _add_chunk(client, project_id, chunk, last_id)
    return uncertain


def remove_duplicates(client: Client, project_id: int, number: int) -> None:
    """Delete duplicated tasks, except the first of each and those with work on them."""
    copies: dict[str, list[tuple[bool, int]]] = {}
    include = ("id", "data", *_WORK)
    for page in tasks.pages(client, project_id, include=include, conditions=[in_round(number)]):
        for task in page:
            if key := task["data"].get(KEY):
                copies.setdefault(str(key), []).append((not _has_work(task), int(task["id"])))
    surplus = [task_id for ids in copies.values() for unused, task_id in sorted(ids)[1:] if unused]
    if surplus:
        logger.info("Deleting %d duplicated tasks without work on them.", len(surplus))
        tasks.delete(client, project_id, surplus)


def withdraw(client: Client, project_id: int, number: int) -> tuple[int, int]:
    """Delete the tasks of a round without work on them; return the deleted and kept numbers."""
    used: list[int] = []
    unused: list[int] = []
    include = ("id", *_WORK)
    for page in tasks.pages(client, project_id, include=include, conditions=[in_round(number)]):
        for task in page:
            (used if _has_work(task) else unused).append(int(task["id"]))
    for i in range(0, len(unused), CHUNK_TASKS):
        tasks.delete(client, project_id, unused[i : i + CHUNK_TASKS])
    return len(unused), len(used)


def _add_chunk(client: Client, project_id: int, chunk: list[TaskJson], last_id: int) -> bool:
    """Import a chunk; after an unknown outcome, check what arrived before repeating.

    Args:
        client: Connection to the server.
        project_id: Id of the project.
        chunk: The tasks.
        last_id: Largest task id before this push; tasks with larger ids may be from it.

    Returns:
        Whether the outcome of a request was unknown.
    """
    delays_s = client.retry_policy.delays_s()
    uncertain = False
    while chunk:
        try:
            send_in_halves(
                chunk,
                lambda part: tasks.import_tasks(client, project_id, json.dumps(part).encode()),
            )
            return uncertain
        except UnknownOutcomeError as error:
            uncertain = True
            delay_s = next(delays_s, None)
            if delay_s is None:
                raise LabelingError(
                    f"{error} Gave up after {client.retry_policy.attempts} attempts. Repeat: "
                    "tasks that arrived are not sent again."
                ) from None
            time.sleep(delay_s)
            arrived: set[str] = set()
            for page in tasks.pages(client, project_id, after=last_id):
                arrived.update(str(task["data"].get(KEY)) for task in page)
            chunk = [task for task in chunk if task["data"][KEY] not in arrived]
    return uncertain


def _has_work(task: Mapping[str, Any]) -> bool:
    return any(task.get(name) for name in _WORK)
