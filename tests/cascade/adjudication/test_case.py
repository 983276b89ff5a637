"""Cases, and their construction from the consensus."""

import numpy as np
import pytest
from adjudication_cases import CAR, CONE, DRUM, LEFT, RIGHT, TAXONOMY, case, detections

from cascade.adjudication.case import case_from_consensus
from cascade.errors import BadPredictionsError
from cascade.fusion import consensus
from cascade.fusion.votes import Votes
from cascade.geometry.sizes import Sizes
from cascade.manifest import Fusion
from cascade.predictions import Answer

COMPETENT = np.array([[True, True, True], [False, False, True]])


@pytest.fixture
def fused():
    """Two images: nothing in the first, a cone and a car in the second, on which `coco` failed."""
    votes = Votes.collect(
        {
            "yolo": [detections(), detections((LEFT, 0.7, CONE), (RIGHT, 0.6, CAR))],
            "coco": [detections(classes=("car",)), None],
        },
        TAXONOMY.names,
    )
    clusters = consensus.fuse(
        votes,
        competent=COMPETENT,
        weights=np.ones(2),
        silence=np.full(2, 0.02),
        sizes_px=np.full((2, 2), 1000),
        fusion=Fusion(),
    )
    decisions = consensus.decide(
        clusters,
        votes.ran,
        competent=COMPETENT,
        relevance=np.array([0.9, 0.9, 0.0]),
        threshold=0.5,
        epsilon=0.02,
    )
    return {"votes": votes, "clusters": clusters, "decisions": decisions}


def case_of(row, fused, **options):
    return case_from_consensus(
        row, id="x", image=None, taxonomy=TAXONOMY, competent=COMPETENT, **fused, **options
    )


def test_case_holds_outputs_for_its_image(fused):
    result = case_of(1, fused)
    assert result.objects.labels == ["cone", "car"]
    assert result.objects.scores == pytest.approx([0.7, 0.6])
    assert result.objects.boxes_xyxy[0] == pytest.approx(LEFT)
    assert result.p == pytest.approx(0.63)
    assert result.agreement == 1.0
    assert list(result.detections) == ["yolo"]  # the other did not run
    assert result.detections["yolo"].labels == ["cone", "car"]


def test_member_without_boxes_keeps_its_vocabulary(fused):
    result = case_of(0, fused)
    assert result.detections["yolo"].classes == ("cone", "drum", "car")
    assert result.detections["coco"].classes == ("car",)
    assert len(result.detections["coco"]) == len(result.objects) == 0


def test_case_holds_outputs_of_deep_tiers(fused):
    yes = Answer(p_yes=0.9)
    sizes = Sizes(*np.array([[5.0, 9.0], [1, 2], [1, 2], [0.2, 0.2]]), np.array([True, False]))
    masked = np.zeros((2, 3), bool)
    masked[1, DRUM] = True
    result = case_of(
        1, fused, sizes=sizes, masked=masked, answers={"a": [None, yes], "b": [yes, None]}
    )
    assert result.sizes.distance_m.tolist() == [5.0, 9.0]
    assert result.masked == ("drum",)
    assert result.answers == {"a": yes}
    assert len(case_of(0, fused, sizes=sizes).sizes.distance_m) == 0


def test_vocabulary_includes_predicted_classes(fused):
    """A box keeps its class even if the competence table omits it."""
    result = case_from_consensus(
        1, id="x", image=None, taxonomy=TAXONOMY, competent=np.zeros((2, 3), bool), **fused
    )
    assert result.detections["yolo"].labels == ["cone", "car"]
    assert result.detections["yolo"].classes == ("cone", "car")


def test_case_without_votes_has_no_probability(fused):
    no_votes = consensus.opinion_pool(
        np.full((2, 1), np.nan), np.ones(1), threshold=0.5, epsilon=0.02
    )
    result = case_of(0, {**fused, "decisions": no_votes})
    assert (result.p, result.agreement) == (None, None)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param({"p": float("nan")}, "p must be in", id="a NaN"),
        pytest.param({"agreement": 1.1}, "agreement must be in", id="too much agreement"),
        pytest.param(
            {"objects": detections()}, "match the 0 objects, got 2", id="other number of sizes"
        ),
    ],
)
def test_inconsistent_case_is_rejected(overrides, message):
    with pytest.raises(BadPredictionsError, match=message):
        case(**overrides)
