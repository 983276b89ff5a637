"""How long a rollback takes: the alias move in a warm process, and the command from cold.

Run by hand, on a machine that does nothing else: `pytest -s tests/benchmarks/test_rollback.py`.
"""

import os
import shutil
import statistics
import sys
import time

import pytest

from curation.storage.database import mongod
from curation.tracking import Registry
from curation.tracking.registry.promotion import Promotions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "CURATION_BENCHMARKS" not in os.environ,
        reason="CURATION_BENCHMARKS is not set: what it measures needs a quiet machine.",
    ),
]

WARM_S, COLD_S = 1.0, 15.0
TIMES = 5


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "mlflow.db"
    assert Registry(f"sqlite:///{path}", tmp_path).versions("demo") == []
    return path


def register(registry, tmp_path, how_many):
    for i in range(how_many):
        folder = tmp_path / f"ensemble-{i}"
        for member in range(26):
            (folder / "members" / f"m{member}").mkdir(parents=True)
            (folder / "members" / f"m{member}" / "weights").write_bytes(os.urandom(1000))
        registry.register(folder, name="demo", identity=f"{i}")


def test_warm(store, database, tmp_path, capsys):
    registry = Registry(f"sqlite:///{store}", tmp_path / "mlartifacts")
    register(registry, tmp_path, 2)
    taken = []
    with mongod.open_client(database) as client:
        moving = Promotions(registry, client.benchmark)
        moving.promote("demo", "1", by="Ada", why="first")
        for _ in range(TIMES):
            moving.promote("demo", "2", by="Ada", why="again")
            began = time.monotonic()
            assert moving.rollback("demo", by="Ada", why="measured").changed
            taken.append(time.monotonic() - began)
        client.drop_database("benchmark")
    with capsys.disabled():
        sys.stdout.write(
            f"\nrollback, warm, 26 members: {statistics.median(taken):.2f} s (median)\n"
        )
    assert statistics.median(taken) <= WARM_S


def test_cold(home, store, tmp_path, capsys):
    home.folder.mkdir()
    shutil.copy(store, home.folder)
    register(Registry.from_settings(home.settings), tmp_path, 2)
    for version in (1, 2):
        home.curate("promote", "demo", version, "--by", "A", "--why", "b", "--against-the-gate")
    home.stop_database()
    began = time.monotonic()
    home.curate("rollback", "demo", "--of", 2)
    taken = time.monotonic() - began
    with capsys.disabled():
        sys.stdout.write(f"\n`curate rollback`, cold, the database not running: {taken:.1f} s\n")
    assert taken <= COLD_S
