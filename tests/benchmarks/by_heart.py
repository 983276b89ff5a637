"""Detectors of published size that have learned: a few rendered scenes by heart, from nothing.

What random weights find changes altogether with one grey level, so they cannot tell a rounding
that matters from one that does not. Weights that have learned anything can.
"""

from __future__ import annotations

import logging
import multiprocessing as mp
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import full_size
import numpy as np
import torch

from cascade import registry
from cascade.predictions import Detections
from cascade.training.augment import NO_EFFECTS
from cascade.training.examples import Example
from cascade.training.fit import FitResult, fit
from curation.demo import CLASSES, drive_scenes

logger = logging.getLogger("bench_agreement")

DETECTORS = ("rt_detr_v2_r50", "d_fine_l", "rf_detr_l")
BATCH, RATE = 8, 2e-4
TRIAL = 8  # epochs, which tell how many there is time for


def write_scenes(folder: Path, count: int) -> list[Example]:
    """Write rendered scenes, each of another drive, and return them with what is in them."""
    folder.mkdir(parents=True)
    examples = []
    for i in range(count):
        (scene,) = drive_scenes(5, i, n_frames=1)
        path = folder / f"{i:03d}.jpg"
        cv2.imwrite(str(path), cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR))
        ids = np.array([CLASSES.index(one) for one in scene.labels], np.int64)
        sure = np.ones(len(ids), np.float32)
        examples.append(Example(path, Detections(scene.boxes_xyxy, sure, ids, CLASSES)))
    return examples


def learn(folder: Path, examples: Sequence[Example], seconds: float, device: torch.device) -> None:
    """Train every detector that is not in the folder yet, side by side, and put it there."""
    missing = [one for one in DETECTORS if not (folder / one).exists()]
    with ProcessPoolExecutor(len(DETECTORS), mp_context=mp.get_context("spawn")) as pool:
        fits = [pool.submit(_learn, folder, one, examples, seconds, str(device)) for one in missing]
        for one in fits:
            logger.info("%s", one.result())


def _learn(
    folder: Path, name: str, examples: Sequence[Example], seconds: float, device: str
) -> str:
    random = folder / f"{name}-random"
    random.mkdir(parents=True)
    full_size.WRITERS[name](random)
    model = registry.create("detr", random).with_classes(CLASSES)

    def further(epochs: int) -> FitResult:
        return fit(
            model, examples, (), out=folder / name, epochs=epochs, patience=epochs, device=device,
            batch_size=BATCH, learning_rate=RATE, variants=1, effects=NO_EFFECTS,
        )  # fmt: skip

    trial = further(TRIAL)
    epochs = max(1, int(TRIAL * (seconds / trial.seconds - 1)))
    done = further(epochs)
    took, first, last = trial.seconds + done.seconds, trial.train_loss[0], done.train_loss[-1]
    return f"{name}: {TRIAL + epochs} epochs, {took:.0f} s, loss {first:.1f} to {last:.1f}"
