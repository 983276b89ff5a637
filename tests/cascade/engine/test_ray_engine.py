"""Two actors of Ray on this machine's cores store what one process stores."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import folder_sink
import pytest
import torch
from folder_sink import FolderSink, opened, plain
from pictures import drawn

from cascade import manifest
from cascade.engine import ray_engine
from cascade.engine.multiprocess import Job
from cascade.engine.ray_engine import ClusterError
from cascade.engine.run import Memory, run
from cascade.ensemble import Ensemble
from cascade.errors import MissingExtraError

CPU = torch.device("cpu")
NAMES = [f"{i:02d}" for i in range(12)]


MANIFEST = """
name: one
members:
  - {name: center, tier: detection, adapter: center_point, batch_size: 2,
     source: "package:tiny_center", licence: Apache-2.0}
"""


@pytest.fixture(scope="module")
def ensemble():
    return Ensemble.from_manifest(manifest.parse(MANIFEST))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    made = [folder / f"{name}.png" for name in NAMES]
    for path, one in zip(made, drawn([(48, 64)] * len(NAMES)), strict=True):
        cv2.imwrite(str(path), one)
    made[5].write_bytes(b"no image")
    return made


def job(ensemble, folder):
    members = {"center": ensemble.manifest.member("center")}
    return Job(ensemble.build, members, partial(opened, folder), threads=1)


@pytest.mark.slow
def test_two_actors_store_what_one_process_stores(ensemble, paths, tmp_path):
    pytest.importorskip("ray", reason="needs the extra `ray`")
    memory, threads = Memory(), torch.get_num_threads()
    torch.set_num_threads(1)
    one = job(ensemble, tmp_path)
    run({"center": ensemble.build("center", CPU)}, one.members, NAMES, paths, memory, device=CPU)
    torch.set_num_threads(threads)
    given = {
        "manifest": MANIFEST, "ids": NAMES, "paths": [str(path) for path in paths],
        "todo": {"center": NAMES[3:]}, "folder": str(tmp_path / "out"),
    }  # fmt: skip
    (tmp_path / "out").mkdir()
    (tmp_path / "job.json").write_text(json.dumps(given))
    script = Path(folder_sink.__file__).with_name("ray_run.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path / "job.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.strip().splitlines()[-1])
    expected = {i: {"center": plain(row["center"])} for i, row in memory.results.items()}
    for done_before in NAMES[:3]:
        del expected[done_before]
    sink = FolderSink(tmp_path / "out")
    assert sink.read() == expected
    assert len(sink.writers()) == 2, "both actors worked"
    counted = said["tally"]
    assert (counted["images"], counted["predicted"], counted["failed"]) == (9, 8, 1)
    assert said["told"][-1] == [10, 12], "the first batch had nothing to do"


def test_nothing_to_do_asks_no_cluster(ensemble, tmp_path):
    done = ray_engine.run(
        job(ensemble, tmp_path), ["a"], ["a.png"], todo={"center": set()}, address="nowhere:1"
    )
    assert done.images == 0


def test_without_ray_the_extra_is_named(ensemble, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match="ray"):
        ray_engine.run(job(ensemble, tmp_path), ["a"], ["a.png"])


def test_an_address_where_nobody_answers_is_an_error(ensemble, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="needs the extra `ray`")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def refuse(**how):
        raise ConnectionError(f"Failed to connect to {how['address']}")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ClusterError, match="There is no Ray cluster at nowhere:1: Failed"):
        ray_engine.run(job(ensemble, tmp_path), ["a"], ["a.png"], address="nowhere:1")
