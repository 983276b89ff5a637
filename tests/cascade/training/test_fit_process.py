"""Fits in separate processes: several in a group, and one that is killed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from cascade.checkpoints import checkpoint, sources
from cascade.errors import TrainingError
from cascade.models.detection.center_point import CenterPoint
from cascade.predictions import Detections
from cascade.training.augmentation.augment import NO_EFFECTS, STREET
from cascade.training.examples import Example
from cascade.training.fit_process import FitJob, launch

CLASSES = ("cone", "drum")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """Five images on disk with two squares each."""
    folder, rng, examples = tmp_path_factory.mktemp("images"), np.random.default_rng(0), []
    for i in range(5):
        image = np.full((64, 64, 3), 90, np.uint8)
        image[8:28, 4 + i : 24 + i] = (230, 30, 30)
        image[36:60, 30:54] = (30, 30, int(rng.integers(180, 250)))
        cv2.imwrite(str(folder / f"{i}.png"), image)
        boxes = np.array([[4 + i, 8, 24 + i, 28], [30, 36, 54, 60]], np.float32) / 64
        target = Detections(boxes, np.ones(2, np.float32), np.arange(2), CLASSES)
        examples.append(Example(folder / f"{i}.png", target))
    return examples


def job(examples, folder, **options):
    start = folder / "start"
    if not start.exists():
        CenterPoint(classes=("traffic cone", "drum"), size=64, width=8).save(start)
    return FitJob(
        adapter="center_point", checkpoint=start, classes=CLASSES,
        meaning={"traffic cone": "cone"}, train=examples, val=examples[:3], out=folder / "out",
        options={"epochs": 3, "batch_size": 4, "seed": 1, **options},
    )  # fmt: skip


def test_job_round_trips(examples, tmp_path):
    windowed = replace(examples[0], window=(0.0, 0.0, 0.5, 0.5), hidden=((0.1, 0.1, 0.2, 0.3),))
    options = {"effects": STREET, "state_file": tmp_path / "standing", "weights": np.ones(6)}
    original = job([windowed, *examples], tmp_path, **options)
    original.write(tmp_path / "job.json")
    loaded = FitJob.read(tmp_path / "job.json")
    assert loaded.options == {**original.options, "weights": [1.0] * 6}
    assert loaded.train[0].window == windowed.window
    assert loaded.train[0].hidden == windowed.hidden
    for ours, theirs in zip(loaded.train, original.train, strict=True):
        assert ours.image == theirs.image
        assert (ours.target.boxes_xyxy == theirs.target.boxes_xyxy).all()
    same = ("adapter", "checkpoint", "classes", "meaning", "params", "out")
    assert [getattr(loaded, name) for name in same] == [getattr(original, name) for name in same]


def test_job_with_pixels_is_rejected(examples, tmp_path):
    pixels = replace(examples[0], image=np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(TrainingError, match="images of a job must be files"):
        job([pixels], tmp_path).write(tmp_path / "job.json")


def test_two_processes_train_like_one(examples, tmp_path):
    """With unchanged images and equal numbers of boxes, the loss of a step is the same mean."""
    options = {"variants": 1, "effects": NO_EFFECTS, "patience": 9}
    alone = job(examples[:4], tmp_path, **options).run(CPU)
    weights = checkpoint.load(tmp_path / "out")[1]
    calls = []
    result = launch(
        job(examples[:4], tmp_path, **options), tmp_path / "job.json", processes=2,
        progress=lambda *at: calls.append(at),
    )  # fmt: skip
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert result.train_loss == pytest.approx(alone.train_loss, rel=1e-4)
    assert result.val_map50 == pytest.approx(alone.val_map50, abs=1e-3)
    assert result.best_epoch == alone.best_epoch
    for name, tensor in checkpoint.load(tmp_path / "out")[1].items():
        assert torch.allclose(tensor, weights[name], atol=1e-4), name


def test_killed_fit_resumes_with_equal_result(examples, tmp_path):
    options = {"epochs": 40, "patience": 99}
    reference = job(examples, tmp_path, **options).run(CPU)
    expected = sources.fingerprint(tmp_path / "out")
    state_file = tmp_path / "standing.safetensors"
    cut = replace(job(examples, tmp_path, **options, state_file=state_file), out=tmp_path / "cut")
    cut.write(tmp_path / "job.json")
    command = [sys.executable, "-m", "cascade.training.fit_process", str(tmp_path / "job.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 60
            while not state_file.exists() and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.002)
        finally:
            process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "cut").exists()
    resumed = cut.run(CPU)
    assert 0 < resumed.resumed_from < 40
    assert resumed.train_loss == reference.train_loss
    assert sources.fingerprint(tmp_path / "cut") == expected


def test_failed_process_error_includes_output(examples, tmp_path):
    broken = replace(job(examples, tmp_path), classes=("horse",), train=[], val=[])
    with pytest.raises(TrainingError, match=r"(?s)failed with code 1: .*at least one image"):
        launch(broken, tmp_path / "job.json", processes=1)
