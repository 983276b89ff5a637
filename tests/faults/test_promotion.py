"""Promotion and rollback, killed after each of their steps; and two promotions at once.

A process that has imported all and connected to nothing forks a child for each step: to start
python for each would take minutes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from curation.storage.database import mongod
from curation.tracking import Registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # on a machine busy with others

SCRIPT = Path(__file__).with_name("promotions.py")

PROMOTE = [
    "leased", "recorded", "tag audit", "tag verdict", "tag withdrawn", "tag promoted_by",
    "tag promoted_at", "tag promoted_why", "tag replaced", "alias previous", "alias champion",
    "alias challenger", "ended", "leaving", "released",
]  # fmt: skip
ROLLBACK = [
    "leased", "recorded", "tag audit", "tag withdrawn", "tag withdrawn_by", "tag withdrawn_at",
    "tag withdrawn_why", "alias champion", "alias previous", "ended", "leaving", "released",
]  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, database, empty_store):
    """What was seen in three registries of their own, side by side to save time."""
    running = {}
    for what in ("promote", "rollback", "race"):
        folder = tmp_path_factory.mktemp(what)
        (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
        running[what] = subprocess.Popen(
            [sys.executable, SCRIPT, what, folder, database],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    found = {}
    for what, one in running.items():
        out, err = one.communicate()
        assert one.returncode == 0, err
        found[what] = json.loads(out.splitlines()[-1])
    yield found
    with mongod.open_client(database) as client:
        for name in client.list_database_names():
            if name.partition("-")[0] in running:
                client.drop_database(name)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """Return a file with MLflow's tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    assert Registry(f"sqlite:///{path}", path.parent).versions("demo") == []
    return path


def test_the_process_was_killed_after_every_step(outcomes):
    assert [one["step"] for one in outcomes["promote"]] == PROMOTE
    assert [one["step"] for one in outcomes["rollback"]] == ROLLBACK
    assert {one["signal"] for verb in ("promote", "rollback") for one in outcomes[verb]} == {9}


@pytest.mark.parametrize(("verb", "old", "new"), [("promote", "2", "3"), ("rollback", "3", "2")])
def test_the_champion_is_whole_at_any_moment(outcomes, verb, old, new):
    found = [one["between"] for one in outcomes[verb]]
    steps = [one["step"] for one in outcomes[verb]]
    moved = steps.index("alias champion")
    assert [one["champion"] for one in found] == [old] * moved + [new] * (len(steps) - moved)
    assert all(one["loaded"] for one in found)


@pytest.mark.parametrize(
    ("verb", "aliases", "moves"),
    [
        ("promote", {"champion": "3", "previous": "2"}, 3),
        ("rollback", {"champion": "2", "previous": "1"}, 4),
    ],
)
def test_repeating_finishes_it_and_goes_no_further(outcomes, verb, aliases, moves):
    for one in outcomes[verb]:
        assert one["after"] == aliases, one["step"]
        assert one["once_more"] == aliases, one["step"]
        assert one["moves"] == moves, "the audit trail has each move once"
        assert one["waited_s"] < 8, "the dead hold nothing"


def test_of_two_promotions_at_once_one_wins_and_the_other_says_why_not(outcomes):
    (won,) = [one for one in outcomes["race"]["both"] if one["won"]]
    (lost,) = [one for one in outcomes["race"]["both"] if not one["won"]]
    assert outcomes["race"]["champion"] == won["version"]
    assert lost["said"].startswith(f"{won['who']} holds the lease")
