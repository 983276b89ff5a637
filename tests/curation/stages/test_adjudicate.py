"""What stays in doubt is settled by a model that may look, and otherwise stands as it was."""

import json

import pytest

from cascade import manifest
from cascade.ensemble import Ensemble
from cascade.errors import ServerError
from cascade.models.language.reply_parser import Reply
from cascade.predictions import Answer
from curation.stages.adjudicate import adjudicate
from curation.stages.fuse import fuse
from curation.storage import schema as fields


class Scripted:
    """A root that gives the same reply to every case, and an eye that sees nothing."""

    def __init__(self, p_yes):
        self.p_yes, self.asked = p_yes, 0

    async def reply(self, messages, schema):
        self.asked += 1
        if self.p_yes is None:
            raise ServerError("It is down.")
        ruling = {"op": "verdict", "p_yes": self.p_yes, "reason": "Seen from near."}
        return Reply(text=json.dumps({"do": [ruling]}))

    async def look(self, crop, question):
        return Answer.empty()


@pytest.fixture
def ensemble():
    text = """
        name: arguing
        taxonomy: roadwork_core
        members:
          - {name: tiny_center, tier: detection, adapter: center_point,
             source: "package:tiny_center", licence: Apache-2.0}
        routing: {adjudicate: [0.01, 0.99]}
        """
    return Ensemble.from_manifest(manifest.parse(text))


@pytest.fixture
def some(predicted, ensemble):
    view = predicted.match({fields.SPLIT: "test"})
    fuse(view, ensemble)
    view.set_values(fields.PATH, ["precision"] * 6 + ["stop"] * 13)
    return view


def settle(view, ensemble, model):
    return adjudicate(view, ensemble, root=model, eye=model)


def test_a_verdict_becomes_the_decision_and_its_trace_is_kept(some, ensemble):
    done = settle(some, ensemble, Scripted(0.9))
    assert (done.doubtful, done.settled, done.fell_back) == (6, 6, 0)
    ruled = some.exists(fields.ADJUDICATION)
    assert len(ruled) == 6
    assert ruled.values("roadwork.confidence") == [0.9] * 6
    assert ruled.values("roadwork.label") == ["yes"] * 6
    assert ruled.values(fields.ANSWERED_BY) == ["consensus"] * 6
    assert ruled.values("adjudication.reason") == ["Seen from near."] * 6
    assert all(json.loads(one) for one in ruled.values("adjudication.trace"))


def test_settled_once_nobody_is_asked_again_until_the_ensemble_changes(some, ensemble):
    model = Scripted(0.9)
    settle(some, ensemble, model)
    assert settle(some, ensemble, model).doubtful == 0
    assert model.asked == 6
    some.set_values("adjudication.fingerprint", ["another"] * 6 + [None] * 13)
    assert settle(some, ensemble, model).doubtful == 6


def test_a_server_that_is_down_leaves_the_weighted_mean_and_is_asked_again(some, ensemble):
    before = some.values("roadwork.confidence")
    done = settle(some, ensemble, Scripted(None))
    assert (done.settled, done.fell_back) == (0, 6)
    assert some.values("roadwork.confidence") == before
    assert some.exists(fields.ADJUDICATION).values("adjudication.label") == ["fell back"] * 6
    assert set(some.values(fields.ANSWERED_BY)) == {"detection"}
    assert settle(some, ensemble, Scripted(0.2)).settled == 6


def test_without_an_adjudicator_in_the_manifest_doubt_remains(some, ensemble):
    done = adjudicate(some, ensemble)
    assert (done.doubtful, done.settled, done.fell_back) == (6, 0, 0)
    assert some.get_field(fields.ADJUDICATION) is None
