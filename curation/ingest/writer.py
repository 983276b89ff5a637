"""Checked records as samples of a dataset, whole batches at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.ingest.records import Problem, Record, label_problem
from curation.ingest.validation import Checked
from curation.storage import collection, conversions, schema
from curation.storage.documents import Document

if TYPE_CHECKING:
    from fiftyone import Dataset

_SAME_SHAPE = 0.02  # how far the aspect of what was labeled may differ from that of the image


class Writer:
    """Writes batches of checked records, and counts what it wrote.

    Attributes:
        added: Samples that were completed, by split.
        labeled: How many of them have ground truth.
        held_back: How many have ground truth that only the oracle knows.
        dropped: Boxes whose label means no class, by label.
        label_problems: Labels that do not fit their image.
    """

    def __init__(
        self, dataset: Dataset, taxonomy: Taxonomy, *, hold_back: bool, doubtful: Iterable[str]
    ) -> None:
        """Write into `dataset`; images in `doubtful` are tagged, their labels are not whole."""
        self.added: Counter[str] = Counter()
        self.labeled = 0
        self.held_back = 0
        self.dropped: Counter[str] = Counter()
        self.label_problems: list[Problem] = []
        self._dataset = dataset
        self._taxonomy = taxonomy
        self._hold_back = hold_back
        self._doubtful = set(doubtful)

    def write(self, batch: Sequence[tuple[Record, Checked]], ids: Mapping[str, str]) -> None:
        """Write a batch: bare samples, then, each in one step, all that belongs to them.

        A sample is complete when it has a content hash; one that is not, because a process
        ended in between, is completed by the next call.

        Args:
            batch: Records with drive and split, and what their files are like.
            ids: The ids of files that have a sample already.
        """
        import fiftyone as fo

        new = [str(record.path) for record, _ in batch if str(record.path) not in ids]
        samples = [fo.Sample(filepath=path) for path in new]
        made = self._dataset.add_samples(samples, progress=False) if new else []
        known = {**ids, **dict(zip(new, made, strict=True))}
        collection.write_documents(
            self._dataset,
            {known[str(record.path)]: self._document(record, file) for record, file in batch},
        )

    def _document(self, record: Record, file: Checked) -> Document:
        truth = self._truth(record, file)
        document = facts(record, file)
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

    def _truth(self, record: Record, file: Checked) -> Detections | None:
        """Return the boxes in canonical classes, or None where the image is not labeled."""
        if record.boxes is None:
            return None
        if not same_shape(record.labeled_size_px, file.size_px):
            self._doubtful.add(str(record.path))
            drawn, real = _shown(record.labeled_size_px), _shown(file.size_px)
            reason = f"drawn on {drawn} pixels, but the upright image has {real}: not labeled"
            self.label_problems += label_problem(record.path, [reason])
            return None
        found, dropped = canonical(record.boxes, self._taxonomy)
        self.dropped += dropped
        return found


def facts(record: Record, file: Checked) -> Document:
    """Return what is known of an image beside its labels, as the database keeps it."""
    height, width = file.size_px
    return {
        schema.SPLIT: record.split,
        schema.DRIVE: record.drive,
        schema.TIME_S: record.time_s,
        schema.TIME_OF_DAY: record.time_of_day,
        schema.WEATHER: record.weather,
        schema.LUMA: file.luma,
        schema.CONTENT_HASH: file.content_hash,
        "metadata": {
            "_cls": "ImageMetadata",
            "size_bytes": file.bytes,
            "mime_type": file.mime_type,
            "width": width,
            "height": height,
            "num_channels": file.channels,
        },
    }


def canonical(boxes: Detections, taxonomy: Taxonomy) -> tuple[Detections, Counter[str]]:
    """Return the boxes in canonical classes, and how many mean none, by label."""
    ids = np.array(taxonomy.ids_of(boxes.classes), np.int64)
    class_ids = ids[boxes.class_ids] if len(boxes) else np.zeros(0, np.int64)
    means = class_ids >= 0
    dropped = Counter(label for label, kept in zip(boxes.labels, means, strict=True) if not kept)
    found = Detections(
        boxes_xyxy=boxes.boxes_xyxy[means],
        scores=boxes.scores[means],
        class_ids=class_ids[means],
        classes=taxonomy.names,
    )
    return found, dropped


def same_shape(drawn_px: tuple[int, int] | None, real_px: tuple[int, int]) -> bool:
    """Return whether relative boxes mean the same on two sizes: one is the other, scaled."""
    if drawn_px is None:
        return True
    drawn, real = drawn_px[0] / drawn_px[1], real_px[0] / real_px[1]
    return abs(drawn - real) <= _SAME_SHAPE * real


def _shown(size_px: tuple[int, int] | None) -> str:
    return "unknown" if size_px is None else f"{size_px[1]} x {size_px[0]}"
