"""The labeling backends by name; each is imported when it is asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cascade.errors import nearest
from cascade.predictions import Detections
from curation import secrets
from curation.errors import LabelingError, SettingsError
from curation.labeling import media
from curation.labeling.oracle import Oracle
from curation.labeling.protocol import Labeler
from curation.storage import collection, queries, reader, schema

if TYPE_CHECKING:
    from fiftyone import Dataset

    from cascade.taxonomy import Taxonomy
    from curation.labeling.blur import Blur
    from curation.labeling.files.formats import Format
    from curation.labeling.label_studio.backend import LabelStudio
    from curation.settings import Settings

HERE = ("oracle", "files", "yolo", "voc", "datumaro")  # without a server
NAMES = (*HERE, "label-studio", "cvat")

_CVAT_URL = "CVAT_URL"  # where CVAT answers, such as https://app.cvat.ai
_CVAT_TOKEN = "cvat-token"  # noqa: S105 - the name of a secret

_FORMS: Mapping[str, Format] = {
    "files": "coco",
    "yolo": "yolo",
    "voc": "voc",
    "datumaro": "datumaro",
}


def create(name: str, dataset: Dataset, settings: Settings, *, blur: Sequence[str] = ()) -> Labeler:
    """Return a backend for a dataset: `oracle`, `label-studio`, `cvat`, or files: `files`, ...

    Args:
        name: Which.
        dataset: A FiftyOne dataset of images.
        settings: Where files are kept.
        blur: What to hide in the copies of images that leave: `faces`.

    Raises:
        LabelingError: Nobody has that name, the dataset is not of images or has no taxonomy, the
            oracle has nothing that it could answer from, or what is to be hidden cannot be.
        SettingsError: The address or token of a server is missing.
    """
    if name not in NAMES:
        raise LabelingError(f"No labeling backend is named {name!r}. {nearest(name, NAMES)}")
    media.require_images(dataset.name, dataset.media_type)
    if name == "oracle":
        return oracle(dataset)
    taxonomy = queries.taxonomy_of(dataset)
    if taxonomy is None:
        raise LabelingError(
            f"{dataset.name!r} has no taxonomy, so nobody could say which classes to label. "
            "Ingest it with `--taxonomy`."
        )
    if name == "label-studio":
        return label_studio(dataset, taxonomy, settings, blur=blur)
    hiding = _hiding(blur)
    if name == "cvat":
        from curation.labeling.cvat.backend import Cvat

        return Cvat(
            _address(_CVAT_URL),
            secrets.read(_CVAT_TOKEN),
            taxonomy=taxonomy,
            title=dataset.name,
            outgoing=hiding.outgoing if hiding else None,
        )
    from curation.labeling.files.backend import Files

    root = settings.dataset_folder(dataset.name) / "labeling"
    return Files(root, taxonomy=taxonomy, form=_FORMS[name], blur=hiding)


def oracle(dataset: Dataset) -> Oracle:
    """Return the oracle of a dataset whose ground truth was held back.

    Raises:
        LabelingError: Nothing is held back.
    """
    taxonomy = queries.taxonomy_of(dataset)
    if taxonomy is None or dataset.get_field(schema.ORACLE) is None:
        raise LabelingError(
            f"{dataset.name!r} holds no ground truth back, so there is no oracle to ask. "
            "Choose another labeler, such as `files`."
        )

    def read(ids: Sequence[str]) -> Mapping[str, Detections | None]:
        asked = dataset.select(ids).exists(schema.ORACLE)
        known, _ = collection.ids_and_paths(asked)
        answers = reader.read_detections(asked, schema.ORACLE, taxonomy)
        return dict(zip(known, answers, strict=True))

    return Oracle(read)


def label_studio(
    dataset: Dataset,
    taxonomy: Taxonomy,
    settings: Settings,
    *,
    overlap: int = 1,
    blur: Sequence[str] = (),
) -> LabelStudio:
    """Return the project of a dataset on the Label Studio server that the environment names.

    Args:
        dataset: The FiftyOne dataset.
        taxonomy: Its classes.
        settings: Where notes are kept.
        overlap: How many people are to label each image, where the project is not made yet.
        blur: What to hide in the images that people see: `faces`.

    Raises:
        LabelingError: The environment names no server, or no token, or what is to be hidden
            cannot be.
    """
    from curation.labeling.label_studio.annotations.reader import Known
    from curation.labeling.label_studio.api import settings as servers
    from curation.labeling.label_studio.api.client import Client
    from curation.labeling.label_studio.backend import LabelStudio

    server = servers.from_environment()

    def known(round_name: str) -> Mapping[str, Known]:
        chosen = dataset.match_tags(round_name)
        ids, paths = collection.ids_and_paths(chosen)
        return {
            one: Known(width=int(width), height=int(height), filepath=path)
            for one, path, (height, width) in zip(ids, paths, reader.sizes_px(chosen), strict=True)
        }

    return LabelStudio(
        lambda: Client(server),
        dataset=dataset.name,
        dataset_id=str(dataset._doc.id),
        taxonomy=taxonomy,
        known=known,
        folder=settings.dataset_folder(dataset.name) / "labeling" / "label-studio",
        document_root=server.document_root,
        overlap=overlap,
        model_version=_consensus_version(dataset),
        blur=_hiding(blur),
    )


def _hiding(what: Sequence[str]) -> Blur | None:
    if not what:
        return None
    from curation.labeling import blur  # brings torch along

    return blur.blur(what)


def _consensus_version(dataset: Dataset) -> str:
    """Return a name for what the boxes of the consensus came from."""
    path = f"{schema.CONSENSUS}.{schema.FINGERPRINT}"
    if dataset.get_field(path) is None:
        return "consensus"
    made_by = sorted(one for one in dataset.distinct(path) if one)
    return f"consensus-{hashlib.sha256(' '.join(made_by).encode()).hexdigest()[:8]}"


def _address(variable: str) -> str:
    found = os.environ.get(variable, "").strip().rstrip("/")
    if not found:
        raise SettingsError(f"{variable} is not set. Set where the server answers, https://...")
    return found
