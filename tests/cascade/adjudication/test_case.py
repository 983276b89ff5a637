"""One image in doubt, and how it is made from the consensus."""

import numpy as np
import pytest
from adjudication_cases import CAR, CONE, DRUM, LEFT, RIGHT, TAXONOMY, case, found

from cascade.adjudication.case import of_consensus
from cascade.errors import BadPredictionsError
from cascade.fusion import consensus
from cascade.fusion.votes import Votes
from cascade.geometry.sizes import Sizes
from cascade.manifest import Fusion
from cascade.predictions import Answer

COMPETENT = np.array([[True, True, True], [False, False, True]])


@pytest.fixture
def fused():
    """Two images: nothing in the first, a cone and a car in the second; `coco` failed there."""
    votes = Votes.collect(
        {
            "yolo": [found(), found((LEFT, 0.7, CONE), (RIGHT, 0.6, CAR))],
            "coco": [found(classes=("car",)), None],
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


def of(row, fused, **further):
    return of_consensus(
        row, id="x", image=None, taxonomy=TAXONOMY, competent=COMPETENT, **fused, **further
    )


def test_a_case_has_what_was_said_about_its_image(fused):
    made = of(1, fused)
    assert made.objects.labels == ["cone", "car"]
    assert made.objects.scores == pytest.approx([0.7, 0.6])
    assert made.objects.boxes_xyxy[0] == pytest.approx(LEFT)
    assert made.p == pytest.approx(0.63)
    assert made.agreement == 1.0
    assert list(made.detections) == ["yolo"]  # the other did not run
    assert made.detections["yolo"].labels == ["cone", "car"]


def test_a_member_that_ran_and_found_nothing_is_there_with_what_it_can_name(fused):
    made = of(0, fused)
    assert made.detections["yolo"].classes == ("cone", "drum", "car")
    assert made.detections["coco"].classes == ("car",)
    assert len(made.detections["coco"]) == len(made.objects) == 0


def test_what_deeper_tiers_said_goes_along(fused):
    yes = Answer(p_yes=0.9)
    sizes = Sizes(*np.array([[5.0, 9.0], [1, 2], [1, 2], [0.2, 0.2]]), np.array([True, False]))
    masked = np.zeros((2, 3), bool)
    masked[1, DRUM] = True
    made = of(1, fused, sizes=sizes, masked=masked, answers={"a": [None, yes], "b": [yes, None]})
    assert made.sizes.distance_m.tolist() == [5.0, 9.0]
    assert made.masked == ("drum",)
    assert made.answers == {"a": yes}
    assert len(of(0, fused, sizes=sizes).sizes.distance_m) == 0


def test_what_a_member_names_it_can_name(fused):
    """A box keeps its class, whatever the table of vocabularies says."""
    made = of_consensus(
        1, id="x", image=None, taxonomy=TAXONOMY, competent=np.zeros((2, 3), bool), **fused
    )
    assert made.detections["yolo"].labels == ["cone", "car"]
    assert made.detections["yolo"].classes == ("cone", "car")


def test_where_nobody_votes_the_case_says_so(fused):
    nobody = consensus.pooled(np.full((2, 1), np.nan), np.ones(1), threshold=0.5, epsilon=0.02)
    made = of(0, {**fused, "decisions": nobody})
    assert (made.p, made.agreement) == (None, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"p": float("nan")}, "p must lie in", id="a NaN"),
        pytest.param({"agreement": 1.1}, "agreement must lie in", id="too much agreement"),
        pytest.param({"objects": found()}, "of the 0 objects, got 2", id="sizes of others"),
    ],
)
def test_what_does_not_fit_together_is_refused(given, message):
    with pytest.raises(BadPredictionsError, match=message):
        case(**given)
