"""Two schedulers on one database, killed without warning: each night once, each sample once."""

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
def seen(database, tmp_path_factory):
    """Return what 50 kills left behind."""
    folder, seed = tmp_path_factory.mktemp("schedulers"), random.randrange(10**6)
    script = Path(__file__).with_name("schedulers.py")
    done = subprocess.run(
        [sys.executable, script, folder, database, str(seed)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, f"seed {seed}\n{done.stderr}"
    with mongod.open_client(database) as client:
        client.drop_database("faults")
    return json.loads(done.stdout.splitlines()[-1])


def test_every_night_has_a_run_or_a_reason(seen):
    dues = [run["due"] for run in seen["runs"]]
    assert dues == [seen["created"] + i for i in range(1, len(dues) + 1)]
    ended = [run for run in seen["runs"] if run["state"] not in ("due", "running", "waiting")]
    assert len(ended) >= len(dues) - 3  # the last ones, at the moment that we looked
    assert all(run["reason"] for run in ended)
    assert Counter(run["state"] for run in ended).keys() <= {"done", "failed"}


def test_the_kills_fell_into_the_work(seen):
    """Else this would show nothing."""
    crashes = [one for run in seen["runs"] for one in run["attempts"] if "crash" in one]
    assert len(crashes) >= 5  # about 14 of 50


def test_no_sample_is_pushed_twice(seen):
    pushed = Counter(chain.from_iterable(seen["rows"].values()))
    assert max(pushed.values()) == 1
    new = Counter(dict.fromkeys(seen["rows"], 0))
    for push in seen["pushes"]:
        new[f"round-{push['round']:02d}"] += push["pushed"]
    assert max(new.values()) <= 3  # what the labeler took as new, over all attempts


def test_every_night_that_is_done_pushed_its_own_batch(seen):
    done = [run for run in seen["runs"] if run["state"] == "done"]
    assert len(done) >= 20
    assert len({run["round"] for run in done}) == len(done)
    for run in done:
        assert sorted(seen["rows"][f"round-{run['round']:02d}"]) == run["chosen"]
        assert len(run["chosen"]) == 3


def test_it_takes_less_than_a_minute(seen):
    assert seen["seconds"] < 90  # 40 on a quiet machine
