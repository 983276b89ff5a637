"""Two schedulers on one database, killed at random: each night and each sample occurs once."""

import json
import random
import subprocess
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from curation.storage.database import mongod

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcome(database, tmp_path_factory):
    """Return the state after 50 kills."""
    folder, seed = tmp_path_factory.mktemp("schedulers"), random.randrange(10**6)
    script = Path(__file__).with_name("schedulers.py")
    process = subprocess.run(
        [sys.executable, script, folder, database, str(seed)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert process.returncode == 0, f"seed {seed}\n{process.stderr}"
    with mongod.open_client(database) as client:
        client.drop_database("faults")
    return json.loads(process.stdout.splitlines()[-1])


def test_every_night_has_a_run_or_reason(outcome):
    dues = [run["due"] for run in outcome["runs"]]
    assert dues == [outcome["created"] + i for i in range(1, len(dues) + 1)]
    ended = [run for run in outcome["runs"] if run["state"] not in ("due", "running", "waiting")]
    assert len(ended) >= len(dues) - 3  # the last ones may still be open
    assert all(run["reason"] for run in ended)
    assert Counter(run["state"] for run in ended).keys() <= {"done", "failed"}


def test_kills_interrupt_work(outcome):
    """Without interruptions, the other tests would show nothing."""
    crashes = [text for run in outcome["runs"] for text in run["attempts"] if "crash" in text]
    assert len(crashes) >= 5  # about 14 of 50


def test_sample_is_pushed_once(outcome):
    pushed = Counter(chain.from_iterable(outcome["rows"].values()))
    assert max(pushed.values()) == 1
    new = Counter(dict.fromkeys(outcome["rows"], 0))
    for push in outcome["pushes"]:
        new[f"round-{push['round']:02d}"] += push["pushed"]
    assert max(new.values()) <= 3  # new tasks in the labeler over all attempts


def test_finished_night_has_its_batch(outcome):
    done = [run for run in outcome["runs"] if run["state"] == "done"]
    assert len(done) >= 20
    assert len({run["round"] for run in done}) == len(done)
    for run in done:
        assert sorted(outcome["rows"][f"round-{run['round']:02d}"]) == run["chosen"]
        assert len(run["chosen"]) == 3


def test_kills_complete_in_time(outcome):
    assert outcome["seconds"] < 90  # 40 on a quiet machine
