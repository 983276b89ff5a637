import numpy as np
import pytest

from cascade.geometry import boxes
from cascade.predictions import Detections
from curation.labeling.review import ImageEvidence, find_items

CLASSES = ("cone", "drum", "sign")
ALL = frozenset(CLASSES)


def boxes_of(*rows):
    """Return boxes from rows of (label, x1, y1, x2, y2, p)."""
    return Detections(
        boxes_xyxy=np.array([row[1:5] for row in rows], float).reshape(-1, 4),
        scores=np.array([row[5] if len(row) > 5 else 1.0 for row in rows], float),
        class_ids=np.array([CLASSES.index(row[0]) for row in rows], int),
        classes=CLASSES,
    )


def evidence(truth, consensus=(), *, votes=2, members=None, vocabularies=(ALL, ALL)):
    fused = boxes_of(*consensus)
    seen = [fused, fused] if members is None else [boxes_of(*rows) for rows in members]
    return ImageEvidence(boxes_of(*truth), fused, np.full(len(fused), votes), seen, vocabularies)


A = ("cone", 0.1, 0.1, 0.3, 0.3)
B = ("cone", 0.6, 0.6, 0.8, 0.8)
SHIFTED_A = ("cone", 0.15, 0.1, 0.35, 0.3)  # IoU 0.6
SURE = 0.95
SEEN = [evidence([("cone", 0.4, 0.4, 0.6, 0.6)], [("cone", 0.4, 0.4, 0.6, 0.6, SURE)])] * 50

KINDS = [
    pytest.param([A], [(*A, SURE)], [], id="no error"),
    pytest.param([], [(*A, SURE)], ["missing"], id="missing"),
    pytest.param([B], [(*A, SURE), (*B, SURE)], ["missing"], id="one of two is missing"),
    pytest.param([("drum", *A[1:])], [(*A, SURE)], ["wrong class"], id="wrong class"),
    pytest.param([SHIFTED_A], [(*A, SURE)], ["shifted"], id="shifted"),
    pytest.param([A], [], ["spurious"], id="spurious"),
    pytest.param([A, B], [(*A, SURE)], ["spurious"], id="one of two is spurious"),
    pytest.param([B], [(*A, SURE)], ["missing", "spurious"], id="at another place"),
    pytest.param([], [(*A, 0.89)], [], id="too uncertain"),
    pytest.param([], [], [], id="nothing there, nothing seen"),
    pytest.param(
        [A], [(*A, SURE), ("drum", *A[1:], SURE)], [], id="two objects for one box are ignored"
    ),
    pytest.param(
        [A, ("drum", *A[1:])], [(*A, SURE), ("drum", *A[1:], SURE)], [],
        id="each object matches the box of its class",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("truth", "consensus", "kinds"), KINDS)
def test_kinds_of_errors_are_distinguished(truth, consensus, kinds):
    assert sorted(item.kind for item in find_items([evidence(truth, consensus), *SEEN])) == kinds


def test_single_vote_is_not_enough():
    assert find_items([evidence([], [(*A, SURE)], votes=1)]) == []


def test_weak_box_of_a_member_supports_label():
    weak = (*SHIFTED_A, 0.06)
    assert find_items([evidence([A], members=[[weak], []]), *SEEN]) == []


def test_members_without_the_class_are_ignored():
    full, partial = ALL, frozenset({"drum"})
    assert find_items([evidence([A], vocabularies=(full, partial)), *SEEN]) == []
    three = evidence([A], members=[[], [], []], vocabularies=(full, full, partial))
    (item,) = find_items([three, *SEEN])
    assert item.reason == (
        "None of 2 members that know cone sees anything here; they overlook 4% of such boxes."
    )


def test_overlooked_class_or_size_is_not_flagged():
    """Members rarely see these cones: at first all cones, then small ones only."""
    assert find_items([evidence([A])] * 30) == []
    small = evidence([("cone", 0.5, 0.5, 0.52, 0.52)])
    assert [item.image for item in find_items([evidence([A]), *[small] * 30, *SEEN * 5])] == [0]


def test_reason_names_votes_and_labels():
    (item,) = find_items([evidence([("drum", *A[1:])], [(*A, SURE)])])
    assert item.label == "cone"
    assert item.box_xyxy == pytest.approx(A[1:])
    assert item.reason == (
        "2 members see a cone with probability 0.95, but the box there is labeled drum (IoU 1.00)."
    )


def test_items_are_sorted_by_score_in_unit_interval():
    items = find_items(
        [
            evidence([SHIFTED_A], [(*A, SURE)]),
            evidence([], [(*A, 0.99)]),
            evidence([], [(*A, 0.91)]),
            evidence([("cone", 0.5, 0.5, 0.51, 0.51)]),
            *SEEN,
        ]
    )
    scores = [item.score for item in items]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0.0
    assert max(scores) <= 1.0
    assert [(items[0].image, items[0].kind), (items[-1].image, items[-1].kind)] == [
        (1, "missing"), (3, "spurious"),
    ]  # fmt: skip


def test_injected_errors_rank_first():
    """Known errors among 3,000 boxes, with members that overlook and invent objects."""
    generator = np.random.default_rng(0)
    images, wrong = [], set()
    for image in range(300):
        corners = [(0.05 + 0.19 * i, 0.1 + 0.5 * j) for i in range(5) for j in range(2)]
        true = [(CLASSES[i % 3], x, y, x + 0.12, y + 0.2) for i, (x, y) in enumerate(corners)]
        members = [
            [(*box, generator.uniform(0.5, 1)) for box in true if generator.random() < 0.9]
            for _ in range(3)
        ]
        seen = [box for box in true if sum(box == row[:5] for m in members for row in m) >= 2]
        labels = list(true)
        if generator.random() < 0.3:
            at = int(generator.integers(10))
            wrong.add((image, at))
            if generator.random() < 0.5:
                del labels[at]
            else:
                labels[at] = (CLASSES[at % 3 - 1], *labels[at][1:])
        images.append(
            ImageEvidence(
                boxes_of(*labels), boxes_of(*((*box, 0.95) for box in seen)), np.full(len(seen), 2),
                [boxes_of(*rows) for rows in members], (ALL,) * 3,
            )
        )  # fmt: skip
    items = find_items(images)
    places = np.array([(0.05 + 0.19 * i, 0.1 + 0.5 * j) for i in range(5) for j in range(2)])
    places = np.hstack([places, places + np.array([0.12, 0.2])])

    def is_wrong(item):
        at = int(boxes.iou(np.array([item.box_xyxy]), places).argmax())
        return (item.image, at) in wrong

    first = items[: len(wrong) // 2]
    assert len(first) > 30
    assert np.mean([is_wrong(item) for item in first]) == 1.0
    assert sum(is_wrong(item) for item in items) > 0.9 * len(wrong)
