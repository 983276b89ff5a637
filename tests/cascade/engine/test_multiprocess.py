"""Worker processes on CPU "devices" store what one process stores, even when one is killed."""

import re
from functools import partial

import cv2
import pytest
import torch
from folder_sink import FolderSink, open_sink, plain
from pictures import drawn

from cascade import manifest
from cascade.engine import multiprocess
from cascade.engine.multiprocess import WorkerPoolError
from cascade.engine.run import run
from cascade.engine.shards import ShardError
from cascade.engine.sinks import MemorySink
from cascade.engine.worker_process import Job
from cascade.ensemble import Ensemble
from cascade.planning.placement import Lane

CPU = torch.device("cpu")
NAMES = [f"{i:02d}" for i in range(20)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of twenty pictures, one of which is damaged."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, image in zip(NAMES, drawn([(48, 64)] * len(NAMES)), strict=True):
        cv2.imwrite(str(folder / f"{name}.png"), image)
    (folder / "13.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def paths(folder):
    return [folder / f"{name}.png" for name in NAMES]


@pytest.fixture(scope="module")
def ensemble():
    text = """
        name: two
        members:
          - {name: center, tier: detection, adapter: center_point, batch_size: 2,
             source: "package:tiny_center", license: Apache-2.0}
          - {name: other, tier: detection, adapter: center_point, batch_size: 2, precision: bf16,
             source: "package:tiny_center", license: Apache-2.0}
        """
    return Ensemble.from_manifest(manifest.parse(text))


@pytest.fixture(scope="module")
def expected(ensemble, paths):
    """Return the results of a single process."""
    memory = MemorySink()
    members = {name: ensemble.manifest.member(name) for name in ensemble.detectors}
    models = {name: ensemble.build(name, CPU) for name in members}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes: the order of sums is in the last digit
    run(models, members, NAMES, paths, memory, device=CPU)
    torch.set_num_threads(threads)
    return {
        image: {name: plain(result) for name, result in row.items()}
        for image, row in memory.results.items()
    }


def job(ensemble, tmp_path, **sink):
    members = {name: ensemble.manifest.member(name) for name in ensemble.detectors}
    return Job(ensemble.build, members, partial(open_sink, tmp_path, **sink), threads=1)


def test_shards_of_a_killed_worker_go_to_the_others(ensemble, paths, expected, tmp_path, caplog):
    pids, calls = [], []
    tally = multiprocess.run(
        job(ensemble, tmp_path, deadly="07"), [Lane(ensemble.detectors, ("cpu", "cpu"))], NAMES,
        paths, batches_a_shard=2, on_start=pids.append, progress=lambda *call: calls.append(call),
    )  # fmt: skip
    sink = FolderSink(tmp_path)
    assert len(list(tmp_path.glob("death *"))) == 1
    assert re.search(
        r"exited with status -9; its [1-5] shards go to the other workers", caplog.text
    )
    assert sink.read() == expected
    assert len(pids) == 3, "the dead worker is replaced"
    assert sink.writers() <= set(pids)
    assert calls[-1] == (20, 20)
    assert tally.failed <= 2 <= tally.predicted <= 38, "the dead worker reported no statistics"


def test_every_lane_processes_every_image_once(ensemble, paths, expected, tmp_path):
    lanes = [Lane((name,), ("cpu",)) for name in ensemble.detectors]
    todo = {"center": set(NAMES), "other": {"03", "13"}}
    tally = multiprocess.run(job(ensemble, tmp_path), lanes, NAMES, paths, todo=todo)
    results = FolderSink(tmp_path).read()
    assert {image: row["center"] for image, row in results.items()} == {
        image: row["center"] for image, row in expected.items()
    }
    assert {image: row["other"] for image, row in results.items() if "other" in row} == {
        image: expected[image]["other"] for image in ("03", "13")
    }
    assert (tally.predicted, tally.failed) == (20, 2)
    assert tally.seen.keys() == {"center", "other"}


def test_image_that_kills_every_worker_stops_the_run(ensemble, paths, tmp_path):
    deadly = job(ensemble, tmp_path, deadly="02", deaths=9)
    with pytest.raises(
        ShardError, match=r"3 worker processes died while processing the 4 images from .*00.png"
    ):
        multiprocess.run(
            deadly, [Lane(ensemble.detectors[:1], ("cpu",))], NAMES, paths, batches_a_shard=2
        )


def test_model_that_cannot_be_built_raises(ensemble, paths, tmp_path):
    broken = ensemble.with_checkpoints({"center": tmp_path / "absent"})
    with pytest.raises(WorkerPoolError, match="A worker on cpu failed: CheckpointError"):
        multiprocess.run(job(broken, tmp_path), [Lane(("center",), ("cpu",))], NAMES, paths)


def test_run_without_work_starts_no_worker(ensemble, paths, tmp_path):
    pids = []
    todo = {name: set() for name in ensemble.detectors}
    tally = multiprocess.run(
        job(ensemble, tmp_path), [Lane(ensemble.detectors, ("cpu",))], NAMES, paths, todo=todo,
        on_start=pids.append,
    )  # fmt: skip
    assert (pids, tally.images) == ([], 0)
