"""Page of the sample panel: the predictions of every member on one sample, and their errors.

With ground truth, each member's boxes are compared with it, object by object; without, they are
compared with the consensus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from cascade import taxonomy
from cascade.errors import ImageError
from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation import formatting
from curation.active_learning.evaluation.failure_yield import MIN_P
from curation.app.panels import side_by_side
from curation.app.panels.components import Notice, Page, Picture, Text
from curation.app.panels.side_by_side import Tile
from curation.presentation import error_analysis, member_counts
from curation.presentation.error_analysis import ImageMatch
from curation.presentation.member_counts import Kind
from curation.storage import conversions, queries, schema
from curation.storage.collection import translate_errors

if TYPE_CHECKING:
    from fiftyone import Dataset

_THIRDS = ("left", "middle", "right")


@dataclass(frozen=True, eq=False)
class SamplePredictions:
    """Predictions on one sample.

    Attributes:
        filepath: Path of the image.
        truth: Objects of the ground truth, or without one of the consensus.
        labeled: Whether `truth` is ground truth.
        predicted: Boxes by member.
        answers: Raw answers by language member.
        missing: Members without a prediction.
    """

    filepath: str
    truth: Detections
    labeled: bool
    predicted: Mapping[str, Detections]
    answers: Mapping[str, Mapping[str, Any]]
    missing: tuple[str, ...]

    def match(self) -> dict[str, ImageMatch]:
        """Return the matches of each member's boxes with the objects."""
        return {
            name: error_analysis.match_image(self.truth, detections)
            for name, detections in self.predicted.items()
        }


def build_page(dataset: Dataset, sample_id: str | None) -> Page:
    """Return the page of one sample.

    Args:
        dataset: A FiftyOne dataset.
        sample_id: Id of the open sample, or None.
    """
    if not sample_id:
        return Page.message("No sample is open", "Click one in the grid.")
    predictions = read_predictions(dataset, sample_id)
    if predictions is None:
        return Page.message("This sample does not exist any more", "It was deleted.", "warning")
    if not predictions.predicted and not predictions.answers:
        return Page.message(
            "No member has predicted on this sample yet",
            "Run “Curation: predict” (press the backtick key and type it), or "
            f"`curate predict {dataset.name}`.",
        )
    missing = ", ".join(predictions.missing)
    return Page.of(
        _picture(predictions),
        Text("lines", "\n\n".join(describe(predictions))),
        Text("silent", f"Without a prediction: {missing}.") if missing else None,
    )


def read_predictions(dataset: Dataset, sample_id: str) -> SamplePredictions | None:
    """Return the predictions on a sample, or None if it does not exist."""
    with translate_errors():
        document = dataset._sample_collection.find_one({"_id": ObjectId(sample_id)})
    if document is None:
        return None
    kinds = member_counts.member_fields(dataset)
    boxes = [n for n in _predicted(document, kinds, "boxes") if n != schema.GROUND_TRUTH]
    truth_field = _truth_field(document, boxes)
    members = [name for name in boxes if name != truth_field]
    reference = truth_field or schema.CONSENSUS
    classes = queries.taxonomy_of(dataset) or _taxonomy_of_sample(document, [reference, *members])
    answers = _predicted(document, kinds, "answer")
    return SamplePredictions(
        filepath=document["filepath"],
        truth=_detections(document.get(reference), classes),
        labeled=truth_field is not None,
        predicted={name: _detections(document[name], classes) for name in members},
        answers={name: document[name] for name in answers},
        missing=tuple(
            name for name, kind in kinds.items() if kind != "map" and document.get(name) is None
        ),
    )


def describe(predictions: SamplePredictions) -> list[str]:
    """Return each member's prediction of each object as Markdown lists, object by object."""
    matches, truth = predictions.match(), predictions.truth
    lists = []
    for i, label in enumerate(truth.labels):
        rows = [_describe_object(name, predictions, match, i) for name, match in matches.items()]
        lists.append(_list(f"{i + 1}. {label}, {_position(truth, i)}", rows))
    if predictions.labeled and not len(truth):
        lists.append("**No objects** in the ground truth.")
    unmatched = [
        row
        for name, match in matches.items()
        for row in _describe_unmatched(name, predictions, match)
    ]
    if unmatched:
        heading = "False positives" if predictions.labeled else "Detected by single members"
        lists.append(_list(heading, unmatched))
    elif not len(truth):
        lists.append("No member detects anything.")
    answers = [_describe_answer(name, answer) for name, answer in predictions.answers.items()]
    if answers:
        lists.append(_list("Answers of the language members", answers))
    return lists


def _describe_object(name: str, predictions: SamplePredictions, match: ImageMatch, i: int) -> str:
    """Return a member's prediction of object `i`, such as `dfine_x: no detection`."""
    detections = predictions.predicted[name]
    row, other = match.matches[i], match.wrong_class[i]
    if row >= 0:
        return f"✓ {name}: {detections.labels[row]} {detections.scores[row]:.2f}"
    if other >= 0:
        verdict = "wrong class" if predictions.labeled else "another class"
        box = f"{detections.labels[other]} {detections.scores[other]:.2f}"
        return f"✗ {name}: {box}: **{verdict}**"
    if predictions.labeled:
        return f"✗ {name}: no detection: **false negative**"
    return f"· {name}: no detection"


def _describe_unmatched(name: str, predictions: SamplePredictions, match: ImageMatch) -> list[str]:
    boxes = predictions.predicted[name]
    rows = [row for row in match.false_positives if row not in match.wrong_class]
    mark, verdict = ("✗", ": **false positive**") if predictions.labeled else ("·", "")
    return [
        f"{mark} {name}: {boxes.labels[row]} {boxes.scores[row]:.2f}, "
        f"{_position(boxes, row)}{verdict}"
        for row in rows
    ]


def _describe_answer(name: str, answer: Mapping[str, Any]) -> str:
    p = answer.get("confidence")
    text = f"{name}: {answer.get('label')}" + ("" if p is None else f" (p = {p:.2f})")
    if answer.get("reason"):
        text += f": {answer['reason']}"
    if answer.get("contradicts"):
        text += f". **Contradicts the other members**: {answer['contradicts']}"
    return text


def _list(heading: str, rows: Sequence[str]) -> str:
    return f"**{heading}**\n\n" + "\n".join(f"- {row}" for row in rows)


def _position(boxes: Detections, i: int) -> str:
    x1, y1, x2, y2 = (float(value) for value in boxes.boxes_xyxy[i])
    third = _THIRDS[min(int(1.5 * (x1 + x2)), 2)]
    return f"{third}, {formatting.percent(y2 - y1)} of the height"


def _picture(predictions: SamplePredictions) -> Picture | Notice:
    tiles = []
    for name, match in predictions.match().items():
        detections = predictions.predicted[name]
        right = [row for row in match.matches if row >= 0]
        missed = [i for i, row in enumerate(match.matches) if row < 0]
        tiles.append(
            Tile(
                name,
                formatting.quantity(int((detections.scores >= MIN_P).sum()), "detection"),
                right=detections.boxes_xyxy[right],
                wrong=detections.boxes_xyxy[list(match.false_positives)],
                missed=predictions.truth.boxes_xyxy[missed],
            )
        )
    try:
        uri = side_by_side.to_data_uri(predictions.filepath, tiles, labeled=predictions.labeled)
    except ImageError as error:
        return Notice("picture", "The image cannot be shown", str(error), "warning")
    return Picture("picture", uri, f"{len(tiles)} members on one sample")


def _predicted(document: Mapping[str, Any], kinds: Mapping[str, Kind], kind: Kind) -> list[str]:
    """Return the fields of one kind that have a value on this sample."""
    return [name for name, k in kinds.items() if k == kind and document.get(name) is not None]


def _truth_field(document: Mapping[str, Any], boxes: Sequence[str]) -> str | None:
    """Return `ground_truth`, or the first field of boxes without confidences."""
    if document.get(schema.GROUND_TRUTH) is not None:
        return schema.GROUND_TRUTH
    for name in boxes:
        detections = document[name].get("detections")
        if detections and all(box.get("confidence") is None for box in detections):
            return name
    return None


def _taxonomy_of_sample(document: Mapping[str, Any], names: Sequence[str]) -> Taxonomy:
    """Return a taxonomy in which each label of this sample is a class."""
    names_in_use = sorted(
        str(box["label"])
        for name in names
        for box in ((document.get(name) or {}).get("detections") or ())
    )
    labels = list({taxonomy.fold(label): label for label in names_in_use}.values()) or ["object"]
    return taxonomy.from_labels("own", labels, labels)


def _detections(document: Mapping[str, Any] | None, classes: Taxonomy) -> Detections:
    if document is None:
        return Detections.empty(classes.names)
    labels = {box["label"] for box in document.get("detections") or ()}
    canonical = {label: classes.canonical(label) for label in labels}
    return conversions.from_raw(document, classes.names, canonical)[0]
