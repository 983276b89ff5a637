"""A real Label Studio server, and labelers that work with it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "labeling_server"))

from labeling_fixtures import connect, label_studio, proxy  # noqa: F401 - are looked up here

from curation.labeling.label_studio.annotations.reader import Known
from curation.labeling.label_studio.backend import LabelStudio


@pytest.fixture
def labeler(connect, roadwork, tmp_path, request):  # noqa: F811
    """Return `labeler(tasks, ...)`: a labeler of a dataset named like the test."""

    def make(
        tasks=(), *, name=request.node.name, dataset_id=None, url=None, token=None, overlap=1,
        taxonomy=roadwork, blur=None, **client,
    ):  # fmt: skip
        sizes = {one.sample_id: Known(one.width, one.height, one.filepath) for one in tasks}
        return LabelStudio(
            lambda: connect(url, token, **client),
            dataset=name,
            dataset_id=dataset_id or name,
            taxonomy=taxonomy,
            known=lambda round_name: sizes,
            folder=tmp_path / "notes",
            overlap=overlap,
            blur=blur,
        )

    return make
