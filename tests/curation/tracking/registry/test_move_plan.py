import json
from itertools import pairwise

import pytest

from curation.errors import PublishError
from curation.tracking.registry.move_plan import Move, Signature, promotion, rollback

ADA = Signature("Ada", "why not", "2026-01-01T00:00:00+00:00")


def chain(*versions, withdrawn=()):
    """Return the tags of versions of which each replaced the one before."""
    tags = {version: {"replaced": before} for before, version in pairwise(versions)}
    tags[versions[0]] = {}
    for version in withdrawn:
        tags[version]["withdrawn"] = "true"
    return tags


def test_first_promotion_replaces_no_version():
    move = promotion("1", aliases={}, verdict="bootstrap", signature=ADA)
    assert move.aliases == (("champion", "1"),)
    assert ("1", "verdict", "bootstrap") in move.tags
    assert not [tag for tag in move.tags if tag[1] == "replaced"]


def test_previous_moves_before_champion_and_challenger_goes_last():
    aliases = {"champion": "1", "challenger": "2"}
    move = promotion("2", aliases=aliases, verdict="promote", signature=ADA)
    assert move.aliases == (("previous", "1"), ("champion", "2"), ("challenger", None))


# fmt: off
BACK = [
    pytest.param(chain("1", "2", "3"), "3", "2", "1", id="one back"),
    pytest.param(chain("1", "2", "3", withdrawn=["2"]), "3", "1", None, id="past a withdrawn one"),
    pytest.param(
        {"1": {"replaced": "3"}, "2": {"replaced": "1"}, "3": {"replaced": "2"}},
        "1", "3", "2", id="to one that came back",
    ),
]
# fmt: on


@pytest.mark.parametrize(("tags", "champion", "after", "previous"), BACK)
def test_rollback_restores_predecessor(tags, champion, after, previous):
    move = rollback(aliases={"champion": champion}, tags=tags, name="demo", signature=ADA)
    assert move.aliases == (("champion", after), ("previous", previous))
    assert (move.before, move.after) == (champion, after)
    assert (champion, "withdrawn", "true") in move.tags


def test_cycle_of_withdrawn_versions_is_refused():
    tags = {"1": {"replaced": "2"}, "2": {"replaced": "1", "withdrawn": "true"}}
    with pytest.raises(PublishError, match="none can be restored"):
        rollback(aliases={"champion": "1"}, tags=tags, name="demo", signature=ADA)


def test_rollback_past_withdrawn_versions_only_is_refused():
    tags = chain("1", "2", withdrawn=["1"])
    with pytest.raises(PublishError, match="none can be restored"):
        rollback(aliases={"champion": "2"}, tags=tags, name="demo", signature=ADA)


def test_move_dict_round_trip():
    move = promotion("2", aliases={"champion": "1"}, verdict="promote", signature=ADA)
    assert Move.from_dict(json.loads(json.dumps(move.to_dict()))) == move
