"""The page about one sample: every member beside the others, and who is right.

Where there is ground truth, each member's boxes are compared with it, object by object; where
there is none, with what the ensemble as a whole sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from cascade.errors import ImageError
from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.active_learning.evaluation.failure_yield import MIN_P
from curation.app.panels import side_by_side
from curation.app.panels.components import Notice, Page, Picture, Text
from curation.app.panels.side_by_side import Tile
from curation.presentation import error_analysis, member_counts
from curation.presentation.error_analysis import Outcome
from curation.presentation.member_counts import Kind
from curation.storage import conversions, queries, schema
from curation.storage.collection import translate_errors

if TYPE_CHECKING:
    from fiftyone import Dataset

_THIRDS = ("left", "middle", "right")


@dataclass(frozen=True, eq=False)
class Seen:
    """What is known of one sample.

    Attributes:
        filepath: Its image.
        truth: The objects; of the ground truth, else of the consensus.
        labeled: Whether they are ground truth.
        found: The boxes of each member that looked at it.
        answers: The raw answers of the language members that were asked.
        silent: Members that did not look at it.
    """

    filepath: str
    truth: Detections
    labeled: bool
    found: Mapping[str, Detections]
    answers: Mapping[str, Mapping[str, Any]]
    silent: tuple[str, ...]


def page(dataset: Dataset, sample: str | None) -> Page:
    """Return the page of one sample.

    Args:
        dataset: The FiftyOne dataset.
        sample: Its id; None where none is open.
    """
    if not sample:
        return Page.saying("No sample is open", "Click one in the grid.")
    seen = read(dataset, sample)
    if seen is None:
        return Page.saying("This sample is gone", "It was deleted meanwhile.", "warning")
    if not seen.found and not seen.answers:
        return Page.saying(
            "Nobody has looked at this sample yet",
            f"Run “Curation: predict” (press ` and type it), or `curate predict {dataset.name}`.",
        )
    return Page.of(_picture(seen), Text("lines", "\n\n".join(lines(seen))), _unread(seen))


def read(dataset: Dataset, sample: str) -> Seen | None:
    """Return what is known of a sample, None where it does not exist."""
    with translate_errors():
        row = dataset._sample_collection.find_one({"_id": ObjectId(sample)})
    if row is None:
        return None
    kinds = member_counts.member_fields(dataset)
    boxed = [one for one in _boxed(row, kinds) if one != schema.GROUND_TRUTH]
    truth_field = next((one for one in _truths(row, boxed)), None)
    members = [one for one in boxed if one != truth_field]
    reference = truth_field or schema.CONSENSUS
    taxonomy = queries.taxonomy_of(dataset) or _own(row, [reference, *members])
    return Seen(
        filepath=row["filepath"],
        truth=_detections(row.get(reference), taxonomy),
        labeled=truth_field is not None,
        found={one: _detections(row[one], taxonomy) for one in members},
        answers={one: row[one] for one in _asked(row, kinds)},
        silent=tuple(one for one, kind in kinds.items() if kind != "map" and row.get(one) is None),
    )


def lines(seen: Seen) -> list[str]:
    """Return what every member says of every object, as Markdown, object by object."""
    judged = {name: error_analysis.of_image(seen.truth, one) for name, one in seen.found.items()}
    said = []
    for i, label in enumerate(seen.truth.labels):
        rows = [_of_object(name, seen, judged, i) for name in seen.found]
        said.append(_list(f"{i + 1}. {label}, {_where(seen.truth, i)}", rows))
    if seen.labeled and not len(seen.truth):
        said.append("**Nothing is here**, says the ground truth.")
    false = [row for name in seen.found for row in _of_nothing(name, seen, judged[name])]
    if false:
        where = "Seen where nothing is" if seen.labeled else "Seen by single members"
        said.append(_list(where, false))
    elif not len(seen.truth):
        said.append("Nobody sees anything.")
    answers = [_of_answer(name, one) for name, one in seen.answers.items()]
    if answers:
        said.append(_list("What the language members say", answers))
    return said


def _of_object(name: str, seen: Seen, judged: Mapping[str, Outcome], i: int) -> str:
    """Return what a member made of an object, such as `dfine_x: no detection: false negative`."""
    found, outcome = seen.found[name], judged[name]
    row = outcome.found_by[i]
    if row >= 0:
        return f"✓ {name}: {found.labels[row]} {found.scores[row]:.2f}"
    other = outcome.miscalled[i]
    if other >= 0:
        verdict = "wrong class" if seen.labeled else "another class"
        return f"✗ {name}: {found.labels[other]} {found.scores[other]:.2f}: **{verdict}**"
    if seen.labeled:
        return f"✗ {name}: no detection: **false negative**"
    return f"· {name}: no detection"


def _of_nothing(name: str, seen: Seen, outcome: Outcome) -> list[str]:
    found = seen.found[name]
    rows = [row for row in outcome.false if row not in outcome.miscalled]
    verdict = ": **false positive**" if seen.labeled else ""
    mark = "✗" if seen.labeled else "·"
    return [
        f"{mark} {name}: {found.labels[row]} {found.scores[row]:.2f}, {_where(found, row)}{verdict}"
        for row in rows
    ]


def _of_answer(name: str, answer: Mapping[str, Any]) -> str:
    p = answer.get("confidence")
    text = f"{name}: {answer.get('label')}" + ("" if p is None else f" (p = {p:.2f})")
    if answer.get("reason"):
        text += f": {answer['reason']}"
    if answer.get("contradicts"):
        text += f". **Contradicts the others**: {answer['contradicts']}"
    return text


def _list(heading: str, rows: Sequence[str]) -> str:
    return f"**{heading}**\n\n" + "\n".join(f"- {one}" for one in rows)


def _where(boxes: Detections, i: int) -> str:
    x1, y1, x2, y2 = (float(one) for one in boxes.boxes_xyxy[i])
    third = _THIRDS[min(int(1.5 * (x1 + x2)), 2)]
    return f"{third}, {100 * (y2 - y1):.0f} % of the height"


def _picture(seen: Seen) -> Picture | Notice:
    tiles = []
    for name, found in seen.found.items():
        outcome = error_analysis.of_image(seen.truth, found)
        sure = found.scores >= MIN_P
        right = [row for row in outcome.found_by if row >= 0]
        missed = [i for i, row in enumerate(outcome.found_by) if row < 0]
        wrong = list(outcome.false)
        tiles.append(
            Tile(
                name,
                f"{int(sure.sum())} found",
                right=found.boxes_xyxy[right],
                wrong=found.boxes_xyxy[wrong],
                missed=seen.truth.boxes_xyxy[missed],
            )
        )
    try:
        uri = side_by_side.to_data_uri(seen.filepath, tiles, labeled=seen.labeled)
    except ImageError as error:
        return Notice("picture", "The image cannot be shown", str(error), "warning")
    return Picture("picture", uri, f"{len(tiles)} members on one sample")


def _unread(seen: Seen) -> Text | None:
    if not seen.silent:
        return None
    return Text("silent", f"Not asked here: {', '.join(seen.silent)}.")


def _boxed(row: Mapping[str, Any], kinds: Mapping[str, Kind]) -> list[str]:
    return [one for one, kind in kinds.items() if kind == "boxes" and row.get(one) is not None]


def _truths(row: Mapping[str, Any], boxed: Sequence[str]) -> list[str]:
    """Return the fields of this sample that are ground truth: ours, then those without p."""
    ours = [schema.GROUND_TRUTH] if row.get(schema.GROUND_TRUTH) is not None else []
    return ours + [
        name
        for name in boxed
        if (found := row[name].get("detections"))
        and all(one.get("confidence") is None for one in found)
    ]


def _asked(row: Mapping[str, Any], kinds: Mapping[str, Kind]) -> list[str]:
    return [one for one, kind in kinds.items() if kind == "answer" and row.get(one) is not None]


def _own(row: Mapping[str, Any], names: Sequence[str]) -> Taxonomy:
    """Return a taxonomy in which each label of this sample means itself."""
    from cascade import taxonomy as taxonomies

    found = [
        str(one["label"])
        for name in names
        for one in ((row.get(name) or {}).get("detections") or ())
    ]
    labels = list({taxonomies.fold(one): one for one in sorted(found)}.values()) or ["object"]
    return taxonomies.from_labels("own", labels, labels)


def _detections(raw: Mapping[str, Any] | None, taxonomy: Taxonomy) -> Detections:
    if raw is None:
        return Detections.empty(taxonomy.names)
    words = {one["label"]: taxonomy.canonical(one["label"]) for one in raw.get("detections") or ()}
    return conversions.from_raw(raw, taxonomy.names, words)[0]
