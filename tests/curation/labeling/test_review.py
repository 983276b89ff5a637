import numpy as np
import pytest

from cascade.geometry import boxes
from cascade.predictions import Detections
from curation.labeling.review import Opinion, review

CLASSES = ("cone", "drum", "sign")
ALL = frozenset(CLASSES)


def found(*rows):
    """Return boxes from rows of (label, x1, y1, x2, y2, p)."""
    return Detections(
        boxes_xyxy=np.array([row[1:5] for row in rows], float).reshape(-1, 4),
        scores=np.array([row[5] if len(row) > 5 else 1.0 for row in rows], float),
        class_ids=np.array([CLASSES.index(row[0]) for row in rows], int),
        classes=CLASSES,
    )


def opinion(truth, consensus=(), *, votes=2, members=None, able=(ALL, ALL)):
    fused = found(*consensus)
    seen = [fused, fused] if members is None else [found(*one) for one in members]
    return Opinion(found(*truth), fused, np.full(len(fused), votes), seen, able)


A = ("cone", 0.1, 0.1, 0.3, 0.3)
B = ("cone", 0.6, 0.6, 0.8, 0.8)
BESIDE_A = ("cone", 0.15, 0.1, 0.35, 0.3)  # IoU 0.6
SURE = 0.95
SEEN = [opinion([("cone", 0.4, 0.4, 0.6, 0.6)], [("cone", 0.4, 0.4, 0.6, 0.6, SURE)])] * 50

KINDS = [
    pytest.param([A], [(*A, SURE)], [], id="all is well"),
    pytest.param([], [(*A, SURE)], ["missing"], id="missing"),
    pytest.param([B], [(*A, SURE), (*B, SURE)], ["missing"], id="one of two is missing"),
    pytest.param([("drum", *A[1:])], [(*A, SURE)], ["wrong class"], id="wrong class"),
    pytest.param([BESIDE_A], [(*A, SURE)], ["shifted"], id="shifted"),
    pytest.param([A], [], ["spurious"], id="spurious"),
    pytest.param([A, B], [(*A, SURE)], ["spurious"], id="one of two is spurious"),
    pytest.param([B], [(*A, SURE)], ["missing", "spurious"], id="at another place altogether"),
    pytest.param([], [(*A, 0.89)], [], id="not sure enough"),
    pytest.param([], [], [], id="nothing there, nothing seen"),
    pytest.param(
        [A], [(*A, SURE), ("drum", *A[1:], SURE)], [], id="two objects for one box are our affair"
    ),
    pytest.param(
        [A, ("drum", *A[1:])], [(*A, SURE), ("drum", *A[1:], SURE)], [],
        id="each finds the box of its class",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("truth", "consensus", "kinds"), KINDS)
def test_each_kind_of_error_is_told_from_the_others(truth, consensus, kinds):
    assert sorted(one.kind for one in review([opinion(truth, consensus), *SEEN])) == kinds


def test_one_voter_is_not_enough():
    assert review([opinion([], [(*A, SURE)], votes=1)]) == []


def test_a_member_that_saw_something_there_supports_a_box():
    weak = (*BESIDE_A, 0.06)
    assert review([opinion([A], members=[[weak], []]), *SEEN]) == []


def test_members_that_cannot_name_a_class_say_nothing_about_it():
    knows, knows_not = ALL, frozenset({"drum"})
    assert review([opinion([A], able=(knows, knows_not)), *SEEN]) == []
    three = opinion([A], members=[[], [], []], able=(knows, knows, knows_not))
    (item,) = review([three, *SEEN])
    assert item.reason == (
        "None of 2 members that know cone sees anything here; they overlook 4% of such boxes."
    )


def test_the_silence_of_the_blind_says_nothing():
    """Cones that members seldom see: here, and small ones only."""
    assert review([opinion([A])] * 30) == []
    small = opinion([("cone", 0.5, 0.5, 0.52, 0.52)])
    assert [one.image for one in review([opinion([A]), *[small] * 30, *SEEN * 5])] == [0]


def test_the_reason_says_who_saw_what():
    (item,) = review([opinion([("drum", *A[1:])], [(*A, SURE)])])
    assert item.label == "cone"
    assert item.box_xyxy == pytest.approx(A[1:])
    assert item.reason == (
        "2 members see a cone with probability 0.95, and the box there says drum (IoU 1.00)."
    )


def test_the_surest_come_first_and_scores_lie_between_0_and_1():
    items = review(
        [
            opinion([BESIDE_A], [(*A, SURE)]),
            opinion([], [(*A, 0.99)]),
            opinion([], [(*A, 0.91)]),
            opinion([("cone", 0.5, 0.5, 0.51, 0.51)]),
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


def test_what_was_put_in_is_what_comes_out_first():
    """Known errors among 3,000 boxes, and members that overlook and imagine things."""
    generator = np.random.default_rng(0)
    opinions, wrong = [], set()
    for image in range(300):
        corners = [(0.05 + 0.19 * i, 0.1 + 0.5 * j) for i in range(5) for j in range(2)]
        true = [(CLASSES[i % 3], x, y, x + 0.12, y + 0.2) for i, (x, y) in enumerate(corners)]
        members = [
            [(*one, generator.uniform(0.5, 1)) for one in true if generator.random() < 0.9]
            for _ in range(3)
        ]
        seen = [one for one in true if sum(one == row[:5] for m in members for row in m) >= 2]
        labels = list(true)
        if generator.random() < 0.3:
            at = int(generator.integers(10))
            wrong.add((image, at))
            if generator.random() < 0.5:
                del labels[at]
            else:
                labels[at] = (CLASSES[at % 3 - 1], *labels[at][1:])
        opinions.append(
            Opinion(
                found(*labels), found(*((*one, 0.95) for one in seen)), np.full(len(seen), 2),
                [found(*one) for one in members], (ALL,) * 3,
            )
        )  # fmt: skip
    items = review(opinions)
    places = np.array([(0.05 + 0.19 * i, 0.1 + 0.5 * j) for i in range(5) for j in range(2)])
    places = np.hstack([places, places + np.array([0.12, 0.2])])

    def is_wrong(item):
        at = int(boxes.iou(np.array([item.box_xyxy]), places).argmax())
        return (item.image, at) in wrong

    first = items[: len(wrong) // 2]
    assert len(first) > 30
    assert np.mean([is_wrong(one) for one in first]) == 1.0
    assert sum(is_wrong(one) for one in items) > 0.9 * len(wrong)
