"""Ultralytics networks (AGPL-3.0), built from the content of a YAML.

The package is an optional extra, so it is imported when a model is built.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.ops import box_convert

from cascade.errors import CheckpointError
from cascade.models.detection.detector_head import flatten_targets
from cascade.predictions import Detections

_GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5}  # default Ultralytics loss weights
_OFFLINE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
_BUILD_ERRORS = (
    AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
_PLAIN = (bool, int, float, type(None))
_WORDS = {"nc", "nearest", "None"}  # strings allowed among the arguments of layers
_MODULES = ("activation", "block", "conv", "head", "transformer", "utils")
_MODELS = ("DetectionModel", "WorldModel", "YOLOEModel", "YOLOESegModel")


def refuse_foreign_rows(
    architecture: Mapping[str, Any], *, layers: Collection[str], origin: str
) -> None:
    """Refuse rows that would run arbitrary code: ultralytics evaluates strings of a YAML.

    Raises:
        CheckpointError: A row of the backbone or head is not `[from, repeats, layer, arguments]`
            with one of `layers` and plain arguments.
    """
    for part in ("backbone", "head"):
        for row in architecture[part]:
            is_row = isinstance(row, list) and len(row) == 4 and isinstance(row[2], str)
            if not is_row or row[2] not in layers:
                raise CheckpointError(
                    f"{origin}: {row} is not a layer of {', '.join(sorted(layers))}."
                )
            if not _is_plain(row[0]) or not _is_plain(row[1]) or not _is_plain(row[3]):
                raise CheckpointError(f"{origin}: {row} must contain plain numbers only.")


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    return isinstance(value, _PLAIN) or (isinstance(value, str) and value in _WORDS)


def refuse_activation(architecture: Mapping[str, Any], *, origin: object) -> None:
    """Refuse a YAML with an activation, which ultralytics would evaluate as code.

    Raises:
        CheckpointError: The YAML has an activation.
    """
    if architecture.get("activation") is not None:
        raise CheckpointError(
            f"{origin}: the YAML names the activation {architecture['activation']!r}, which "
            "would have to be evaluated; only the default, SiLU, is supported."
        )


def layer_names() -> frozenset[str]:
    """Return `module.Name` of the layers of torch and ultralytics and of its detectors."""
    detection_model()
    tasks = import_module("ultralytics.nn.tasks")
    modules = [nn, *(import_module(f"ultralytics.nn.modules.{name}") for name in _MODULES)]
    values = [value for module in modules for value in vars(module).values()]
    values += [getattr(tasks, name) for name in _MODELS]
    return frozenset(
        f"{value.__module__}.{value.__qualname__}"
        for value in values
        if isinstance(value, type) and issubclass(value, nn.Module)
    )


@cache
def detection_model() -> Any:
    """Import ultralytics, offline and without side effects, and return its model class."""
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    with side_effects_undone():
        from ultralytics.nn.tasks import DetectionModel
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    return DetectionModel


def build_network(
    architecture: Mapping[str, Any],
    classes: int,
    *,
    origin: object,
    kind: str = "DetectionModel",
    seed: int = 0,
) -> Any:
    """Return an untrained network whose boxes are corners.

    Args:
        architecture: Content of a YAML, checked by `refuse_foreign_rows`.
        classes: Number of classes.
        origin: Source of the architecture, for messages.
        kind: Class name of the model in ultralytics.
        seed: Random seed of the initialization.

    Raises:
        CheckpointError: The architecture is inconsistent.
    """
    detection_model()  # imports ultralytics without side effects
    model_class = getattr(import_module("ultralytics.nn.tasks"), kind)
    content = {**deepcopy(dict(architecture)), "nc": classes}
    try:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            module = model_class(content, ch=3, nc=classes, verbose=False)
    except _BUILD_ERRORS as error:
        raise CheckpointError(f"{origin}: cannot build the YAML's network: {error!r}.") from error
    module.model[-1].xyxy = True  # corners instead of center and sides
    return module


@contextmanager
def side_effects_undone() -> Iterator[None]:
    """Undo the side effects of importing ultralytics.

    The import sets environment variables that child processes inherit, printing options, warning
    filters and OpenCV's threads, replaces `torch.save` and Pillow's `Image.open` (by a function
    that installs a package for a damaged file), and creates a folder for its settings.
    """
    environment = dict(os.environ)
    threads, torch_save, image_open = cv2.getNumThreads(), torch.save, Image.open
    os.environ.update(_OFFLINE)
    if "YOLO_CONFIG_DIR" not in environment:
        settings = tempfile.mkdtemp(prefix="yolo-settings-")
        atexit.register(shutil.rmtree, settings, ignore_errors=True)
        os.environ["YOLO_CONFIG_DIR"] = settings
    try:
        with warnings.catch_warnings(), np.printoptions():
            yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        cv2.setNumThreads(threads)
        torch.save = torch_save
        Image.open = image_open


def to_pixels(view: Tensor) -> Tensor:
    """Return a view, uint8, as the pixels in [0, 1] that the networks expect."""
    return (view.float() / 255).contiguous(memory_format=torch.channels_last)


def loss_gains() -> SimpleNamespace:
    """Return the weights of the loss terms, as a module's `args`."""
    return SimpleNamespace(**_GAINS)


def detection_loss(
    module: Any, view: Tensor, targets: Sequence[Detections], classes: tuple[str, ...]
) -> Tensor:
    """Return the Ultralytics detection loss, per image; of both heads of a module with two."""
    pixels = to_pixels(view)
    image, class_ids, corners = flatten_targets(targets, classes, pixels.device)
    batch = {
        "img": pixels,
        "batch_idx": image.float(),
        "cls": class_ids.float()[:, None],
        "bboxes": box_convert(corners, "xyxy", "cxcywh"),
    }
    raw = module(pixels)
    predictions = _float32(raw[1] if isinstance(raw, tuple) else raw)
    module.criterion = module.init_criterion()  # bound to the device
    with torch.autocast(pixels.device.type, enabled=False):
        terms, _ = module.loss(batch, predictions)
    del module.criterion
    loss: Tensor = terms.sum() / len(targets)
    return loss


def _float32(predictions: dict[str, Any]) -> dict[str, Any]:
    """Return the predictions of one head, or of both, with boxes and scores in float32."""
    converted = {}
    for name, value in predictions.items():
        if isinstance(value, dict):
            value = _float32(value)
        elif name in ("boxes", "scores"):
            value = value.float()
        converted[name] = value
    return converted
