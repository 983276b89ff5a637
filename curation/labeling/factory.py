"""Labeling backends by name; each is imported on demand."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cascade.errors import nearest
from cascade.predictions import Detections
from curation import secrets
from curation.errors import LabelingError, SettingsError
from curation.labeling.oracle import Oracle
from curation.labeling.protocol import Labeler, require_images
from curation.storage import collection, queries, reader, schema

if TYPE_CHECKING:
    from fiftyone import Dataset

    from cascade.taxonomy import Taxonomy
    from curation.labeling.blur import Blur
    from curation.labeling.files.formats import Format
    from curation.labeling.label_studio.backend import LabelStudio
    from curation.settings import Settings

LOCAL_NAMES = ("oracle", "files", "yolo", "voc", "datumaro")  # without a server
NAMES = (*LOCAL_NAMES, "label-studio", "cvat")

_CVAT_URL = "CVAT_URL"  # address of the CVAT server, such as https://app.cvat.ai
_CVAT_TOKEN = "cvat-token"  # noqa: S105 - the name of a secret

_FILE_FORMATS: Mapping[str, Format] = {
    "files": "coco",
    "yolo": "yolo",
    "voc": "voc",
    "datumaro": "datumaro",
}


def create(name: str, dataset: Dataset, settings: Settings, *, blur: Sequence[str] = ()) -> Labeler:
    """Return a backend for a dataset.

    Args:
        name: `oracle`, `label-studio`, `cvat`, or a file format: `files`, `yolo`, ...
        dataset: A FiftyOne dataset of images.
        settings: Settings with the folder for files.
        blur: Kinds of objects to blur in image copies: `faces`.

    Raises:
        LabelingError: The name is unknown, the dataset is not of images or has no taxonomy,
            the oracle has no held-back labels, or a kind cannot be blurred.
        SettingsError: The address or token of a server is missing.
    """
    if name not in NAMES:
        raise LabelingError(f"No labeling backend is named {name!r}. {nearest(name, NAMES)}")
    require_images(dataset.name, dataset.media_type)
    if name == "oracle":
        return oracle(dataset)
    taxonomy = queries.taxonomy_of(dataset)
    if taxonomy is None:
        raise LabelingError(
            f"{dataset.name!r} has no taxonomy, which defines the classes to label. "
            "Ingest it with `--taxonomy`."
        )
    if name == "label-studio":
        return label_studio(dataset, taxonomy, settings, blur=blur)
    image_blur = _create_blur(blur)
    if name == "cvat":
        from curation.labeling.cvat.backend import Cvat

        return Cvat(
            _address(_CVAT_URL),
            secrets.read(_CVAT_TOKEN),
            taxonomy=taxonomy,
            title=dataset.name,
            prepare_image=image_blur.prepare if image_blur else None,
        )
    from curation.labeling.files.backend import FileLabeler

    root = settings.dataset_folder(dataset.name) / "labeling"
    return FileLabeler(root, taxonomy=taxonomy, file_format=_FILE_FORMATS[name], blur=image_blur)


def oracle(dataset: Dataset) -> Oracle:
    """Return the oracle of a dataset whose ground truth was held back.

    Raises:
        LabelingError: No ground truth is held back.
    """
    taxonomy = queries.taxonomy_of(dataset)
    if taxonomy is None or dataset.get_field(schema.ORACLE) is None:
        raise LabelingError(
            f"{dataset.name!r} has no held-back ground truth for the oracle. "
            "Choose another labeler, such as `files`."
        )

    def read(sample_ids: Sequence[str]) -> Mapping[str, Detections | None]:
        view = dataset.select(sample_ids).exists(schema.ORACLE)
        ids, _ = collection.ids_and_paths(view)
        answers = reader.read_detections(view, schema.ORACLE, taxonomy)
        return dict(zip(ids, answers, strict=True))

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
        taxonomy: Classes of the dataset.
        settings: Settings with the folder for local state.
        overlap: Number of annotators per image, if the project is created.
        blur: Kinds of objects to blur in the images that annotators see: `faces`.

    Raises:
        LabelingError: The environment has no server or token, or a kind cannot be blurred.
    """
    from curation.labeling.label_studio.annotations.reader import SampleImage
    from curation.labeling.label_studio.api.client import Client
    from curation.labeling.label_studio.api.settings import from_environment
    from curation.labeling.label_studio.backend import LabelStudio

    server = from_environment()

    def read_samples(round_name: str) -> Mapping[str, SampleImage]:
        chosen = dataset.match_tags(round_name)
        ids, paths = collection.ids_and_paths(chosen)
        sizes = reader.sizes_px(chosen)
        return {
            sample_id: SampleImage(width=int(width), height=int(height), filepath=path)
            for sample_id, path, (height, width) in zip(ids, paths, sizes, strict=True)
        }

    return LabelStudio(
        lambda: Client(server),
        dataset=dataset.name,
        dataset_id=str(dataset._doc.id),
        taxonomy=taxonomy,
        read_samples=read_samples,
        folder=settings.dataset_folder(dataset.name) / "labeling" / "label-studio",
        document_root=server.document_root,
        overlap=overlap,
        model_version=_consensus_version(dataset),
        blur=_create_blur(blur),
    )


def _create_blur(kinds: Sequence[str]) -> Blur | None:
    if not kinds:
        return None
    from curation.labeling.blur import create_blur  # imports torch

    return create_blur(kinds)


def _consensus_version(dataset: Dataset) -> str:
    """Return a version name derived from the fingerprints behind the consensus boxes."""
    path = f"{schema.CONSENSUS}.{schema.FINGERPRINT}"
    if dataset.get_field(path) is None:
        return "consensus"
    fingerprints = sorted(value for value in dataset.distinct(path) if value)
    return f"consensus-{hashlib.sha256(' '.join(fingerprints).encode()).hexdigest()[:8]}"


def _address(variable: str) -> str:
    address = os.environ.get(variable, "").strip().rstrip("/")
    if not address:
        raise SettingsError(f"{variable} is not set. Set it to the server's address, https://...")
    return address
