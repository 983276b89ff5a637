"""What people answered to one image: read, merged, and as the row that is kept of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cascade.imaging.pillow import open_image
from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.labeling.label_studio import pull_state
from curation.labeling.label_studio.annotations import merge, results
from curation.labeling.protocol import Annotated, Doubt
from curation.labeling.submissions import ground_truth, understand

Json = dict[str, Any]

_ORIENTATION = 0x0112  # the EXIF tag


@dataclass(frozen=True)
class Known:
    """A sample of the dataset.

    Attributes:
        width: Of the upright image, in pixels.
        height: Of the upright image, in pixels.
        filepath: Where its image is.
    """

    width: int
    height: int
    filepath: str


@dataclass(frozen=True)
class Reader:
    """Reads what was answered.

    Attributes:
        taxonomy: What labels mean.
        people: What annotators are called, by their number.
    """

    taxonomy: Taxonomy
    people: Mapping[int, str]

    def row(
        self, sample_id: str, sample: Known, annotations: Sequence[Mapping[str, Any]]
    ) -> Json | None:
        """Return every annotator's version of a sample, and what is made of them, as JSON.

        None where nobody submitted anything; skips are no submissions.
        """
        orientation = _orientation(sample, annotations)
        versions: list[merge.Version] = []
        doubts: dict[merge.Version, tuple[Doubt, ...]] = {}
        comments, decisions = {}, {}
        for one in annotations:
            said = results.read(
                one,
                taxonomy=self.taxonomy,
                upright_size=(sample.width, sample.height),
                orientation=orientation,
            )
            if said is None:
                continue
            who = _annotator(one, self.people)
            submission = understand(said.drawn, taxonomy=self.taxonomy, annotator=who)
            version = merge.Version(
                annotator=who,
                boxes=submission.boxes,
                submitted_at=pull_state.stamp(one).updated_at,
                seconds=one.get("lead_time"),
            )
            versions.append(version)
            doubts[version] = submission.doubts
            if said.comment:
                comments[who] = said.comment
            if said.decision:
                decisions[who] = said.decision
        if not versions:
            return None
        resolved = merge.resolve(versions)
        left = [*resolved.doubts, *(doubt for one in resolved.versions for doubt in doubts[one])]
        return {
            "sample_id": sample_id,
            "agreement": resolved.agreement,
            "seconds": resolved.seconds,
            "skips": len(annotations) - len(versions),
            "comments": comments,
            "decisions": decisions,
            **_boxes(resolved.boxes),
            "doubts": [{"what": one.what, "reason": one.reason} for one in left],
            "versions": [
                {
                    "annotator": one.annotator,
                    "submitted_at": one.submitted_at.isoformat(),
                    "seconds": one.seconds,
                    **_boxes(one.boxes),
                }
                for one in resolved.versions
            ],
        }

    def annotated(self, row: Json) -> Annotated:
        """Return what is to be taken over of a row."""
        doubts = tuple(Doubt(one["what"], one["reason"]) for one in row["doubts"])
        return Annotated(
            sample_id=row["sample_id"],
            boxes=ground_truth(
                row["boxes_xyxy"], self.taxonomy.ids_of(row["labels"]), self.taxonomy.names
            ),
            annotator=", ".join(one["annotator"] for one in row["versions"]),
            seconds=row["seconds"],
            complete=not doubts,
            doubts=doubts,
        )


def _boxes(boxes: Detections) -> Json:
    return {"labels": boxes.labels, "boxes_xyxy": boxes.boxes_xyxy.tolist()}


def _annotator(annotation: Mapping[str, Any], people: Mapping[int, str]) -> str:
    author = annotation.get("completed_by")
    if isinstance(author, Mapping):
        author = author.get("id")
    return people.get(author, f"user {author}") if isinstance(author, int) else "somebody"


def _orientation(sample: Known, annotations: Iterable[Mapping[str, Any]]) -> int:
    """Return an image's EXIF orientation, where an answer was drawn on another shape than ours."""
    shapes = {
        (item.get("original_width"), item.get("original_height"))
        for one in annotations
        for item in one.get("result") or ()
    }
    if shapes <= {(sample.width, sample.height), (None, None)}:
        return 1
    try:
        with open_image(sample.filepath) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, ValueError):  # in a cloud, or gone: then it is a doubt
        return 1
