"""Pretraining for a given time, on views that lie ready."""

import numpy as np
import pytest
import torch

from cascade import registry
from cascade.errors import TrainingError
from cascade.predictions import Detections
from cascade.training.pretrain import measure, pretrain

CLASSES = ("square",)


def views_and_targets(n=6, side=64):
    views = torch.full((n, 3, side, side), 90, dtype=torch.uint8)
    targets = []
    for i in range(n):
        x = 8 + 4 * i
        views[i, :, 16:40, x : x + 20] = 250
        box = np.array([[x, 16, x + 20, 40]], np.float32) / side
        targets.append(Detections(box, np.ones(1, np.float32), np.zeros(1, np.int64), CLASSES))
    return views, targets


def model():
    return registry.create("center_point", classes=CLASSES, size=64, width=32)


def test_it_takes_its_time_and_learns():
    views, targets = views_and_targets()
    student, losses = model(), []
    done = pretrain(
        student, views, targets,
        seconds=3, batch_size=4, learning_rate=1e-2, seed=0,
        progress=lambda step, share, loss: losses.append((step, share, loss)),
    )  # fmt: skip
    assert done.steps == len(losses)
    assert done.images == 4 * done.steps
    assert 3 <= done.seconds < 30
    assert [step for step, _, _ in losses] == list(range(1, done.steps + 1))
    assert all(0 <= share <= 1 for _, share, _ in losses)
    assert done.loss < losses[0][2]
    assert not student.module.training


def test_at_least_one_step_is_taken():
    views, targets = views_and_targets(2)
    done = pretrain(model(), views, targets, seconds=1e-3, batch_size=5, learning_rate=1e-3, seed=0)
    assert done.steps == 1


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(TrainingError, match="no view to learn from"):
        pretrain(model(), torch.zeros(0, 3, 64, 64, dtype=torch.uint8), [], seconds=1,
                 batch_size=4, learning_rate=1e-3, seed=0)  # fmt: skip


def test_measuring_covers_every_view():
    views, targets = views_and_targets(5)
    measured = measure(model(), views, targets, batch_size=2)
    assert measured.n == {"square": 5}
    assert 0 <= measured.map50 <= 1
