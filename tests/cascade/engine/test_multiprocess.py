"""Processes on CPU "devices" store what one process stores, also when one is killed."""

import re
from functools import partial

import cv2
import pytest
import torch
from folder_sink import FolderSink, opened, plain
from pictures import drawn

from cascade import manifest
from cascade.engine import multiprocess
from cascade.engine.multiprocess import FleetError, Job
from cascade.engine.run import Memory, run
from cascade.engine.shards import ShardError
from cascade.ensemble import Ensemble
from cascade.planning.placement import Lane

CPU = torch.device("cpu")
NAMES = [f"{i:02d}" for i in range(20)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of twenty pictures, one of which is damaged."""
    made = tmp_path_factory.mktemp("pictures")
    for name, one in zip(NAMES, drawn([(48, 64)] * len(NAMES)), strict=True):
        cv2.imwrite(str(made / f"{name}.png"), one)
    (made / "13.png").write_bytes(b"no image")
    return made


@pytest.fixture(scope="module")
def paths(folder):
    return [folder / f"{name}.png" for name in NAMES]


@pytest.fixture(scope="module")
def ensemble():
    text = """
        name: two
        members:
          - {name: center, tier: detection, adapter: center_point, batch_size: 2,
             source: "package:tiny_center", licence: Apache-2.0}
          - {name: other, tier: detection, adapter: center_point, batch_size: 2, precision: bf16,
             source: "package:tiny_center", licence: Apache-2.0}
        """
    return Ensemble.from_manifest(manifest.parse(text))


@pytest.fixture(scope="module")
def alone(ensemble, paths):
    """Return what one process finds."""
    memory = Memory()
    members = {name: ensemble.manifest.member(name) for name in ensemble.detectors}
    models = {name: ensemble.build(name, CPU) for name in members}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes: the order of sums is in the last digit
    run(models, members, NAMES, paths, memory, device=CPU)
    torch.set_num_threads(threads)
    return {
        image: {name: plain(said) for name, said in row.items()}
        for image, row in memory.results.items()
    }


def job(ensemble, tmp_path, **sink):
    members = {name: ensemble.manifest.member(name) for name in ensemble.detectors}
    return Job(ensemble.build, members, partial(opened, tmp_path, **sink), threads=1)


def test_a_killed_process_has_its_shards_taken_over_and_nothing_is_lost(
    ensemble, paths, alone, tmp_path, caplog
):
    pids, told = [], []
    tally = multiprocess.run(
        job(ensemble, tmp_path, deadly="07"), [Lane(ensemble.detectors, ("cpu", "cpu"))], NAMES,
        paths, batches_a_shard=2, started=pids.append, progress=lambda *at: told.append(at),
    )  # fmt: skip
    sink = FolderSink(tmp_path)
    assert len(list(tmp_path.glob("death *"))) == 1
    assert re.search(r"ended with -9; its [1-5] shards go to the others", caplog.text)
    assert sink.read() == alone
    assert len(pids) == 3, "the one that died is replaced"
    assert sink.writers() <= set(pids)
    assert told[-1] == (20, 20)
    assert tally.failed <= 2 <= tally.predicted <= 38, "who died did not say what it had done"


def test_members_on_lanes_of_their_own_see_every_image_once(ensemble, paths, alone, tmp_path):
    lanes = [Lane((name,), ("cpu",)) for name in ensemble.detectors]
    todo = {"center": set(NAMES), "other": {"03", "13"}}
    tally = multiprocess.run(job(ensemble, tmp_path), lanes, NAMES, paths, todo=todo)
    found = FolderSink(tmp_path).read()
    assert {image: row["center"] for image, row in found.items()} == {
        image: row["center"] for image, row in alone.items()
    }
    assert {image: row["other"] for image, row in found.items() if "other" in row} == {
        image: alone[image]["other"] for image in ("03", "13")
    }
    assert (tally.predicted, tally.failed) == (20, 2)
    assert tally.seen.keys() == {"center", "other"}


def test_what_kills_every_worker_stops_the_run_and_says_where(ensemble, paths, tmp_path):
    deadly = job(ensemble, tmp_path, deadly="02", deaths=9)
    with pytest.raises(
        ShardError, match=r"3 worker processes died over the 4 images from .*00.png"
    ):
        multiprocess.run(
            deadly, [Lane(ensemble.detectors[:1], ("cpu",))], NAMES, paths, batches_a_shard=2
        )


def test_a_model_that_cannot_be_built_is_an_error_and_no_death(ensemble, paths, tmp_path):
    broken = ensemble.with_checkpoints({"center": tmp_path / "absent"})
    with pytest.raises(FleetError, match="A worker on cpu failed: CheckpointError"):
        multiprocess.run(job(broken, tmp_path), [Lane(("center",), ("cpu",))], NAMES, paths)


def test_nothing_to_do_starts_nobody(ensemble, paths, tmp_path):
    pids = []
    todo = {name: set() for name in ensemble.detectors}
    tally = multiprocess.run(
        job(ensemble, tmp_path), [Lane(ensemble.detectors, ("cpu",))], NAMES, paths, todo=todo,
        started=pids.append,
    )  # fmt: skip
    assert (pids, tally.images) == ([], 0)
