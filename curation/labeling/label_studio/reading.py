"""All that was submitted, while others go on submitting: none lost, none twice.

1. The server is asked when a task was last changed, by its own clock: the mark.
2. All tasks are read with their annotations, page by page, by id.
3. Where a task has been changed after the mark, those that were are read again, and replace what
   was read of them before; then the mark moves on. Saving, changing and deleting an annotation
   all change the time of its task.

An annotation that was there when reading began is found in 2. One that came while it went on is
found in 3, or, where others never pause, by the next call. What is found is kept by the task's
id, so nothing is there twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from curation.labeling.label_studio.client import Client, Condition

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIELDS = (
    "id", "data", "annotations", "result", "completed_by", "lead_time", "was_cancelled",
    "created_at", "updated_at",
)  # fmt: skip
_READ_AGAIN = 5  # at most; each takes as long as what came during the one before
_OVERLAP = timedelta(seconds=10)  # a change is dated when it is made, and seen when it is saved
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # the only way in which the server reads one
_PAGE = 200


@dataclass(frozen=True)
class Found(Generic[T]):
    """What was read.

    Attributes:
        tasks: What was made of each task, by its id.
        mark: When a task was last changed, as far as was read; None without tasks.
    """

    tasks: Mapping[int, T]
    mark: str | None


def read(
    client: Client,
    project_id: int,
    parse: Callable[[Mapping[str, Any]], T],
    *,
    where: Sequence[Condition] = (),
    since: str | None = None,
) -> Found[T]:
    """Read the tasks of a project with their annotations.

    Args:
        client: The server.
        project_id: Which project.
        parse: Makes of a task what is kept of it, so that no page outlives the next.
        where: Conditions on the tasks.
        since: A `mark`: only tasks that were changed from then on.
    """
    found: dict[int, T] = {}

    def collect(*more: Condition) -> None:
        conditions = (*where, *more)
        for page in client.tasks(project_id, include=FIELDS, where=conditions, page_size=_PAGE):
            found.update({int(one["id"]): parse(one) for one in page})

    mark = client.newest(project_id)
    collect(*([_changed_from(since)] if since else []))
    for _ in range(_READ_AGAIN):
        newest = client.newest(project_id)
        if newest == mark:
            break
        collect(*([_changed_from(mark)] if mark else []))
        mark = newest
    else:
        logger.info("Others kept submitting; the next pull has what came after %s.", mark)
    return Found(found, mark)


def _changed_from(mark: str) -> Condition:
    """Return the condition that a task was changed at a time or later, with a margin."""
    moment = datetime.fromisoformat(mark).astimezone(UTC) - _OVERLAP
    return Condition("updated_at", "greater", "Datetime", moment.strftime(_TIME))
