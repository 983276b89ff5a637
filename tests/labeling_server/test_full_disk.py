"""A disk that is really full, the server's or ours: one line, and what was there stays there."""

import random
import shutil
import subprocess
from collections import Counter
from contextlib import contextmanager

import label_studio_server
import pytest

from cascade.predictions import Detections
from curation.errors import LabelingError
from curation.labeling.label_studio.annotations.reader import Known
from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.retry import Retrying
from curation.labeling.label_studio.api.settings import Server
from curation.labeling.label_studio.backend import LabelStudio
from curation.labeling.protocol import Task

pytestmark = pytest.mark.slow

N = 4000
MOUNT = shutil.which("mount")


@contextmanager
def small_disk(place, size):
    """Give a disk of its own, and what gives it another size; only root can make one."""
    place.mkdir()
    made = [str(MOUNT), "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if MOUNT is None or subprocess.run(made, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here: that takes root")
    try:
        yield lambda other: subprocess.run(
            [MOUNT, "-o", f"remount,size={other}", str(place)], check=True
        )
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def given(roadwork):
    nothing = Detections.empty(roadwork.names)
    return [
        Task(f"id{i}", f"https://images.invalid/{i}.jpg", 64, 48, 1, i, "hard", 0.5, "x" * 2000,
             nothing)
        for i in range(1, N + 1)
    ]  # fmt: skip


def labeler_of(server, given, taxonomy, folder, name):
    retrying = Retrying(3, first_s=0.1, longest_s=0.5, random=random.Random(0))
    sizes = {one.sample_id: Known(one.width, one.height, one.filepath) for one in given}
    return LabelStudio(
        lambda: Client(Server(server.url, server.token), retrying=retrying),
        dataset=name, dataset_id=name, taxonomy=taxonomy, known=lambda _: sizes, folder=folder,
    )  # fmt: skip


def tasks_at(server, ours):
    with ours.project() as (_, project):
        return server.ask("GET", f"/api/tasks/?project={project}&page_size={2 * N}")["tasks"]


def test_the_servers(given, roadwork, tmp_path):
    label_studio_server.require()
    with small_disk(tmp_path / "disk", "6m") as resize:
        server = label_studio_server.LabelStudioServer(tmp_path / "disk" / "server")
        try:
            server.start()
            ours = labeler_of(server, given, roadwork, tmp_path / "notes", "theirs")
            with pytest.raises(LabelingError, match=r"its disk is full\. Free it there") as caught:
                ours.push(given)
            assert "\n" not in str(caught.value)
            there = len(tasks_at(server, ours))
            assert 0 < there < N
            resize("200m")
            pushed = ours.push(given)
            assert (pushed.pushed, pushed.existing) == (N - there, there)
            found = Counter(one["data"]["sample_id"] for one in tasks_at(server, ours))
            assert found == {one.sample_id: 1 for one in given}
        finally:
            server.stop()


def test_ours(label_studio, given, roadwork, tmp_path):
    given = given[:60]
    with small_disk(tmp_path / "disk", "1m") as resize:
        notes = tmp_path / "disk" / "notes"
        ours = labeler_of(label_studio, given, roadwork, notes, "ours")
        ours.push(given)
        for task in tasks_at(label_studio, ours):
            label_studio.ask("POST", f"/api/tasks/{task['id']}/annotations/", {"result": []})
        ours.remember("round-01", ours.look("round-01"))
        before = {one.name: one.read_bytes() for one in notes.iterdir()}
        filler = tmp_path / "disk" / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(notes).free - 8_192))
        with pytest.raises(LabelingError, match="No space left on device") as caught:
            ours.look("round-01")
        assert "Free the disk" in str(caught.value)
        assert {one.name: one.read_bytes() for one in notes.iterdir() if one.name in before} == (
            before
        )
        resize("20m")
        again = ours.look("round-01")
        assert (len(again.merged.annotated), again.changes.new) == (len(given), ())
