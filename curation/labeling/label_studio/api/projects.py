"""The projects that a server has."""

from __future__ import annotations

from dataclasses import dataclass

from curation.labeling.label_studio.api.client import Client, Json


@dataclass(frozen=True)
class Project:
    """A project on the server.

    Attributes:
        id: Its number.
        title: What people see.
        description: What people see, and our mark.
        label_config: The labeling interface, XML.
        overlap: How many people are to submit each task.
    """

    id: int
    title: str
    description: str
    label_config: str
    overlap: int


def find(client: Client, mark: str) -> list[Project]:
    """Return the projects whose description holds a mark, the oldest first."""
    found: list[Project] = []
    page = 1
    while True:
        answer = client.ask(
            "list the projects",
            "GET",
            "api/projects/",
            params={
                "page": page,
                "page_size": 100,
                "include": "id,title,description,label_config,maximum_annotations",
            },
        )
        found += [_project(one) for one in answer["results"] if mark in _words(one)]
        if not answer.get("next"):
            return sorted(found, key=lambda project: project.id)
        page += 1


def read(client: Client, project_id: int) -> Project:
    """Return a project as it is now.

    Raises:
        GoneError: It is not there, or not for this user.
    """
    return _project(client.ask(f"read project {project_id}", "GET", f"api/projects/{project_id}/"))


def create(
    client: Client, *, title: str, description: str, label_config: str, overlap: int
) -> Project:
    """Make a project; each task is finished when `overlap` people have submitted it.

    Raises:
        UnsureError: It may have been made all the same.
    """
    made = client.by_sdk(
        "create a project",
        lambda sdk: sdk.projects.create(
            title=title,
            description=description,
            label_config=label_config,
            maximum_annotations=overlap,
            sampling="Sequential sampling",  # by id: that is by rank, as they are pushed
            show_collab_predictions=True,
            show_skip_button=True,
            enable_empty_annotation=True,
        ),
        repeatable=False,
    )
    return read(client, int(made.id or 0))


def set_label_config(
    client: Client, project_id: int, label_config: str, *, description: str
) -> None:
    """Replace the labeling interface of a project, and its description."""
    client.ask(
        "update the labeling config",
        "PATCH",
        f"api/projects/{project_id}/",
        body={"label_config": label_config, "description": description},
    )


def create_view(client: Client, project_id: int, *, title: str, order_by: str) -> None:
    """Add a tab to the Data Manager that sorts tasks by a number in their data."""
    column = f"tasks:data.{order_by}"
    client.ask(
        "add a tab to the Data Manager",
        "POST",
        "api/dm/views/",
        body={
            "project": project_id,
            "data": {
                "title": title,
                "ordering": [column],
                # Without this, the server sorts numbers as words: 10 before 9.
                "columnsDisplayType": {column: "Number"},
            },
        },
        repeatable=False,
    )


def _project(row: Json) -> Project:
    return Project(
        id=int(row["id"]),
        title=str(row.get("title") or ""),
        description=_words(row),
        label_config=str(row.get("label_config") or ""),
        overlap=max(int(row.get("maximum_annotations") or 1), 1),
    )


def _words(row: Json) -> str:
    return str(row.get("description") or "")
