"""Full disks, of the server or ours: one line, and existing data is kept."""

import random
import shutil
import subprocess
from collections import Counter
from contextlib import contextmanager

import label_studio_server
import pytest

from cascade.predictions import Detections
from curation.errors import LabelingError
from curation.labeling.label_studio.annotations.reader import SampleImage
from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.retry import RetryPolicy
from curation.labeling.label_studio.api.settings import Server
from curation.labeling.label_studio.backend import LabelStudio
from curation.labeling.protocol import Task

pytestmark = pytest.mark.slow

N = 4000
MOUNT = shutil.which("mount")


@contextmanager
def small_disk(folder, size):
    """Mount a small disk, and yield a function that resizes it; requires root."""
    folder.mkdir()
    command = [str(MOUNT), "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if MOUNT is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small disk: requires root")
    try:
        yield lambda new_size: subprocess.run(
            [MOUNT, "-o", f"remount,size={new_size}", str(folder)], check=True
        )
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def batch(roadwork):
    no_boxes = Detections.empty(roadwork.names)
    return [
        Task(f"id{i}", f"https://images.invalid/{i}.jpg", 64, 48, 1, i, "hard", 0.5, "x" * 2000,
             no_boxes)
        for i in range(1, N + 1)
    ]  # fmt: skip


def labeler_of(server, batch, taxonomy, folder, name):
    policy = RetryPolicy(3, first_s=0.1, longest_s=0.5, random=random.Random(0))
    samples = {t.sample_id: SampleImage(t.width, t.height, t.filepath) for t in batch}
    return LabelStudio(
        lambda: Client(Server(server.url, server.token), retry_policy=policy),
        dataset=name, dataset_id=name, taxonomy=taxonomy, read_samples=lambda _: samples,
        folder=folder,
    )  # fmt: skip


def tasks_at(server, ours):
    with ours.open_project() as (_, project):
        return server.ask("GET", f"/api/tasks/?project={project}&page_size={2 * N}")["tasks"]


def test_full_disk_of_server(batch, roadwork, tmp_path):
    label_studio_server.require()
    with small_disk(tmp_path / "disk", "6m") as resize:
        server = label_studio_server.LabelStudioServer(tmp_path / "disk" / "server")
        try:
            server.start()
            ours = labeler_of(server, batch, roadwork, tmp_path / "notes", "theirs")
            with pytest.raises(
                LabelingError, match=r"its disk is full\. Free disk space there"
            ) as caught:
                ours.push(batch)
            assert "\n" not in str(caught.value)
            arrived = len(tasks_at(server, ours))
            assert 0 < arrived < N
            resize("200m")
            pushed = ours.push(batch)
            assert (pushed.pushed, pushed.existing) == (N - arrived, arrived)
            counts = Counter(row["data"]["sample_id"] for row in tasks_at(server, ours))
            assert counts == {task.sample_id: 1 for task in batch}
        finally:
            server.stop()


def test_full_disk_of_local_state(label_studio, batch, roadwork, tmp_path):
    batch = batch[:60]
    with small_disk(tmp_path / "disk", "1m") as resize:
        notes = tmp_path / "disk" / "notes"
        ours = labeler_of(label_studio, batch, roadwork, notes, "ours")
        ours.push(batch)
        for task in tasks_at(label_studio, ours):
            label_studio.ask("POST", f"/api/tasks/{task['id']}/annotations/", {"result": []})
        ours.end_import("round-01", ours.fetch("round-01"))
        before = {file.name: file.read_bytes() for file in notes.iterdir()}
        filler = tmp_path / "disk" / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(notes).free - 8_192))
        with pytest.raises(LabelingError, match="No space left on device") as caught:
            ours.fetch("round-01")
        assert "Free disk space" in str(caught.value)
        after = {file.name: file.read_bytes() for file in notes.iterdir()}
        assert {name: after.get(name) for name in before} == before
        resize("20m")
        again = ours.fetch("round-01")
        assert (len(again.merged.annotations), again.changes.new) == (len(batch), ())
