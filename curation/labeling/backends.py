"""The labeling backends by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cascade.errors import nearest
from cascade.predictions import Detections
from curation import fields, samples, store
from curation.errors import LabelingError
from curation.labeling.files import Files
from curation.labeling.oracle import Oracle
from curation.labeling.protocol import Labeler

if TYPE_CHECKING:
    from curation.settings import Settings

NAMES = ("oracle", "files", "yolo")


def create(name: str, dataset: Any, settings: Settings) -> Labeler:
    """Return the backend `oracle`, `files` (COCO) or `yolo` for a dataset.

    Raises:
        LabelingError: Nobody has that name, the dataset has no taxonomy, or the oracle has
            nothing that it could answer from.
    """
    if name not in NAMES:
        raise LabelingError(f"No labeling backend is named {name!r}. {nearest(name, NAMES)}")
    if name == "oracle":
        return oracle(dataset)
    taxonomy = samples.taxonomy_of(dataset)
    if taxonomy is None:
        raise LabelingError(
            f"{dataset.name!r} has no taxonomy, so nobody could say which classes to label. "
            "Ingest it with `--taxonomy`."
        )
    root = settings.dataset_folder(dataset.name) / "labeling"
    return Files(root, taxonomy=taxonomy, form="yolo" if name == "yolo" else "coco")


def oracle(dataset: Any) -> Oracle:
    """Return the oracle of a dataset whose ground truth was held back.

    Raises:
        LabelingError: Nothing is held back.
    """
    taxonomy = samples.taxonomy_of(dataset)
    if taxonomy is None or dataset.get_field(fields.ORACLE) is None:
        raise LabelingError(
            f"{dataset.name!r} holds no ground truth back, so there is no oracle to ask. "
            "Choose another labeler, such as `files`."
        )

    def read(ids: Sequence[str]) -> Mapping[str, Detections | None]:
        asked = dataset.select(ids).exists(fields.ORACLE)
        known, _ = store.ids_and_paths(asked)
        answers = store.read_detections(asked, fields.ORACLE, taxonomy)
        return dict(zip(known, answers, strict=True))

    return Oracle(read)
