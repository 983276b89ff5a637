"""Adjudication of doubtful samples by a scripted model."""

import json

import pytest

from cascade import manifest
from cascade.ensemble import Ensemble
from cascade.errors import ServerError
from cascade.models.language.reply_parser import Reply
from cascade.predictions import Answer
from curation.stages.adjudicate import adjudicate
from curation.stages.fuse import fuse
from curation.storage import schema


class Scripted:
    """A planner with the same reply to every case, and a vision model without an answer."""

    def __init__(self, p_yes):
        self.p_yes, self.replies = p_yes, 0

    async def reply(self, messages, schema):
        self.replies += 1
        if self.p_yes is None:
            raise ServerError("It is down.")
        verdict = {"op": "verdict", "p_yes": self.p_yes, "reason": "Seen from near."}
        return Reply(text=json.dumps({"do": [verdict]}))

    async def look(self, crop, question):
        return Answer.empty()


@pytest.fixture
def ensemble():
    text = """
        name: arguing
        taxonomy: roadwork_core
        members:
          - {name: tiny_center, tier: detection, adapter: center_point,
             source: "package:tiny_center", license: Apache-2.0}
        routing: {adjudicate: [0.01, 0.99]}
        """
    return Ensemble.from_manifest(manifest.parse(text))


@pytest.fixture
def view(predicted, ensemble):
    view = predicted.match({schema.SPLIT: "test"})
    fuse(view, ensemble)
    view.set_values(schema.PATH, ["precision"] * 6 + ["stop"] * 13)
    return view


def settle(view, ensemble, model):
    return adjudicate(view, ensemble, planner=model, vision_model=model)


def test_verdict_becomes_decision_and_keeps_trace(view, ensemble):
    done = settle(view, ensemble, Scripted(0.9))
    assert (done.doubtful, done.settled, done.fell_back) == (6, 6, 0)
    ruled = view.exists(schema.ADJUDICATION)
    assert len(ruled) == 6
    assert ruled.values("roadwork.confidence") == [0.9] * 6
    assert ruled.values("roadwork.label") == ["yes"] * 6
    assert ruled.values(schema.ANSWERED_BY) == ["consensus"] * 6
    assert ruled.values("adjudication.reason") == ["Seen from near."] * 6
    assert all(json.loads(trace) for trace in ruled.values("adjudication.trace"))


def test_settled_sample_is_asked_again_only_after_ensemble_changes(view, ensemble):
    model = Scripted(0.9)
    settle(view, ensemble, model)
    assert settle(view, ensemble, model).doubtful == 0
    assert model.replies == 6
    view.set_values("adjudication.fingerprint", ["another"] * 6 + [None] * 13)
    assert settle(view, ensemble, model).doubtful == 6


def test_unreachable_server_keeps_weighted_mean_and_is_retried(view, ensemble):
    before = view.values("roadwork.confidence")
    done = settle(view, ensemble, Scripted(None))
    assert (done.settled, done.fell_back) == (0, 6)
    assert view.values("roadwork.confidence") == before
    assert view.exists(schema.ADJUDICATION).values("adjudication.label") == ["fell back"] * 6
    assert set(view.values(schema.ANSWERED_BY)) == {"detection"}
    assert settle(view, ensemble, Scripted(0.2)).settled == 6


def test_manifest_without_adjudicator_leaves_doubt(view, ensemble):
    done = adjudicate(view, ensemble)
    assert (done.doubtful, done.settled, done.fell_back) == (6, 0, 0)
    assert view.get_field(schema.ADJUDICATION) is None
