"""Plays the person who labels, so that `04_label_studio_round_trip` runs without one.

It submits the truth that the demo holds back: into the folder that the files labeler wrote, or to
the Label Studio server that the environment names.
"""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path
from typing import Any

from curation.labeling.files import coco
from curation.storage import queries, reader

_SECONDS = 5.0  # what a person is said to take for an image


def label(dataset: Any, where: str) -> int:
    """Submit the truth of every task at a place, as `cu.push(...).where` names it.

    Returns:
        How many tasks were labeled now.
    """
    project = re.search(r"https?://\S*/projects/(\d+)", where)
    return _on_server(dataset, int(project[1])) if project else _in_folder(dataset, Path(where))


def _in_folder(dataset: Any, folder: Path) -> int:
    with (folder / "tasks.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    view = dataset.select([row["sample_id"] for row in rows], ordered=True)
    taxonomy = queries.taxonomy_of(dataset)
    truths = reader.read_detections(view, "oracle", taxonomy)
    text = coco.dump(
        [
            (row["image"], int(row["width"]), int(row["height"]), truth)
            for row, truth in zip(rows, truths, strict=True)
        ],
        classes=taxonomy.names,
        description="labeled by nobody in particular",
    )
    (folder / "returned" / "labels.json").write_text(text)
    return len(rows)


def _on_server(dataset: Any, project: int) -> int:
    from label_studio_sdk import LabelStudio

    server = LabelStudio(
        base_url=os.environ["LABEL_STUDIO_URL"], api_key=os.environ["LABEL_STUDIO_API_KEY"]
    )
    done = 0
    for task in server.tasks.list(project=project, fields="all"):
        if task.total_annotations:
            continue
        truth = dataset[task.data["sample_id"]]["oracle"]
        boxes = [_rectangle(i, one) for i, one in enumerate(truth.detections)]
        server.annotations.create(id=task.id, result=boxes, lead_time=_SECONDS)
        done += 1
    return done


def _rectangle(number: int, box: Any) -> dict[str, Any]:
    """Return a box as Label Studio writes it: corners and sides in percent of the image."""
    x, y, w, h = (100 * part for part in box.bounding_box)
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": 0, "rectanglelabels": [box.label]}
    return {
        "id": f"box-{number}", "type": "rectanglelabels", "from_name": "box", "to_name": "image",
        "value": value,
    }  # fmt: skip
