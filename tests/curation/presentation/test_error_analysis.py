import fiftyone as fo
import numpy as np
import pytest

from cascade.predictions import Detections
from curation.active_learning.evaluation.failure_yield import wilson
from curation.errors import StageError, StoreError
from curation.presentation import error_analysis
from curation.presentation.error_analysis import Cell, ImageMatch

NAMES = ("cone", "drum")
HERE, THERE, FAR = (0.1, 0.1, 0.4, 0.4), (0.6, 0.6, 0.9, 0.9), (0.5, 0.1, 0.52, 0.13)


def boxes(*entries):
    return Detections(
        boxes_xyxy=np.array([box for box, *_ in entries], np.float32).reshape(-1, 4),
        scores=np.array([p for _, _, p in entries], np.float32),
        class_ids=np.array([NAMES.index(name) for _, name, _ in entries], np.int64),
        classes=NAMES,
    )


TRUTH = boxes((HERE, "cone", 1), (THERE, "drum", 1))
IMAGES = [
    pytest.param([(HERE, "cone", 0.9), (THERE, "drum", 0.8)], (0, 1), (-1, -1), (), id="all"),
    pytest.param([(HERE, "cone", 0.9)], (0, -1), (-1, -1), (), id="missed object"),
    pytest.param([(HERE, "cone", 0.3)], (-1, -1), (-1, -1), (), id="unconfident box is ignored"),
    pytest.param([(HERE, "drum", 0.9)], (-1, -1), (0, -1), (0,), id="wrong class"),
    pytest.param([(FAR, "cone", 0.9)], (-1, -1), (-1, -1), (0,), id="false positive"),
    pytest.param(
        [(HERE, "cone", 0.6), (HERE, "cone", 0.9)],
        (1, -1),
        (-1, -1),
        (0,),
        id="confident box wins",
    ),
    pytest.param([], (-1, -1), (-1, -1), (), id="no boxes"),
]


@pytest.mark.parametrize(("predicted", "matches", "wrong_class", "false_positives"), IMAGES)
def test_match_of_an_image(predicted, matches, wrong_class, false_positives):
    match = error_analysis.match_image(TRUTH, boxes(*predicted))
    assert match == ImageMatch(matches, wrong_class, false_positives)


def test_without_objects_every_confident_box_is_false():
    match = error_analysis.match_image(boxes(), boxes((HERE, "cone", 0.9)))
    assert (match.matches, match.false_positives) == ((), (0,))


def test_cell_has_a_share_and_its_interval():
    cell = Cell(("", ""), "m", n=40, missed=10, false=2, failed=11)
    assert cell.share("missed") == (0.25, *wilson(10, 40))


@pytest.fixture
def labeled(dataset):
    def label(*entries):
        return fo.Detections(
            detections=[
                fo.Detection(
                    label=name, bounding_box=[a, b, c - a, d - b],
                    **({} if p == 1 else {"confidence": p}),
                )
                for (a, b, c, d), name, p in entries
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


def test_compare_writes_errors_of_members(labeled):
    assert error_analysis.compare(labeled, truth="gt") == 3
    columns = ["compared", "missed_by", "false_by", "far_missed_by", "object_size"]
    rows = list(zip(*labeled.values(columns), strict=True))
    assert rows[0] == (["yolo", "detr"], ["detr"], [], [], "near")
    assert rows[1] == (["yolo"], ["yolo"], ["yolo"], ["yolo"], "far"), "detr has no prediction"
    assert rows[2] == (["yolo", "detr"], [], [], [], "none")
    assert labeled.exists("object_size").count() == 3, "one sample has no ground truth"


def test_errors_are_counted_by_member_and_slice(labeled):
    error_analysis.compare(labeled, truth="gt")
    cells = {(cell.slice, cell.member): cell for cell in error_analysis.read_cells(labeled)[0]}
    assert cells[("", ""), "yolo"] == Cell(("", ""), "yolo", n=3, missed=1, false=1, failed=1)
    assert cells[("", ""), "detr"] == Cell(("", ""), "detr", n=2, missed=1, false=0, failed=1)
    assert cells[("object_size", "far"), "yolo"].failed == 1
    assert not error_analysis.read_cells(labeled)[1].stale


def test_comparison_is_stale_after_a_change(labeled):
    assert error_analysis.read_cells(labeled) is None
    error_analysis.compare(labeled, truth="gt")
    before = error_analysis.read_cells(labeled)[1]
    labeled.limit(1).set_values("town", ["Linz"])
    cells, after = error_analysis.read_cells(labeled)
    assert (before.stale, after.stale) == (False, True)
    assert after.counted_at == before.counted_at, "recounted without comparing the boxes again"
    assert cells


def test_clone_has_the_figures_too(labeled):
    error_analysis.compare(labeled, truth="gt")
    clone = labeled.clone()
    try:
        assert error_analysis.read_cells(clone)[0] == error_analysis.read_cells(labeled)[0]
    finally:
        clone.delete()


def test_any_field_defines_slices(labeled):
    error_analysis.compare(labeled, truth="gt")
    rows = error_analysis.count_errors(labeled, ["town"])["cells"]
    ulm = [row for row in rows if row["slice"] == ["town", "Ulm"] and row["member"] == "yolo"]
    assert [(row["n"], row["failed"]) for row in ulm] == [(2, 1)]


def test_missing_truth_or_members_are_errors(dataset):
    with pytest.raises(StoreError, match="gt"):
        error_analysis.compare(dataset, truth="gt")
    dataset.add_sample_field("gt", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    with pytest.raises(StageError, match="ground truth"):
        error_analysis.compare(dataset, truth="gt")
