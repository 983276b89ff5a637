"""The server project of a dataset: lookup, creation, and updates after taxonomy changes."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling.label_studio import label_config
from curation.labeling.label_studio.api import projects
from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.errors import UnknownOutcomeError
from curation.labeling.label_studio.api.projects import Project

logger = logging.getLogger(__name__)

_MIN_TITLE, _MAX_TITLE = 3, 50  # characters that the server accepts


@dataclass(frozen=True)
class DatasetProject:
    """The project of a dataset, identified by a mark in its description.

    The mark is derived from the dataset's id: teams that share a server may use the same name.

    Attributes:
        dataset: Name of the dataset.
        dataset_id: Id of the dataset, unique across databases.
        taxonomy: Classes of the dataset.
        overlap: Number of annotators per image, if the project is created.
    """

    dataset: str
    dataset_id: str
    taxonomy: Taxonomy
    overlap: int

    def find(self, client: Client) -> Project | None:
        """Return the oldest project with the mark, or None."""
        return next(iter(projects.find(client, self._mark())), None)

    def require(self, client: Client) -> Project:
        """Return the existing project.

        Raises:
            LabelingError: It does not exist, or its labeling config was edited in a way that
                would lose answers.
        """
        project = self.find(client)
        if project is None:
            raise LabelingError(
                f"Label Studio at {client.url} has no project for {self.dataset!r}, or it was "
                "deleted. Push its tasks again; imported labels are kept."
            )
        self._check_config(client, project)
        return project

    def ensure(self, client: Client) -> Project:
        """Return the project, created or updated if necessary.

        Raises:
            LabelingError: It cannot be created, or its labeling config was edited in a way that
                would lose answers.
        """
        config = label_config.labeling_config(self.taxonomy)
        project = self.find(client)
        if project is None:
            try:
                self._create(client, config)
            except UnknownOutcomeError:
                logger.info("Checking whether the project was created.")
            project = self.find(client)
        if project is None:
            raise LabelingError(f"Label Studio at {client.url} created no project. Repeat.")
        if project.label_config != config and _digest(project.label_config) in project.description:
            # Not edited by users, so only the taxonomy has changed.
            description = self._description(config)
            projects.set_label_config(client, project.id, config, description=description)
            project = projects.read(client, project.id)
        self._check_config(client, project)
        return project

    def _create(self, client: Client, config: str) -> None:
        project = projects.create(
            client,
            title=self.dataset[:_MAX_TITLE].ljust(_MIN_TITLE, "_"),
            description=self._description(config),
            label_config=config,
            overlap=self.overlap,
        )
        for column, title in (("rank", "By rank"), ("hardness", "By hardness")):
            projects.create_view(client, project.id, title=title, order_by=column)

    def _mark(self) -> str:
        digest = hashlib.sha256(self.dataset_id.encode()).hexdigest()[:16]
        return f"[cascade-curation:{digest}]"

    def _description(self, config: str) -> str:
        return (
            f"Labeling tasks of {self.dataset!r}. Keep this line, which identifies the project: "
            f"{self._mark()} {_digest(config)}"
        )

    def _check_config(self, client: Client, project: Project) -> None:
        gaps = label_config.find_gaps(project.label_config, self.taxonomy)
        if gaps:
            raise LabelingError(
                f"The labeling config of {project_url(client, project)} was edited: "
                f"{' '.join(gaps)} Fix it there (Settings, Labeling Interface), and repeat."
            )


def project_url(client: Client, project: Project) -> str:
    """Return the URL of a project's tasks."""
    return f"{client.url}/projects/{project.id}/data"


def _digest(config: str) -> str:
    """Return the digest that identifies an unedited labeling config."""
    return f"[config:{hashlib.sha256(config.strip().encode()).hexdigest()[:16]}]"
