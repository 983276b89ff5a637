"""Complete reads of all submissions while annotators keep submitting.

1. The server is asked when a task was last changed, by its own clock: the mark.
2. All tasks are read with their annotations, page by page, by id.
3. If a task was changed after the mark, the changed tasks are read again and replace their earlier
   versions; then the mark advances. Saving, changing and deleting an annotation all change the
   time of its task.

Annotations from before the read are found in step 2. Later ones are found in step 3 or, if
annotators never pause, by the next call. Replacing tasks by id prevents duplicates.
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
_MAX_REPEATS = 5  # each takes as long as the changes that came during the previous one
_OVERLAP = timedelta(seconds=10)  # changes are dated when made, but visible when committed
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"  # the only format that the server parses
_PAGE_SIZE = 200


def read(
    client: Client,
    project_id: int,
    add_task: Callable[[Mapping[str, Any]], None],
    *,
    conditions: Sequence[Condition] = (),
    since: str | None = None,
) -> str | None:
    """Read the tasks of a project with their annotations.

    Args:
        client: Connection to the server.
        project_id: Id of the project.
        add_task: Called with each task; a repeated task replaces its earlier version.
        conditions: Conditions on the tasks.
        since: Mark of an earlier call: read only tasks changed from then on.

    Returns:
        The mark: the time of the last change that was read; None if there are no tasks.
    """

    def collect(*more: Condition) -> None:
        for page in tasks.pages(
            client,
            project_id,
            include=FIELDS,
            conditions=(*conditions, *more),
            page_size=_PAGE_SIZE,
        ):
            for task in page:
                add_task(task)

    mark = tasks.last_change(client, project_id)
    collect(*([_changed_from(since)] if since else []))
    for _ in range(_MAX_REPEATS):
        newest = tasks.last_change(client, project_id)
        if newest == mark:
            break
        collect(*([_changed_from(mark)] if mark else []))
        mark = newest
    else:
        logger.info("Annotators kept submitting; the next pull reads changes after %s.", mark)
    return mark


def _changed_from(mark: str) -> Condition:
    """Return the condition that a task was changed at a time or later, with a margin."""
    moment = datetime.fromisoformat(mark).astimezone(UTC) - _OVERLAP
    return Condition("updated_at", "greater", "Datetime", moment.strftime(_TIME_FORMAT))
