"""Contradictions between a language model and the other tiers."""

import numpy as np
import pytest

from cascade import taxonomy
from cascade.fusion import contradictions
from cascade.fusion.consensus import Decisions
from cascade.predictions import Answer

CLASSES = taxonomy.parse(
    """
    name: street
    decision: {name: works, question: 'Is there road work?'}
    classes:
      - {name: cone, decides: true, synonyms: [traffic cone]}
      - {name: drum, decides: true}
      - {name: car}
    """
)


def contradiction(answer, *, detected=(0, 0, 0), masked=(), knowable=(1, 1, 1), p=0.5, agreement=1):
    decisions = Decisions(
        p_members=np.array([[p]]),
        p=np.array([p]),
        agreement=np.array([agreement]),
        n_voters=np.array([1]),
    )
    (description,) = contradictions.contradictions(
        [answer],
        np.array([detected], float),
        np.array([[name in masked for name in CLASSES.names]]),
        np.array(knowable, bool),
        decisions,
        CLASSES,
    )
    return description


YES = Answer(p_yes=0.9, objects=("traffic cone",))


def test_unsupported_claim_is_named_by_its_class():
    assert contradiction(YES) == "claims cone, which no detector and no mask supports"


@pytest.mark.parametrize(
    "support",
    [
        pytest.param({"detected": (0.3, 0, 0)}, id="box of the class"),
        pytest.param({"masked": ("cone",)}, id="mask of the class"),
        pytest.param({"knowable": (0, 1, 1)}, id="no competent member"),
    ],
)
def test_supported_claim_is_no_contradiction(support):
    assert contradiction(YES, **support) is None


def test_box_of_another_class_does_not_support_a_claim():
    assert "claims cone" in contradiction(YES, detected=(0, 0.9, 0))


def test_claims_of_other_classes_are_ignored():
    assert contradiction(Answer(p_yes=0.9, objects=("car", "unicorn"))) is None


def test_yes_without_detections():
    assert contradiction(Answer(p_yes=0.9), p=0.05) == (
        "says yes, where the detectors see nothing (p 0.05)"
    )


def test_no_against_agreeing_detectors():
    denial = Answer(p_yes=0.1)
    assert "says no, where the detectors agree on yes" in contradiction(denial, p=0.97)
    assert contradiction(denial, p=0.97, agreement=0.5) is None
    assert contradiction(denial, p=0.8) is None


@pytest.mark.parametrize("answer", [None, Answer.empty()])
def test_missing_answer_is_no_contradiction(answer):
    assert contradiction(answer, p=0.99) is None
