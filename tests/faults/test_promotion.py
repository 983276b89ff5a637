"""Promotion and rollback, killed after each step; and two concurrent promotions.

A process with all imports but no connection forks a child for each step, because starting Python
for each would take minutes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from curation.storage.database import mongod
from curation.tracking import Registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # for a busy machine

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
    """Outcomes in three separate registries, which run concurrently to save time."""
    running = {}
    for mode in ("promote", "rollback", "race"):
        folder = tmp_path_factory.mktemp(mode)
        (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
        running[mode] = subprocess.Popen(
            [sys.executable, SCRIPT, mode, folder, database],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    results = {}
    for mode, process in running.items():
        out, err = process.communicate()
        assert process.returncode == 0, err
        results[mode] = json.loads(out.splitlines()[-1])
    yield results
    with mongod.open_client(database) as client:
        for name in client.list_database_names():
            if name.partition("-")[0] in running:
                client.drop_database(name)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """Return a file with MLflow's tables, whose creation takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    assert Registry(f"sqlite:///{path}", path.parent).versions("demo") == []
    return path


def test_process_is_killed_after_every_step(outcomes):
    assert [outcome["step"] for outcome in outcomes["promote"]] == PROMOTE
    assert [outcome["step"] for outcome in outcomes["rollback"]] == ROLLBACK
    assert {
        outcome["signal"] for verb in ("promote", "rollback") for outcome in outcomes[verb]
    } == {9}


@pytest.mark.parametrize(("verb", "old", "new"), [("promote", "2", "3"), ("rollback", "3", "2")])
def test_champion_is_loadable_after_every_step(outcomes, verb, old, new):
    states = [outcome["between"] for outcome in outcomes[verb]]
    steps = [outcome["step"] for outcome in outcomes[verb]]
    moved = steps.index("alias champion")
    assert [state["champion"] for state in states] == [old] * moved + [new] * (len(steps) - moved)
    assert all(state["loaded"] for state in states)


@pytest.mark.parametrize(
    ("verb", "aliases", "moves"),
    [
        ("promote", {"champion": "3", "previous": "2"}, 3),
        ("rollback", {"champion": "2", "previous": "1"}, 4),
    ],
)
def test_repetition_completes_interrupted_move_once(outcomes, verb, aliases, moves):
    for outcome in outcomes[verb]:
        assert outcome["after"] == aliases, outcome["step"]
        assert outcome["repeated"] == aliases, outcome["step"]
        assert outcome["moves"] == moves, "the audit trail has each move once"
        assert outcome["waited_s"] < 8, "a dead process holds no lease"


def test_one_of_two_concurrent_promotions_wins_and_the_other_names_it(outcomes):
    attempts = outcomes["race"]["attempts"]
    (winner,) = [attempt for attempt in attempts if attempt["won"]]
    (loser,) = [attempt for attempt in attempts if not attempt["won"]]
    assert outcomes["race"]["champion"] == winner["version"]
    assert loser["message"].startswith(f"{winner['name']} holds the lease")
