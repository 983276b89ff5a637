from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade import taxonomy
from cascade.predictions import Detections
from curation.labeling.protocol import Task


@pytest.fixture(scope="session")
def roadwork():
    return taxonomy.load("roadwork_core")


@pytest.fixture(scope="session")
def younger_roadwork(roadwork):
    """Return the taxonomy with its first two classes only."""
    content = roadwork.model_dump()
    return type(roadwork).model_validate(content | {"classes": content["classes"][:2]})


@pytest.fixture
def detections(roadwork):
    def build(*rows, classes=roadwork.names):
        """Return boxes from rows of (label, x1, y1, x2, y2)."""
        return Detections(
            boxes_xyxy=np.array([row[1:] for row in rows], float).reshape(-1, 4),
            scores=np.full(len(rows), 0.5, np.float32),
            class_ids=np.array([classes.index(row[0]) for row in rows], np.int64),
            classes=tuple(classes),
        )

    return build


@pytest.fixture
def make_task(tmp_path, detections):
    def build(number=1, *, size_wh=(64, 48), boxes=None, filepath=None, round_number=1):
        path = Path(filepath or tmp_path / "source" / f"frame{number}.png")
        if filepath is None:
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", size_wh, (90, 90, 90)).save(path)
        return Task(
            sample_id=f"id{number}",
            filepath=str(path),
            width=size_wh[0],
            height=size_wh[1],
            round=round_number,
            rank=number,
            arm="hard",
            hardness=0.75,
            because="the members disagree",
            predictions=detections() if boxes is None else boxes,
        )

    return build
