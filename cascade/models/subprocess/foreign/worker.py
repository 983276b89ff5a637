"""Request loop of a detector in a separate Python environment.

This file requires only the standard library of Python 3.8 or later and imports nothing of this
project, so any environment can run it. The adapter `worker` puts it on the path:

    from worker import Detector, serve

    def load():
        network = ...                      # imports and weights: only here
        return Detector("my model", "MIT", ["cone", "drum"], detect)

    serve(load)

Each line is one JSON object: `hello` first, then one answer per request. Standard output is
reserved for the protocol; output of foreign code is redirected to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TextIO

PROTOCOL = 1


class Detector(NamedTuple):
    """Detector that `load` returns.

    Attributes:
        model: Name of the model.
        licence: SPDX identifier of the license of code and weights; also readable as `license`.
        classes: Class names of the labels.
        detect: Function from paths of PPM images to one dict per image: `boxes_xyxy` (relative
            corners in [0, 1]), `scores` (in [0, 1]) and `labels` (of `classes`).
    """

    model: str
    licence: str
    classes: list[str]
    detect: Callable[[list[str]], list[dict[str, Any]]]

    @property
    def license(self) -> str:
        """SPDX identifier of the license of code and weights."""
        return self.licence


def serve(load: Callable[[], Detector]) -> None:
    """Answer requests until standard input ends; failures of the detector are answers, too."""
    out = _claim_stdout()
    try:
        detector = load()
    except Exception as error:  # noqa: BLE001 - foreign code: reported to the adapter
        _send(out, {"protocol": PROTOCOL, "error": _describe(error)})
        sys.exit(1)
    _send(
        out,
        {
            "protocol": PROTOCOL,
            "model": detector.model,
            "licence": detector.licence,
            "classes": list(detector.classes),
        },
    )
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {"id": request["id"]}
        try:
            answer["detections"] = detector.detect([image["path"] for image in request["images"]])
        except Exception as error:  # noqa: BLE001 - foreign code
            answer["error"] = _describe(error)
        _send(out, answer)


def read_ppm(path: str) -> tuple[int, int, bytes]:
    """Return height, width and row-major RGB bytes of a request's image."""
    with open(path, "rb") as file:
        kind, width, height, maximum = (file.readline(), *file.readline().split(), file.readline())
        if kind != b"P6\n" or maximum != b"255\n":
            raise ValueError(f"{path} must be a binary PPM with 8 bits per channel.")
        return int(height), int(width), file.read()


def _claim_stdout() -> TextIO:
    """Return standard output; redirect prints of foreign code, including C code, to stderr."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return out


def _send(out: TextIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
