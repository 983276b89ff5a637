import fiftyone as fo
import numpy as np
import pytest

from cascade.predictions import Detections
from curation.active_learning.evaluation.failure_yield import wilson
from curation.errors import StageError, StoreError
from curation.presentation import error_analysis
from curation.presentation.error_analysis import Cell

NAMES = ("cone", "drum")
HERE, THERE, FAR = (0.1, 0.1, 0.4, 0.4), (0.6, 0.6, 0.9, 0.9), (0.5, 0.1, 0.52, 0.13)


def boxes(*found):
    return Detections(
        boxes_xyxy=np.array([box for box, *_ in found], np.float32).reshape(-1, 4),
        scores=np.array([p for _, _, p in found], np.float32),
        class_ids=np.array([NAMES.index(name) for _, name, _ in found], np.int64),
        classes=NAMES,
    )


TRUTH = boxes((HERE, "cone", 1), (THERE, "drum", 1))
IMAGES = [
    pytest.param([(HERE, "cone", 0.9), (THERE, "drum", 0.8)], (0, 1), (-1, -1), (), id="all right"),
    pytest.param([(HERE, "cone", 0.9)], (0, -1), (-1, -1), (), id="one is missed"),
    pytest.param([(HERE, "cone", 0.3)], (-1, -1), (-1, -1), (), id="unsure does not count"),
    pytest.param([(HERE, "drum", 0.9)], (-1, -1), (0, -1), (0,), id="the wrong class"),
    pytest.param([(FAR, "cone", 0.9)], (-1, -1), (-1, -1), (0,), id="where nothing is"),
    pytest.param(
        [(HERE, "cone", 0.6), (HERE, "cone", 0.9)], (1, -1), (-1, -1), (0,), id="the surer one wins"
    ),
    pytest.param([], (-1, -1), (-1, -1), (), id="silence"),
]


@pytest.mark.parametrize(("found", "found_by", "miscalled", "false"), IMAGES)
def test_an_image(found, found_by, miscalled, false):
    outcome = error_analysis.of_image(TRUTH, boxes(*found))
    assert (outcome.found_by, outcome.miscalled, outcome.false) == (found_by, miscalled, false)


def test_without_objects_every_sure_box_is_false():
    outcome = error_analysis.of_image(boxes(), boxes((HERE, "cone", 0.9)))
    assert (outcome.found_by, outcome.false) == ((), (0,))


def test_a_cell_has_a_share_and_its_interval():
    cell = Cell(("", ""), "m", n=40, missed=10, false=2, failed=11)
    assert cell.share("missed") == (0.25, *wilson(10, 40))


@pytest.fixture
def labeled(dataset):
    def label(*found):
        return fo.Detections(
            detections=[
                fo.Detection(
                    label=name, bounding_box=[a, b, c - a, d - b],
                    **({} if p == 1 else {"confidence": p}),
                )
                for (a, b, c, d), name, p in found
            ]
        )  # fmt: skip

    cone = (HERE, "cone", 0.9)
    near, far = label((HERE, "cone", 1)), label((FAR, "cone", 1))
    dataset.add_samples(
        [
            fo.Sample(filepath="/0.jpg", gt=near, yolo=label(cone), detr=label(), town="Ulm"),
            fo.Sample(filepath="/1.jpg", gt=far, yolo=label(cone), town="Ulm"),
            fo.Sample(filepath="/2.jpg", gt=label(), yolo=label(), detr=label(), town="Graz"),
            fo.Sample(filepath="/3.jpg", yolo=label(cone)),
        ]
    )
    return dataset


def test_lists_say_who_failed_where(labeled):
    assert error_analysis.judge(labeled, truth="gt") == 3
    columns = ["compared", "missed_by", "false_by", "far_missed_by", "object_size"]
    rows = list(zip(*labeled.values(columns), strict=True))
    assert rows[0] == (["yolo", "detr"], ["detr"], [], [], "near")
    assert rows[1] == (["yolo"], ["yolo"], ["yolo"], ["yolo"], "far"), "detr did not look at it"
    assert rows[2] == (["yolo", "detr"], [], [], [], "none")
    assert labeled.exists("object_size").count() == 3, "one has no ground truth"


def test_figures_are_kept_by_member_and_slice(labeled):
    error_analysis.judge(labeled, truth="gt")
    cells = {(one.slice, one.member): one for one in error_analysis.of(labeled)[0]}
    assert cells[("", ""), "yolo"] == Cell(("", ""), "yolo", n=3, missed=1, false=1, failed=1)
    assert cells[("", ""), "detr"] == Cell(("", ""), "detr", n=2, missed=1, false=0, failed=1)
    assert cells[("object_size", "far"), "yolo"].failed == 1
    assert not error_analysis.of(labeled)[1].stale


def test_a_comparison_is_old_when_a_sample_has_changed_since(labeled):
    assert error_analysis.of(labeled) is None
    error_analysis.judge(labeled, truth="gt")
    before = error_analysis.of(labeled)[1]
    labeled.limit(1).set_values("town", ["Linz"])
    cells, after = error_analysis.of(labeled)
    assert (before.stale, after.stale) == (False, True)
    assert after.at == before.at, "the figures were counted anew, the boxes not compared"
    assert cells


def test_a_clone_has_the_figures_too(labeled):
    error_analysis.judge(labeled, truth="gt")
    clone = labeled.clone()
    try:
        assert error_analysis.of(clone)[0] == error_analysis.of(labeled)[0]
    finally:
        clone.delete()


def test_any_field_can_slice(labeled):
    error_analysis.judge(labeled, truth="gt")
    rows = error_analysis.count(labeled, ["town"])["cells"]
    ulm = [one for one in rows if one["slice"] == ["town", "Ulm"] and one["member"] == "yolo"]
    assert [(one["n"], one["failed"]) for one in ulm] == [(2, 1)]


def test_without_truth_or_members_it_says_what_lacks(dataset):
    with pytest.raises(StoreError, match="gt"):
        error_analysis.judge(dataset, truth="gt")
    dataset.add_sample_field("gt", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    with pytest.raises(StageError, match="ground truth"):
        error_analysis.judge(dataset, truth="gt")
