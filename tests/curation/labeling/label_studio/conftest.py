"""A real Label Studio server, and labelers that work with it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "labeling_server"))

from labeling_fixtures import connect, label_studio, proxy  # noqa: F401 - are looked up here

from curation.labeling.label_studio.annotations.reader import SampleImage
from curation.labeling.label_studio.backend import LabelStudio


@pytest.fixture
def labeler(connect, roadwork, tmp_path, request):  # noqa: F811
    """Return `labeler(tasks, ...)`: a labeler of a dataset named after the test."""

    def make(
        tasks=(), *, name=request.node.name, dataset_id=None, url=None, token=None, overlap=1,
        taxonomy=roadwork, blur=None, **client,
    ):  # fmt: skip
        samples = {
            task.sample_id: SampleImage(task.width, task.height, task.filepath) for task in tasks
        }
        return LabelStudio(
            lambda: connect(url, token, **client),
            dataset=name,
            dataset_id=dataset_id or name,
            taxonomy=taxonomy,
            read_samples=lambda round_name: samples,
            folder=tmp_path / "notes",
            overlap=overlap,
            blur=blur,
        )

    return make
