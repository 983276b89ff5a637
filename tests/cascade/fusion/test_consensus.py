"""Fusion and decision: by hand, against a slow reference, and at scale."""

import time
from dataclasses import dataclass, fields
from math import exp, isnan, log, nan, sqrt

import numpy as np
import pytest

from cascade.fusion.consensus import decide, fuse
from cascade.fusion.votes import Votes
from cascade.manifest import Fusion

CLASSES = ("cone", "drum", "vehicle")
MEMBERS = ("a", "b", "coco")
COMPETENT = np.array([[1, 1, 1], [1, 1, 1], [0, 0, 1]], bool)
RELEVANCE = np.array([1.0, 0.9, 0.0])
WEIGHTS = np.array([1.0, 1.0, 1.0])
SILENCE = np.array([0.02, 0.1, 0.02])
BOX = (0.1, 0.1, 0.3, 0.3)
NEAR = (0.1, 0.1, 0.3, 0.28)  # IoU 0.9 with BOX
FAR = (0.6, 0.6, 0.8, 0.8)
FUSION = Fusion()


@dataclass
class Vote:
    """One box of one member."""

    image: int
    member: int
    class_id: int
    p: float
    box: tuple[float, float, float, float]


def votes_of(boxes, *, n_images=1, ran=None):
    boxes = sorted(boxes, key=lambda vote: vote.image)
    return Votes(
        image=np.array([vote.image for vote in boxes], np.int64),
        member=np.array([vote.member for vote in boxes], np.int64),
        class_id=np.array([vote.class_id for vote in boxes], np.int64),
        p=np.array([vote.p for vote in boxes], np.float64),
        boxes_xyxy=np.array([vote.box for vote in boxes], np.float64).reshape(-1, 4),
        ran=np.ones((n_images, len(MEMBERS)), bool) if ran is None else np.array(ran, bool),
        members=MEMBERS,
        classes=CLASSES,
    )


def fuse_boxes(
    boxes, *, n_images=1, ran=None, size_px=(1000, 1000), fusion=FUSION, weights=WEIGHTS
):
    return fuse(
        votes_of(boxes, n_images=n_images, ran=ran),
        competent=COMPETENT,
        weights=weights,
        silence=SILENCE,
        sizes_px=np.tile(size_px, (n_images, 1)),
        fusion=fusion,
    )


def decide_clusters(clusters, *, n_images=1, ran=None, threshold=0.5):
    return decide(
        clusters,
        np.ones((n_images, len(MEMBERS)), bool) if ran is None else np.array(ran, bool),
        competent=COMPETENT,
        relevance=RELEVANCE,
        threshold=threshold,
        epsilon=FUSION.epsilon,
    )


def sigmoid(x):
    return 1 / (1 + exp(-x))


def logit(p):
    return log(p / (1 - p))


# --- one cluster, by hand ------------------------------------------------------------------


def test_two_agreeing_members_and_an_incompetent_one():
    clusters = fuse_boxes([Vote(0, 0, 0, 0.9, BOX), Vote(0, 1, 0, 0.6, BOX)])
    assert clusters.p_members[0] == pytest.approx([0.9, 0.6, nan], nan_ok=True)
    assert clusters.p_mean == pytest.approx([0.75])
    assert clusters.p_fused == pytest.approx([sigmoid((logit(0.9) + logit(0.6)) / 2)])
    assert clusters.votes.tolist() == [2]
    assert clusters.agreement == pytest.approx([1.0])
    assert clusters.boxes_xyxy[0] == pytest.approx(BOX)
    assert clusters.class_id.tolist() == [0]
    assert clusters.class_votes[0] == pytest.approx([1.5, 0.0, 0.0])


def test_silent_competent_member_votes_with_its_silence():
    clusters = fuse_boxes([Vote(0, 0, 0, 0.9, BOX)])
    assert clusters.p_members[0] == pytest.approx([0.9, 0.1, nan], nan_ok=True)
    assert clusters.p_fused == pytest.approx([sigmoid((logit(0.9) + logit(0.1)) / 2)])
    assert clusters.agreement == pytest.approx([0.5])


def test_failed_member_abstains():
    clusters = fuse_boxes([Vote(0, 0, 0, 0.9, BOX)], ran=[[1, 0, 1]])
    assert clusters.p_members[0] == pytest.approx([0.9, nan, nan], nan_ok=True)
    assert clusters.p_fused == pytest.approx([0.9])
    assert clusters.agreement == pytest.approx([1.0])


def test_one_common_class_makes_a_member_competent():
    boxes = [Vote(0, 0, 0, 0.9, BOX), Vote(0, 1, 2, 0.3, BOX)]  # cone or vehicle: coco knows one
    clusters = fuse_boxes(boxes)
    assert clusters.p_members[0] == pytest.approx([0.9, 0.3, 0.02])


def test_weights_apply_to_every_mean():
    boxes = [Vote(0, 0, 0, 0.8, BOX), Vote(0, 1, 1, 0.4, NEAR)]
    clusters = fuse_boxes(boxes, weights=np.array([3.0, 1.0, 1.0]))
    assert clusters.p_mean == pytest.approx([0.7])
    assert clusters.p_fused == pytest.approx([sigmoid((3 * logit(0.8) + logit(0.4)) / 4)])
    assert clusters.boxes_xyxy[0, 3] == pytest.approx((2.4 * 0.3 + 0.4 * 0.28) / 2.8)
    assert clusters.class_votes[0] == pytest.approx([2.4, 0.4, 0.0])


@pytest.mark.parametrize(
    ("p", "clipped"), [(1.0, 0.98), (0.05, 0.05), (0.99, 0.98)], ids=["certain", "faint", "sure"]
)
def test_probabilities_are_clipped(p, clipped):
    clusters = fuse_boxes([Vote(0, 0, 0, p, BOX)], ran=[[1, 0, 0]])
    assert clusters.p_fused == pytest.approx([clipped])
    assert clusters.p_members[0, 0] == pytest.approx(clipped)


# --- which boxes are one object ------------------------------------------------------------


def test_clusters_are_separated_by_place_not_class():
    boxes = [Vote(0, 0, 0, 0.9, BOX), Vote(0, 1, 1, 0.6, NEAR), Vote(0, 1, 0, 0.5, FAR)]
    clusters = fuse_boxes(boxes)
    assert clusters.votes.tolist() == [2, 1]
    assert clusters.class_id.tolist() == [0, 0]
    assert clusters.member_boxes[0, 1] == pytest.approx(NEAR)
    assert np.isnan(clusters.member_boxes[1, 0]).all()


def test_duplicates_of_one_member_and_class_count_once():
    clusters = fuse_boxes([Vote(0, 0, 0, 0.9, BOX), Vote(0, 0, 0, 0.8, NEAR)])
    assert clusters.votes.tolist() == [1]
    assert clusters.class_votes[0] == pytest.approx([0.9, 0, 0])


def test_second_class_of_one_member_is_a_class_vote():
    clusters = fuse_boxes(
        [Vote(0, 0, 0, 0.6, BOX), Vote(0, 0, 1, 0.5, NEAR), Vote(0, 1, 1, 0.3, BOX)]
    )
    assert clusters.votes.tolist() == [2]
    assert clusters.p_members[0, :2] == pytest.approx([0.6, 0.3])
    assert clusters.class_votes[0] == pytest.approx([0.6, 0.8, 0.0])
    assert clusters.class_id.tolist() == [1]


def test_box_joins_the_seed_with_the_largest_overlap():
    left, right = (0.1, 0.1, 0.3, 0.3), (0.16, 0.1, 0.36, 0.3)  # IoU 0.54: two seeds
    between = (0.15, 0.1, 0.35, 0.3)  # IoU 0.6 with left, 0.9 with right
    clusters = fuse_boxes(
        [Vote(0, 0, 0, 0.9, left), Vote(0, 0, 1, 0.8, right), Vote(0, 1, 0, 0.7, between)]
    )
    assert clusters.votes.tolist() == [2, 1]
    assert clusters.member_boxes[0, 0] == pytest.approx(right)


@pytest.mark.parametrize(
    ("size_px", "expected"),
    [
        pytest.param((100, 100), [2], id="20 px"),
        pytest.param((159, 159), [2], id="31.8 px"),
        pytest.param((161, 161), [1, 1], id="32.2 px"),
        pytest.param((40, 600), [2], id="8 x 120 px, 31 px by area"),
    ],
)
def test_small_boxes_need_less_overlap(size_px, expected):
    half = (0.1, 0.1, 0.3, 0.2)  # IoU 0.5 with BOX
    clusters = fuse_boxes([Vote(0, 0, 0, 0.9, BOX), Vote(0, 1, 0, 0.6, half)], size_px=size_px)
    assert clusters.votes.tolist() == expected


def test_boxes_below_min_p_do_not_vote():
    clusters = fuse_boxes(
        [Vote(0, 0, 0, 0.9, BOX), Vote(0, 1, 0, 0.049, BOX), Vote(0, 1, 0, 0.04, FAR)]
    )
    assert len(clusters) == 1
    assert clusters.p_members[0, 1] == pytest.approx(SILENCE[1])


def test_ties_follow_the_order_of_members():
    shifted = (0.12, 0.1, 0.32, 0.3)
    boxes = [Vote(0, 1, 1, 0.6, shifted), Vote(0, 0, 0, 0.6, BOX)]
    clusters, reverse = fuse_boxes(boxes), fuse_boxes(boxes[::-1])
    for field in fields(clusters):
        if isinstance(value := getattr(clusters, field.name), np.ndarray):
            np.testing.assert_array_equal(value, getattr(reverse, field.name))
    assert clusters.class_id.tolist() == [0]


def test_empty_boxes_are_separate_clusters():
    clusters = fuse_boxes(
        [Vote(0, 0, 0, 0.9, (0.2, 0.2, 0.2, 0.2)), Vote(0, 1, 0, 0.5, (0.2,) * 4)]
    )
    assert clusters.votes.tolist() == [1, 1]


@pytest.mark.parametrize("n_images", [0, 3])
def test_no_boxes(n_images):
    clusters = fuse_boxes([], n_images=n_images)
    assert len(clusters) == 0
    assert clusters.n_images == n_images
    assert clusters.p_members.shape == (0, 3)
    assert clusters.member_boxes.shape == (0, 3, 4)
    decisions = decide_clusters(clusters, n_images=n_images)
    assert decisions.p == pytest.approx([0.02] * n_images)
    assert decisions.agreement == pytest.approx([1.0] * n_images)
    assert decisions.n_voters.tolist() == [2] * n_images


def test_clusters_are_sorted_by_image_and_confidence():
    boxes = [Vote(1, 0, 0, 0.3, BOX), Vote(1, 0, 0, 0.9, FAR), Vote(0, 1, 0, 0.5, BOX)]
    clusters = fuse_boxes(boxes, n_images=2)
    assert clusters.image.tolist() == [0, 1, 1]
    assert clusters.p_fused[1] > clusters.p_fused[2]


# --- the image decision --------------------------------------------------------------------


def test_decision_by_hand():
    boxes = [Vote(0, 0, 0, 0.9, BOX), Vote(0, 0, 1, 0.5, FAR), Vote(0, 1, 0, 0.8, BOX)]
    decisions = decide_clusters(fuse_boxes(boxes))
    first = 1 - (1 - 0.9) * (1 - 0.9 * 0.5)
    second = 1 - (1 - 0.8) * (1 - 0.9 * 0.1)  # its silence on the drum is 0.1
    assert decisions.p_members[0] == pytest.approx([first, second, nan], nan_ok=True)
    assert decisions.p == pytest.approx([sigmoid((logit(first) + logit(second)) / 2)])
    assert decisions.agreement == pytest.approx([1.0])
    assert decisions.n_voters.tolist() == [2]


def test_classes_that_do_not_decide_are_ignored():
    decisions = decide_clusters(fuse_boxes([Vote(0, m, 2, 0.95, BOX) for m in range(3)]))
    assert decisions.p_members[0] == pytest.approx([0.0, 0.0, nan], nan_ok=True)
    assert decisions.p == pytest.approx([0.02])


def test_agreement_is_the_share_on_the_fused_side():
    boxes = [Vote(0, 0, 0, 0.97, BOX)]  # the silence of b is 0.1
    decisions = decide_clusters(fuse_boxes(boxes))
    assert decisions.p[0] > 0.5
    assert decisions.agreement == pytest.approx([0.5])
    assert decide_clusters(fuse_boxes(boxes), threshold=0.05).agreement == pytest.approx([1.0])


@pytest.mark.parametrize("threshold", [0.01, 0.5, 0.99])
def test_one_voter_agrees_with_itself(threshold):
    ran = [[0, 1, 0]]
    for boxes in ([], [Vote(0, 1, 0, 1.0, BOX)]):
        decisions = decide_clusters(fuse_boxes(boxes, ran=ran), ran=ran, threshold=threshold)
        assert decisions.agreement == pytest.approx([1.0])
        assert decisions.n_voters.tolist() == [1]


def test_no_voters_give_nan():
    ran = [[0, 0, 1]]
    decisions = decide_clusters(fuse_boxes([Vote(0, 2, 2, 0.9, BOX)], ran=ran), ran=ran)
    assert isnan(decisions.p[0])
    assert isnan(decisions.agreement[0])
    assert np.isnan(decisions.p_members).all()
    assert decisions.n_voters.tolist() == [0]


# --- against the slow reference ------------------------------------------------------------


@pytest.mark.parametrize("seed", range(300))
def test_fuse_and_decide_equal_the_slow_reference(seed):
    generator = np.random.default_rng(seed)
    ran = generator.random((3, 3)) < 0.85
    size_px = (int(generator.choice([60, 200, 800])), 400)
    boxes = [box for image in range(3) for box in random_image(generator, image, ran[image])]
    weights = generator.uniform(0.5, 2, 3)
    votes = votes_of(boxes, n_images=3, ran=ran)
    clusters = fuse_boxes(boxes, n_images=3, ran=ran, size_px=size_px, weights=weights)
    slow = [
        cluster
        for image in range(3)
        for cluster in slow_fuse(
            [s for s in boxes if s.image == image], ran[image], size_px, weights
        )
    ]
    assert clusters.image.tolist() == [cluster["image"] for cluster in slow]
    assert clusters.class_id.tolist() == [cluster["class_id"] for cluster in slow]
    assert clusters.votes.tolist() == [cluster["votes"] for cluster in slow]
    for name in ("boxes_xyxy", "p_members", "p_mean", "p_fused", "agreement", "class_votes"):
        expected = np.array([cluster[name] for cluster in slow])
        np.testing.assert_allclose(
            getattr(clusters, name), expected.reshape(getattr(clusters, name).shape)
        )
    decisions = decide_clusters(clusters, n_images=3, ran=votes.ran)
    for image in range(3):
        p_members, p, agreement = slow_decide(
            [cluster for cluster in slow if cluster["image"] == image], ran[image], weights
        )
        assert decisions.p_members[image] == pytest.approx(p_members, nan_ok=True)
        assert decisions.p[image] == pytest.approx(p, nan_ok=True)
        assert decisions.agreement[image] == pytest.approx(agreement, nan_ok=True)


def random_image(generator, image, ran):
    """Return jittered boxes around a few objects, with coarse probabilities for ties."""
    boxes = []
    for _ in range(int(generator.integers(0, 4))):
        low = generator.uniform(0, 0.6, 2)
        side = generator.uniform(0.05, 0.4, 2)
        for member in np.flatnonzero(ran):
            for _ in range(int(generator.integers(0, 4))):
                corner = np.clip(low + generator.normal(0, 0.15 * side), 0, 1)
                far = np.clip(corner + side * generator.uniform(0.7, 1.3, 2), 0, 1)
                allowed = np.flatnonzero(COMPETENT[member])
                boxes.append(
                    Vote(
                        image,
                        int(member),
                        int(generator.choice(allowed)),
                        float(generator.integers(0, 21) / 20),
                        (*corner, *far),
                    )
                )
    return boxes


def slow_fuse(boxes, ran, size_px, weights):
    """Return the clusters of one image, box by box."""
    ranked = sorted(
        (s for s in boxes if s.p >= FUSION.min_p), key=lambda s: (-s.p, s.member)
    )  # stable: equals keep their order
    unique = []
    for vote in ranked:
        duplicates = [
            k
            for k in unique
            if k.member == vote.member
            and k.class_id == vote.class_id
            and slow_iou(k.box, vote.box) > FUSION.nms_iou
        ]
        if not duplicates:
            unique.append(vote)
    seeds = []
    for vote in unique:
        if not any(slow_iou(s.box, vote.box) >= min_overlap(s, size_px) for s in seeds):
            seeds.append(vote)
    groups = [[] for _ in seeds]
    for vote in unique:
        if vote in seeds:
            index = seeds.index(vote)
        else:
            overlaps = [
                (slow_iou(s.box, vote.box), -i)
                for i, s in enumerate(seeds)
                if slow_iou(s.box, vote.box) >= min_overlap(s, size_px)
            ]
            index = -max(overlaps)[1]
        groups[index].append(vote)
    clusters = [slow_cluster(group, ran, weights) for group in groups]
    return sorted(clusters, key=lambda cluster: -cluster["p_fused"])


def slow_cluster(group, ran, weights):
    clip = lambda p: min(max(p, FUSION.epsilon), 1 - FUSION.epsilon)  # noqa: E731
    class_votes = [0.0] * len(CLASSES)
    presence = {}
    for vote in group:
        class_votes[vote.class_id] += weights[vote.member] * clip(vote.p)
        presence.setdefault(vote.member, vote)
    classes = {vote.class_id for vote in group}
    p_members = []
    for m in range(len(MEMBERS)):
        if m in presence:
            p_members.append(clip(presence[m].p))
        elif ran[m] and any(COMPETENT[m][c] for c in classes):
            p_members.append(clip(SILENCE[m]))
        else:
            p_members.append(nan)
    voters = [m for m in range(len(MEMBERS)) if not isnan(p_members[m])]
    total = sum(weights[m] for m in voters)
    mass = sum(weights[m] * clip(s.p) for m, s in presence.items())
    return {
        "image": group[0].image,
        "class_id": class_votes.index(max(class_votes)),
        "votes": len(presence),
        "boxes_xyxy": [
            sum(weights[m] * clip(s.p) * s.box[i] for m, s in presence.items()) / mass
            for i in range(4)
        ],
        "p_members": p_members,
        "p_mean": sum(weights[m] * p_members[m] for m in voters) / total,
        "p_fused": sigmoid(sum(weights[m] * logit(p_members[m]) for m in voters) / total),
        "agreement": sum(weights[m] for m in presence) / total,
        "class_votes": class_votes,
    }


def slow_decide(clusters, ran, weights):
    """Return the decision of one image, member by member; threshold 0.5."""
    p_members = []
    for m in range(len(MEMBERS)):
        is_competent = any(COMPETENT[m][c] and RELEVANCE[c] > 0 for c in range(len(CLASSES)))
        if not (ran[m] and is_competent):
            p_members.append(nan)
            continue
        p_all_no = 1.0
        for cluster in clusters:
            if not isnan(cluster["p_members"][m]):
                p_all_no *= 1 - RELEVANCE[cluster["class_id"]] * cluster["p_members"][m]
        p_members.append(1 - p_all_no)
    voters = [m for m in range(len(MEMBERS)) if not isnan(p_members[m])]
    if not voters:
        return p_members, nan, nan
    clipped = {m: min(max(p_members[m], 0.02), 0.98) for m in voters}
    total = sum(weights[m] for m in voters)
    p = sigmoid(sum(weights[m] * logit(clipped[m]) for m in voters) / total)
    same = sum(weights[m] for m in voters if (clipped[m] >= 0.5) == (p >= 0.5))
    return p_members, p, same / total


def min_overlap(seed, size_px):
    area = (seed.box[2] - seed.box[0]) * size_px[1] * (seed.box[3] - seed.box[1]) * size_px[0]
    return FUSION.small_iou if sqrt(max(area, 0.0)) < FUSION.small_px else FUSION.iou


def slow_iou(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    intersection = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection
    return intersection / union if union > 0 else 0.0


# --- scale -----------------------------------------------------------------------------------


def test_a_thousand_images_of_eight_members_take_seconds():
    generator = np.random.default_rng(0)
    n_images, n_members, n_boxes = 1000, 8, 20
    v = n_images * n_members * n_boxes
    low = generator.uniform(0, 0.8, (v, 2))
    votes = Votes(
        image=np.repeat(np.arange(n_images), n_members * n_boxes),
        member=np.tile(np.repeat(np.arange(n_members), n_boxes), n_images),
        class_id=generator.integers(0, 7, v),
        p=generator.random(v),
        boxes_xyxy=np.hstack([low, low + generator.uniform(0.02, 0.2, (v, 2))]),
        ran=np.ones((n_images, n_members), bool),
        members=tuple("abcdefgh"),
        classes=tuple("1234567"),
    )
    start = time.process_time()
    clusters = fuse(
        votes,
        competent=np.ones((n_members, 7), bool),
        weights=np.ones(n_members),
        silence=np.full(n_members, 0.02),
        sizes_px=np.full((n_images, 2), 720),
        fusion=FUSION,
    )
    decide(
        clusters,
        votes.ran,
        competent=np.ones((n_members, 7), bool),
        relevance=np.ones(7),
        threshold=0.5,
        epsilon=0.02,
    )
    assert time.process_time() - start < 15  # 0.8 s on an idle core
