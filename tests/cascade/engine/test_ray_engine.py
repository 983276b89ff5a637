"""Two Ray actors on the cores of this machine store what one process stores."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import folder_sink
import pytest
import torch
from folder_sink import FolderSink, open_sink, plain
from pictures import drawn

from cascade import manifest
from cascade.engine import ray_engine
from cascade.engine.ray_engine import ClusterError
from cascade.engine.run import run
from cascade.engine.sinks import MemorySink
from cascade.engine.worker_process import Job
from cascade.ensemble import Ensemble
from cascade.errors import MissingExtraError

CPU = torch.device("cpu")
NAMES = [f"{i:02d}" for i in range(12)]


MANIFEST = """
name: one
members:
  - {name: center, tier: detection, adapter: center_point, batch_size: 2,
     source: "package:tiny_center", license: Apache-2.0}
"""


@pytest.fixture(scope="module")
def ensemble():
    return Ensemble.from_manifest(manifest.parse(MANIFEST))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{name}.png" for name in NAMES]
    for path, image in zip(paths, drawn([(48, 64)] * len(NAMES)), strict=True):
        cv2.imwrite(str(path), image)
    paths[5].write_bytes(b"no image")
    return paths


def job(ensemble, folder):
    members = {"center": ensemble.manifest.member("center")}
    return Job(ensemble.build, members, partial(open_sink, folder), threads=1)


@pytest.mark.slow
def test_two_actors_store_what_one_process_stores(ensemble, paths, tmp_path):
    pytest.importorskip("ray", reason="needs the extra `ray`")
    memory, threads = MemorySink(), torch.get_num_threads()
    torch.set_num_threads(1)
    members = job(ensemble, tmp_path).members
    run({"center": ensemble.build("center", CPU)}, members, NAMES, paths, memory, device=CPU)
    torch.set_num_threads(threads)
    options = {
        "manifest": MANIFEST, "ids": NAMES, "paths": [str(path) for path in paths],
        "todo": {"center": NAMES[3:]}, "folder": str(tmp_path / "out"),
    }  # fmt: skip
    (tmp_path / "out").mkdir()
    (tmp_path / "job.json").write_text(json.dumps(options))
    script = Path(folder_sink.__file__).with_name("ray_run.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path / "job.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout.strip().splitlines()[-1])
    expected = {i: {"center": plain(row["center"])} for i, row in memory.results.items()}
    for finished in NAMES[:3]:
        del expected[finished]
    sink = FolderSink(tmp_path / "out")
    assert sink.read() == expected
    assert len(sink.writers()) == 2, "both actors worked"
    tally = output["tally"]
    assert (tally["images"], tally["predicted"], tally["failed"]) == (9, 8, 1)
    assert output["progress"][-1] == [10, 12], "the first batch had nothing to do"


def test_run_without_work_needs_no_cluster(ensemble, tmp_path):
    done = ray_engine.run(
        job(ensemble, tmp_path), ["a"], ["a.png"], todo={"center": set()}, address="nowhere:1"
    )
    assert done.images == 0


def test_missing_ray_names_the_extra(ensemble, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match="ray"):
        ray_engine.run(job(ensemble, tmp_path), ["a"], ["a.png"])


def test_unreachable_address_raises(ensemble, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="needs the extra `ray`")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def refuse(**options):
        raise ConnectionError(f"Failed to connect to {options['address']}")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ClusterError, match="Cannot reach a Ray cluster at nowhere:1: Failed"):
        ray_engine.run(job(ensemble, tmp_path), ["a"], ["a.png"], address="nowhere:1")
