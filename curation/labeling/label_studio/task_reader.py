"""All that was submitted, while others go on submitting: none lost, none twice.

1. The server is asked when a task was last changed, by its own clock: the mark.
2. All tasks are read with their annotations, page by page, by id.
3. Where a task has been changed after the mark, those that were are read again, and replace what
   was read of them before; then the mark moves on. Saving, changing and deleting an annotation
   all change the time of its task.

An annotation that was there when reading began is found in 2. One that came while it went on is
found in 3, or, where others never pause, by the next call. A task that is read again replaces
what was read of it before, so nothing is there twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from curation.labeling.label_studio.api import tasks
from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.tasks import Condition

logger = logging.getLogger(__name__)

FIELDS = (
    "id", "data", "annotations", "result", "completed_by", "lead_time", "was_cancelled",
    "created_at", "updated_at",
)  # fmt: skip
_READ_AGAIN = 5  # at most; each takes as long as what came during the one before
_OVERLAP = timedelta(seconds=10)  # a change is dated when it is made, and seen when it is saved
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # the only way in which the server reads one
_PAGE = 200


def read(
    client: Client,
    project_id: int,
    take: Callable[[Mapping[str, Any]], None],
    *,
    where: Sequence[Condition] = (),
    since: str | None = None,
) -> str | None:
    """Read the tasks of a project with their annotations.

    Args:
        client: The server.
        project_id: Which project.
        take: Takes each task in; one that comes again replaces its former self.
        where: Conditions on the tasks.
        since: A mark: only tasks that were changed from then on.

    Returns:
        The mark: when a task was last changed, as far as was read; None without tasks.
    """

    def collect(*more: Condition) -> None:
        conditions = (*where, *more)
        for page in tasks.pages(
            client, project_id, include=FIELDS, where=conditions, page_size=_PAGE
        ):
            for one in page:
                take(one)

    mark = tasks.newest(client, project_id)
    collect(*([_changed_from(since)] if since else []))
    for _ in range(_READ_AGAIN):
        newest = tasks.newest(client, project_id)
        if newest == mark:
            break
        collect(*([_changed_from(mark)] if mark else []))
        mark = newest
    else:
        logger.info("Others kept submitting; the next pull has what came after %s.", mark)
    return mark


def _changed_from(mark: str) -> Condition:
    """Return the condition that a task was changed at a time or later, with a margin."""
    moment = datetime.fromisoformat(mark).astimezone(UTC) - _OVERLAP
    return Condition("updated_at", "greater", "Datetime", moment.strftime(_TIME))
