from dataclasses import replace

import numpy as np
import pytest

from cascade.predictions import Detections
from curation.errors import LabelingError
from curation.labeling import tasks
from curation.labeling.tasks import Columns


def columns():
    return Columns(
        ids=["a", "b", "c"],
        filepaths=["/a.jpg", "/b.jpg", "/c.jpg"],
        sizes_wh=[(64, 48), (64, 48), (32, 32)],
        ranks=[2, None, 1],
        tags=[["round-01", "arm:hard"], [], ["arm:random", "night"]],
        hardness=[0.5, None, 0.25],
        because=["disagreement", None, "drawn at random"],
        predictions=[Detections.empty()] * 3,
        slices=["", "", "weather=rain"],
    )


def test_tasks_are_ordered_by_rank_with_unranked_last():
    assert [task.sample_id for task in tasks.build(1, columns())] == ["c", "a", "b"]


def test_task_has_image_and_reason():
    first = tasks.build(3, columns())[0]
    assert (first.round, first.rank, first.arm, first.hardness) == (3, 1, "random", 0.25)
    assert (first.width, first.height, first.because) == (32, 32, "drawn at random")
    assert first.slices == "weather=rain"


def test_unknown_size_is_named():
    unknown = replace(columns(), sizes_wh=[None, None, None])
    with pytest.raises(LabelingError, match=r"size of /c\.jpg is unknown"):
        tasks.build(1, unknown)


@pytest.mark.parametrize(
    ("tags", "arm"),
    [
        pytest.param(["arm:slice"], "slice", id="the tag says it"),
        pytest.param(["round-01", "disarm:x"], "", id="no tag says it"),
    ],
)
def test_arm_is_read_from_tags(tags, arm):
    assert tasks.arm_of(tags) == arm


def test_slice_names_use_darkness_for_unknown_time_of_day():
    columns = {"time_of_day": ["night", None, None], "weather": [None, "rain", None]}
    luma = np.array([0.5, 0.1, np.nan])
    assert tasks.slice_names(columns, luma) == [
        "time_of_day=night", "time_of_day=night, weather=rain", "",
    ]  # fmt: skip
    assert tasks.slice_names({}, np.full(2, np.nan)) == ["", ""]
