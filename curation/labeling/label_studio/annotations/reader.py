"""Annotations of one image, parsed and merged into the row that is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cascade.imaging.pillow import open_image
from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.labeling.label_studio import pull_state
from curation.labeling.label_studio.annotations import merge, results
from curation.labeling.protocol import Doubt, SampleAnnotation
from curation.labeling.submissions import build_submission, ground_truth

Json = dict[str, Any]

_ORIENTATION = 0x0112  # the EXIF tag
_UNKNOWN_ANNOTATOR = "somebody"  # stored in rows


@dataclass(frozen=True)
class SampleImage:
    """Image of a sample.

    Attributes:
        width: Width of the upright image, in pixels.
        height: Height of the upright image, in pixels.
        filepath: Path of the image.
    """

    width: int
    height: int
    filepath: str


@dataclass(frozen=True)
class AnnotationReader:
    """Reader of annotations.

    Attributes:
        taxonomy: Classes of the dataset.
        user_names: Name of each annotator, by user id.
    """

    taxonomy: Taxonomy
    user_names: Mapping[int, str]

    def build_row(
        self, sample_id: str, image: SampleImage, annotations: Sequence[Mapping[str, Any]]
    ) -> Json | None:
        """Return every annotator's version of a sample and the merged result, as JSON.

        Returns None if there is no submission; skips do not count.
        """
        orientation = _orientation(image, annotations)
        versions: list[merge.Version] = []
        doubts: dict[merge.Version, tuple[Doubt, ...]] = {}
        comments, decisions = {}, {}
        for annotation in annotations:
            content = results.read(
                annotation,
                taxonomy=self.taxonomy,
                upright_size=(image.width, image.height),
                orientation=orientation,
            )
            if content is None:
                continue
            name = self._annotator(annotation)
            submission = build_submission(content.boxes, taxonomy=self.taxonomy, annotator=name)
            version = merge.Version(
                annotator=name,
                boxes=submission.boxes,
                submitted_at=pull_state.stamp(annotation).updated_at,
                seconds=annotation.get("lead_time"),
            )
            versions.append(version)
            doubts[version] = submission.doubts
            if content.comment:
                comments[name] = content.comment
            if content.decision:
                decisions[name] = content.decision
        if not versions:
            return None
        resolved = merge.resolve(versions)
        all_doubts = [*resolved.doubts, *(d for v in resolved.versions for d in doubts[v])]
        return {
            "sample_id": sample_id,
            "agreement": resolved.agreement,
            "seconds": resolved.seconds,
            "skips": len(annotations) - len(versions),
            "comments": comments,
            "decisions": decisions,
            **_boxes_json(resolved.boxes),
            "doubts": [{"what": doubt.subject, "reason": doubt.reason} for doubt in all_doubts],
            "versions": [
                {
                    "annotator": version.annotator,
                    "submitted_at": version.submitted_at.isoformat(),
                    "seconds": version.seconds,
                    **_boxes_json(version.boxes),
                }
                for version in resolved.versions
            ],
        }

    def to_annotation(self, row: Json) -> SampleAnnotation:
        """Return the annotation to import from a row."""
        doubts = tuple(Doubt(doubt["what"], doubt["reason"]) for doubt in row["doubts"])
        return SampleAnnotation(
            sample_id=row["sample_id"],
            boxes=ground_truth(
                row["boxes_xyxy"], self.taxonomy.ids_of(row["labels"]), self.taxonomy.names
            ),
            annotator=", ".join(version["annotator"] for version in row["versions"]),
            seconds=row["seconds"],
            complete=not doubts,
            doubts=doubts,
        )

    def _annotator(self, annotation: Mapping[str, Any]) -> str:
        author = annotation.get("completed_by")
        if isinstance(author, Mapping):
            author = author.get("id")
        if not isinstance(author, int):
            return _UNKNOWN_ANNOTATOR
        return self.user_names.get(author, f"user {author}")


def _boxes_json(boxes: Detections) -> Json:
    return {"labels": boxes.labels, "boxes_xyxy": boxes.boxes_xyxy.tolist()}


def _orientation(image: SampleImage, annotations: Iterable[Mapping[str, Any]]) -> int:
    """Return the image's EXIF orientation if an annotation has another size, else 1."""
    sizes = {
        (item.get("original_width"), item.get("original_height"))
        for annotation in annotations
        for item in annotation.get("result") or ()
    }
    if sizes <= {(image.width, image.height), (None, None)}:
        return 1
    try:
        with open_image(image.filepath) as file:
            return int(file.getexif().get(_ORIENTATION, 1))
    except (OSError, ValueError):  # remote or missing: the annotation becomes a doubt
        return 1
