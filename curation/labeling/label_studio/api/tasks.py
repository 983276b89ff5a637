"""Tasks of a project: paged listing, import and deletion."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from curation.labeling.label_studio.api.client import Client, Json

_PAGE_SIZE = 500


@dataclass(frozen=True)
class Condition:
    """A condition on a column of the Data Manager.

    Attributes:
        column: Column, such as `id`, `updated_at` or `data.round`.
        operator: Operator, such as `greater` or `equal`.
        kind: Type of the value.
        value: Value to compare with.
    """

    column: str
    operator: str
    kind: Literal["Number", "Datetime", "String"]
    value: int | float | str

    def to_json(self) -> Json:
        """Return the condition in the server's query language."""
        return {
            "filter": f"filter:tasks:{self.column}",
            "operator": self.operator,
            "type": self.kind,
            "value": self.value,
        }


def pages(
    client: Client,
    project_id: int,
    *,
    include: Sequence[str] = ("id", "data"),
    conditions: Iterable[Condition] = (),
    after: int = 0,
    page_size: int = _PAGE_SIZE,
) -> Iterator[list[Json]]:
    """Yield tasks page by page, by id.

    A page starts after the last id of the previous one, not at a row number: concurrent additions
    and deletions neither skip nor repeat a task.

    Args:
        client: Connection to the server.
        project_id: Id of the project.
        include: Fields of tasks, and of their annotations if `annotations` is included.
        conditions: Conditions that must all hold.
        after: Return only tasks with a larger id.
        page_size: Number of tasks in memory.
    """
    fixed = tuple(conditions)
    while True:
        query = (Condition("id", "greater", "Number", after), *fixed)
        answer = _page(client, project_id, include, query, "tasks:id", page_size)
        page = answer["tasks"]
        if page:
            yield page
            after = page[-1]["id"]
        if len(page) >= int(answer["total"]) or not page:
            return


def last_change(client: Client, project_id: int) -> str | None:
    """Return the server time of the last change to a task; None if there are no tasks."""
    answer = _page(client, project_id, ("id", "updated_at"), (), "-tasks:updated_at", 1)
    return str(answer["tasks"][0]["updated_at"]) if answer["tasks"] else None


def largest_id(client: Client, project_id: int) -> int:
    """Return the largest id of a task; 0 without tasks."""
    answer = _page(client, project_id, ("id",), (), "-tasks:id", 1)
    return int(answer["tasks"][0]["id"]) if answer["tasks"] else 0


def import_tasks(client: Client, project_id: int, body: bytes) -> None:
    """Import a JSON array of tasks atomically.

    Raises:
        UnknownOutcomeError: They may have been imported. Check before repeating.
        TooLargeError: The request must be split.
    """
    client.request(
        "import tasks",
        "POST",
        f"api/projects/{project_id}/import",
        params={"commit_to_project": "true"},
        content=body,
        repeatable=False,
    )


def delete(client: Client, project_id: int, task_ids: Sequence[int]) -> None:
    """Delete tasks and everything that belongs to them."""
    client.request(
        "delete tasks",
        "POST",
        "api/dm/actions",
        params={"project": project_id, "id": "delete_tasks"},
        body={"selectedItems": {"all": False, "included": list(task_ids)}},
    )


def _page(
    client: Client,
    project_id: int,
    include: Sequence[str],
    conditions: Iterable[Condition],
    order: str,
    page_size: int,
) -> Json:
    query: Json = {"ordering": [order]}
    items = [condition.to_json() for condition in conditions]
    if items:
        query["filters"] = {"conjunction": "and", "items": items}
    params = {
        "project": project_id,
        "page_size": page_size,
        "query": json.dumps(query),
        "include": ",".join(include),
        "fields": "all" if "annotations" in include else "task_only",
        "resolve_uri": "false",  # otherwise cloud addresses are returned signed
    }
    answer: Json = client.request("list the tasks", "GET", "api/tasks/", params=params)
    return answer
