"""Which project of the server is a dataset's: found, made, and kept in step with the taxonomy."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling.label_studio import label_config as config
from curation.labeling.label_studio.api import projects
from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.errors import UnsureError
from curation.labeling.label_studio.api.projects import Project

logger = logging.getLogger(__name__)

_LEAST_TITLE, _TITLE = 3, 50  # letters that the server takes


@dataclass(frozen=True)
class OwnProject:
    """The project of a dataset. It bears a mark in its description, by which it is found.

    The mark is of the dataset's id: teams that share a server may call theirs the same.

    Attributes:
        dataset: The dataset's name, as people see it.
        dataset_id: What no other dataset is called, in whatever database.
        taxonomy: The classes that it offers.
        overlap: How many people are to label each image, where it is made.
    """

    dataset: str
    dataset_id: str
    taxonomy: Taxonomy
    overlap: int

    def find(self, client: Client) -> Project | None:
        """Return the project; of several that bear the mark, the oldest. None without any."""
        return next(iter(projects.find(client, self._mark())), None)

    def existing(self, client: Client) -> Project:
        """Return the project, which must be there.

        Raises:
            LabelingError: It is not, or its labeling config was edited so that answers would be
                lost.
        """
        project = self.find(client)
        if project is None:
            raise LabelingError(
                f"Label Studio at {client.url} has no project of {self.dataset!r}, or it was "
                "deleted. Push its tasks again: what was labeled and pulled before stays."
            )
        self._refuse_edited(client, project)
        return project

    def ready(self, client: Client) -> Project:
        """Return the project, made or brought up to date where that is needed.

        Raises:
            LabelingError: It cannot be made, or was edited so that answers would be lost.
        """
        ours = config.labeling_config(self.taxonomy)
        project = self.find(client)
        if project is None:
            try:
                self._create(client, ours)
            except UnsureError:
                logger.info("Looking whether the project was made.")
            project = self.find(client)
        if project is None:
            raise LabelingError(f"Label Studio at {client.url} made no project. Repeat.")
        if project.label_config != ours and _digest(project.label_config) in project.description:
            # As we left it, so the taxonomy has changed since, and nobody's work is undone.
            projects.set_label_config(client, project.id, ours, description=self._description(ours))
            project = projects.read(client, project.id)
        self._refuse_edited(client, project)
        return project

    def _create(self, client: Client, label_config: str) -> None:
        made = projects.create(
            client,
            title=self.dataset[:_TITLE].ljust(_LEAST_TITLE, "_"),
            description=self._description(label_config),
            label_config=label_config,
            overlap=self.overlap,
        )
        for column, title in (("rank", "By rank"), ("hardness", "By hardness")):
            projects.create_view(client, made.id, title=title, order_by=column)

    def _mark(self) -> str:
        digest = hashlib.sha256(self.dataset_id.encode()).hexdigest()[:16]
        return f"[cascade-curation:{digest}]"

    def _description(self, label_config: str) -> str:
        return (
            f"What {self.dataset!r} is to have labeled. Keep this line, by which it is found: "
            f"{self._mark()} {_digest(label_config)}"
        )

    def _refuse_edited(self, client: Client, project: Project) -> None:
        lacks = config.lacks(project.label_config, self.taxonomy)
        if lacks:
            raise LabelingError(
                f"The labeling config of {address(client, project)} was edited: {' '.join(lacks)} "
                "Mend it there (Settings, Labeling Interface), and repeat."
            )


def address(client: Client, project: Project) -> str:
    """Return where people find the tasks of a project."""
    return f"{client.url}/projects/{project.id}/data"


def _digest(label_config: str) -> str:
    """Return the words by which we know a labeling config that nobody has edited."""
    return f"[config:{hashlib.sha256(label_config.strip().encode()).hexdigest()[:16]}]"
