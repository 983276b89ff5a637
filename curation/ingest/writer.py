"""Bulk writes of checked records as samples of a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.ingest.records import Problem, Record, label_problem
from curation.ingest.validation import CheckedImage
from curation.labeling.tasks import to_taxonomy
from curation.storage import collection, conversions, schema
from curation.storage.documents import Document

if TYPE_CHECKING:
    from fiftyone import Dataset

_ASPECT_TOLERANCE = 0.02  # relative difference between the labeled and the actual aspect ratio


class Writer:
    """Writes batches of checked records, and counts what it wrote.

    Attributes:
        added: Number of completed samples by split.
        labeled: Number of them with ground truth.
        held_back: Number of them whose ground truth only the oracle knows.
        dropped: Number of boxes without a class in the taxonomy, by label.
        label_problems: Labels that do not fit their image.
    """

    def __init__(
        self, dataset: Dataset, taxonomy: Taxonomy, *, hold_back: bool, doubtful: Iterable[str]
    ) -> None:
        """Write into `dataset`; images in `doubtful`, whose labels are incomplete, are tagged."""
        self.added: Counter[str] = Counter()
        self.labeled = 0
        self.held_back = 0
        self.dropped: Counter[str] = Counter()
        self.label_problems: list[Problem] = []
        self._dataset = dataset
        self._taxonomy = taxonomy
        self._hold_back = hold_back
        self._doubtful = set(doubtful)

    def write(self, batch: Sequence[tuple[Record, CheckedImage]], ids: Mapping[str, str]) -> None:
        """Write a batch: bare samples first, then all fields of each sample in one step.

        A sample is complete once it has a content hash. One that a crash left incomplete is
        completed by the next call.

        Args:
            batch: Records with drive and split, and the properties of their files.
            ids: Sample id by file, for files that already have a sample.
        """
        import fiftyone as fo

        new = [str(record.path) for record, _ in batch if str(record.path) not in ids]
        samples = [fo.Sample(filepath=path) for path in new]
        added = self._dataset.add_samples(samples, progress=False) if new else []
        all_ids = {**ids, **dict(zip(new, added, strict=True))}
        collection.write_documents(
            self._dataset,
            {all_ids[str(record.path)]: self._document(record, image) for record, image in batch},
        )

    def _document(self, record: Record, image: CheckedImage) -> Document:
        truth = self._ground_truth(record, image)
        document = sample_fields(record, image)
        self.added[str(record.split)] += 1
        if str(record.path) in self._doubtful:
            document["tags"] = [schema.LABEL_PROBLEM]
        if truth is None:
            return document
        stored = conversions.raw_detections(truth, scored=False)
        if self._hold_back and record.split == "train":
            self.held_back += 1
            return {**document, schema.ORACLE: stored}
        self.labeled += 1
        return {**document, schema.GROUND_TRUTH: stored, schema.LABELED_ROUND: 0}

    def _ground_truth(self, record: Record, image: CheckedImage) -> Detections | None:
        """Return the boxes in canonical classes, or None if the image is not labeled."""
        if record.boxes is None:
            return None
        if not have_same_aspect(record.labeled_size_px, image.size_px):
            self._doubtful.add(str(record.path))
            reason = (
                f"drawn on {_format_size(record.labeled_size_px)} pixels, but the upright image "
                f"has {_format_size(image.size_px)}: not labeled"
            )
            self.label_problems += label_problem(record.path, [reason])
            return None
        truth, dropped = to_canonical(record.boxes, self._taxonomy)
        self.dropped += dropped
        return truth


def sample_fields(record: Record, image: CheckedImage) -> Document:
    """Return the fields of a sample, without its labels, as stored in the database."""
    height, width = image.size_px
    return {
        schema.SPLIT: record.split,
        schema.DRIVE: record.drive,
        schema.TIME_S: record.time_s,
        schema.TIME_OF_DAY: record.time_of_day,
        schema.WEATHER: record.weather,
        schema.LUMA: image.luma,
        schema.CONTENT_HASH: image.content_hash,
        "metadata": {
            "_cls": "ImageMetadata",
            "size_bytes": image.bytes,
            "mime_type": image.mime_type,
            "width": width,
            "height": height,
            "num_channels": image.channels,
        },
    }


def to_canonical(boxes: Detections, taxonomy: Taxonomy) -> tuple[Detections, Counter[str]]:
    """Return the boxes in canonical classes, and the number of dropped boxes by label."""
    dropped = Counter(label for label in boxes.labels if taxonomy.canonical(label) is None)
    return to_taxonomy(boxes, taxonomy), dropped


def have_same_aspect(labeled_px: tuple[int, int] | None, actual_px: tuple[int, int]) -> bool:
    """Return whether one size is the other scaled; relative boxes are then valid for both."""
    if labeled_px is None:
        return True
    labeled, actual = labeled_px[0] / labeled_px[1], actual_px[0] / actual_px[1]
    return abs(labeled - actual) <= _ASPECT_TOLERANCE * actual


def _format_size(size_px: tuple[int, int] | None) -> str:
    return "unknown" if size_px is None else f"{size_px[1]} x {size_px[0]}"
