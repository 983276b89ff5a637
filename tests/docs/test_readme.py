"""The Python of the README's first screen runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def quickstart(database):
    """A dataset of that name with predictions of two members, a chosen sample and no model run."""
    import fiftyone as fo

    from cascade import taxonomy
    from cascade.predictions import Detections
    from curation.storage import queries, schema, writer

    roadwork = taxonomy.load("roadwork_core")
    dataset = fo.Dataset("quickstart", persistent=True, overwrite=True)
    schema.declare(dataset, roadwork, ("tiny_center", "tiny_rtdetr"))
    ids = dataset.add_samples(
        [
            fo.Sample(
                filepath=f"/tmp/no/{i}.jpg", split="train", drive=f"drive{i}",
                metadata=fo.ImageMetadata(width=640, height=360),
            )
            for i in range(6)
        ],
        progress=False,
    )  # fmt: skip

    def box(score):
        return Detections(
            boxes_xyxy=np.array([[0.1, 0.1, 0.4, 0.5]], np.float32),
            scores=np.array([score], np.float32),
            class_ids=np.zeros(1, np.int64),
            classes=("cone",),
        )

    from cascade.fusion.calibration import Calibration

    writer.write_members(
        dataset,
        {
            one: {"tiny_center": box(0.9), "tiny_rtdetr": box(0.1 + 0.15 * i)}
            for i, one in enumerate(ids)
        },
        taxonomy=roadwork,
        fingerprints={"tiny_center": "a", "tiny_rtdetr": "b"},
        calibration=Calibration.uncalibrated(),
    )
    queries.tag_batch(dataset, "round-01", ids[:1], ["hard"], ["The members disagree."])
    yield dataset
    dataset.delete()


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_of_the_readme_runs_and_prints_two_numbers(quickstart):
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert block, "The README's first screen has no Python block."
    ranked, hardness = run(block.group(1)).split()
    assert int(ranked) == 6
    assert 0.0 <= float(hardness) <= 1.0
