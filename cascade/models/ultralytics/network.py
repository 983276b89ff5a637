"""Networks of ultralytics (AGPL-3.0), built from a YAML's content and from nothing else.

Imports ultralytics, and that when a model is built: the package is an
optional extra.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn

from cascade.errors import CheckpointError

_OFFLINE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
_PLAIN = (bool, int, float, type(None))
_WORDS = {"nc", "nearest", "None"}  # the only words among the arguments of layers
_MODULES = ("activation", "block", "conv", "head", "transformer", "utils")
_MODELS = ("DetectionModel", "WorldModel", "YOLOEModel", "YOLOESegModel")


def refuse_foreign_rows(
    architecture: Mapping[str, Any], *, layers: Collection[str], origin: str
) -> None:
    """Raise for rows that ultralytics would have to evaluate, or to look up freely.

    It builds whatever a YAML names, and evaluates the words that it finds there.

    Raises:
        CheckpointError: A row of the backbone or head is not `[from, repeats, layer, arguments]`
            of one of `layers` with plain arguments.
    """
    for part in ("backbone", "head"):
        for row in architecture[part]:
            is_row = isinstance(row, list) and len(row) == 4 and isinstance(row[2], str)
            if not is_row or row[2] not in layers:
                raise CheckpointError(
                    f"{origin}: {row} is no layer of {', '.join(sorted(layers))}."
                )
            if not _is_plain(row[0]) or not _is_plain(row[1]) or not _is_plain(row[3]):
                raise CheckpointError(f"{origin}: {row} must hold plain numbers only.")


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(one) for one in value)
    return isinstance(value, _PLAIN) or (isinstance(value, str) and value in _WORDS)


def refuse_activation(architecture: Mapping[str, Any], *, origin: object) -> None:
    """Raise for a YAML that names an activation, which ultralytics would have to evaluate.

    Raises:
        CheckpointError: It names one.
    """
    if architecture.get("activation") is not None:
        raise CheckpointError(
            f"{origin}: its YAML names an activation, {architecture['activation']!r}, which would "
            "have to be evaluated; only the default, SiLU, is read."
        )


def layer_names() -> frozenset[str]:
    """Return `module.Name` of the layers of torch and ultralytics, and of its detectors."""
    detection_model()
    tasks = import_module("ultralytics.nn.tasks")
    modules = [nn, *(import_module(f"ultralytics.nn.modules.{one}") for one in _MODULES)]
    found = [one for module in modules for one in vars(module).values()]
    found += [getattr(tasks, one) for one in _MODELS]
    return frozenset(
        f"{one.__module__}.{one.__qualname__}"
        for one in found
        if isinstance(one, type) and issubclass(one, nn.Module)
    )


@cache
def detection_model() -> Any:
    """Import ultralytics, offline and without traces, and return its model class."""
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    with undisturbed():
        from ultralytics.nn.tasks import DetectionModel
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    return DetectionModel


@contextmanager
def undisturbed() -> Iterator[None]:
    """Undo what importing ultralytics does to the process.

    It sets environment variables that child processes inherit, printing options, warning
    filters and OpenCV's threads, replaces `torch.save` and Pillow's `Image.open` (by one that
    installs a package when it meets a damaged file), and makes a folder for its settings.
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
