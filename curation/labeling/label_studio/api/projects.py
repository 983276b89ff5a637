"""Projects of a server."""

from __future__ import annotations

from dataclasses import dataclass

from curation.labeling.label_studio.api.client import Client, Json


@dataclass(frozen=True)
class Project:
    """A project on the server.

    Attributes:
        id: Project id.
        title: Title.
        description: Description, with our mark.
        label_config: Labeling config, XML.
        overlap: Required number of submissions per task.
    """

    id: int
    title: str
    description: str
    label_config: str
    overlap: int


def find(client: Client, mark: str) -> list[Project]:
    """Return the projects whose description contains a mark, oldest first."""
    projects: list[Project] = []
    page = 1
    while True:
        answer = client.request(
            "list the projects",
            "GET",
            "api/projects/",
            params={
                "page": page,
                "page_size": 100,
                "include": "id,title,description,label_config,maximum_annotations",
            },
        )
        projects += [_project(row) for row in answer["results"] if mark in _description(row)]
        if not answer.get("next"):
            return sorted(projects, key=lambda project: project.id)
        page += 1


def read(client: Client, project_id: int) -> Project:
    """Return the current state of a project.

    Raises:
        NotFoundError: It does not exist, or is not visible to this user.
    """
    path = f"api/projects/{project_id}/"
    return _project(client.request(f"read project {project_id}", "GET", path))


def create(
    client: Client, *, title: str, description: str, label_config: str, overlap: int
) -> Project:
    """Create a project whose tasks are finished after `overlap` submissions.

    Raises:
        UnknownOutcomeError: It may have been created.
    """
    created = client.call_sdk(
        "create a project",
        lambda sdk: sdk.projects.create(
            title=title,
            description=description,
            label_config=label_config,
            maximum_annotations=overlap,
            sampling="Sequential sampling",  # by id, which is by rank, the order of the push
            show_collab_predictions=True,
            show_skip_button=True,
            enable_empty_annotation=True,
        ),
        repeatable=False,
    )
    return read(client, int(created.id or 0))


def set_label_config(
    client: Client, project_id: int, label_config: str, *, description: str
) -> None:
    """Replace the labeling config and the description of a project."""
    client.request(
        "update the labeling config",
        "PATCH",
        f"api/projects/{project_id}/",
        body={"label_config": label_config, "description": description},
    )


def create_view(client: Client, project_id: int, *, title: str, order_by: str) -> None:
    """Add a tab to the Data Manager that sorts tasks by a number in their data."""
    column = f"tasks:data.{order_by}"
    client.request(
        "add a tab to the Data Manager",
        "POST",
        "api/dm/views/",
        body={
            "project": project_id,
            "data": {
                "title": title,
                "ordering": [column],
                # Otherwise the server sorts numbers as text: 10 before 9.
                "columnsDisplayType": {column: "Number"},
            },
        },
        repeatable=False,
    )


def _project(row: Json) -> Project:
    return Project(
        id=int(row["id"]),
        title=str(row.get("title") or ""),
        description=_description(row),
        label_config=str(row.get("label_config") or ""),
        overlap=max(int(row.get("maximum_annotations") or 1), 1),
    )


def _description(row: Json) -> str:
    return str(row.get("description") or "")
