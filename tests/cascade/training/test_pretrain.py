"""Pretraining for a given time, on views in memory."""

import numpy as np
import pytest
import torch

from cascade import registry
from cascade.errors import TrainingError
from cascade.predictions import Detections
from cascade.training.pretrain import evaluate, pretrain

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


def test_pretraining_uses_its_time_and_learns():
    views, targets = views_and_targets()
    student, losses = model(), []
    result = pretrain(
        student, views, targets,
        seconds=3, batch_size=4, learning_rate=1e-2, seed=0,
        progress=lambda step, share, loss: losses.append((step, share, loss)),
    )  # fmt: skip
    assert result.steps == len(losses)
    assert result.images == 4 * result.steps
    assert 3 <= result.seconds < 30
    assert [step for step, _, _ in losses] == list(range(1, result.steps + 1))
    assert all(0 <= share <= 1 for _, share, _ in losses)
    assert result.loss < losses[0][2]
    assert not student.module.training


def test_pretraining_takes_at_least_one_step():
    views, targets = views_and_targets(2)
    result = pretrain(
        model(), views, targets, seconds=1e-3, batch_size=5, learning_rate=1e-3, seed=0
    )
    assert result.steps == 1


def test_pretraining_without_views_is_rejected():
    with pytest.raises(TrainingError, match="at least one view, got none"):
        pretrain(model(), torch.zeros(0, 3, 64, 64, dtype=torch.uint8), [], seconds=1,
                 batch_size=4, learning_rate=1e-3, seed=0)  # fmt: skip


def test_evaluation_covers_every_view():
    views, targets = views_and_targets(5)
    result = evaluate(model(), views, targets, batch_size=2)
    assert result.n == {"square": 5}
    assert 0 <= result.map50 <= 1
