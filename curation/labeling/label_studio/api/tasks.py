"""The tasks that a project has: listed page by page, imported, deleted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from curation.labeling.label_studio.api.client import Client, Json

_PAGE = 500


@dataclass(frozen=True)
class Condition:
    """A condition on a column of the Data Manager.

    Attributes:
        column: Such as `id`, `updated_at` or `data.round`.
        operator: Such as `greater` or `equal`.
        kind: The type of the value.
        value: What is compared with.
    """

    column: str
    operator: str
    kind: Literal["Number", "Datetime", "String"]
    value: int | float | str

    def to_json(self) -> Json:
        """Return it as the server's query language has it."""
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
    where: Iterable[Condition] = (),
    after: int = 0,
    page_size: int = _PAGE,
) -> Iterator[list[Json]]:
    """Yield tasks page by page, by id.

    A page begins after the last id of the one before, not at a number of rows: so a task that is
    added or deleted meanwhile neither shifts one out of the pages nor into two.

    Args:
        client: The server.
        project_id: Which project.
        include: Fields of tasks; the fields of annotations, too, where those are asked for.
        where: Conditions that all must hold.
        after: Only tasks with a larger id.
        page_size: Tasks in memory at once.
    """
    where = tuple(where)
    while True:
        conditions = (Condition("id", "greater", "Number", after), *where)
        answer = _page(client, project_id, include, conditions, "tasks:id", page_size)
        page = answer["tasks"]
        if page:
            yield page
            after = page[-1]["id"]
        if len(page) >= int(answer["total"]) or not page:
            return


def newest(client: Client, project_id: int) -> str | None:
    """Return when a task was last changed, by the server's clock; None without tasks."""
    answer = _page(client, project_id, ("id", "updated_at"), (), "-tasks:updated_at", 1)
    return str(answer["tasks"][0]["updated_at"]) if answer["tasks"] else None


def last(client: Client, project_id: int) -> int:
    """Return the largest id of a task; 0 without tasks."""
    answer = _page(client, project_id, ("id",), (), "-tasks:id", 1)
    return int(answer["tasks"][0]["id"]) if answer["tasks"] else 0


def add(client: Client, project_id: int, body: bytes) -> int:
    """Import a JSON array of tasks, all or none of it, and return how many they were.

    Raises:
        UnsureError: It may have been done all the same. Look before it is repeated.
        TooLargeError: Send fewer at once.
    """
    answer = client.ask(
        "import tasks",
        "POST",
        f"api/projects/{project_id}/import",
        params={"commit_to_project": "true"},
        content=body,
        repeatable=False,
    )
    return int(answer.get("task_count", 0))


def delete(client: Client, project_id: int, task_ids: Sequence[int]) -> None:
    """Delete tasks and all that belongs to them."""
    client.ask(
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
    where: Iterable[Condition],
    order: str,
    page_size: int,
) -> Json:
    query: Json = {"ordering": [order]}
    items = [one.to_json() for one in where]
    if items:
        query["filters"] = {"conjunction": "and", "items": items}
    params = {
        "project": project_id,
        "page_size": page_size,
        "query": json.dumps(query),
        "include": ",".join(include),
        "fields": "all" if "annotations" in include else "task_only",
        "resolve_uri": "false",  # else cloud addresses come back signed
    }
    answer: Json = client.ask("list the tasks", "GET", "api/tasks/", params=params)
    return answer
