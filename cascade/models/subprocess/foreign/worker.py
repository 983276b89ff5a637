"""The loop of a detector that works in a Python environment of its own.

This file needs nothing but the standard library of Python 3.8 or later, and imports nothing of
ours, so that any environment can run it; the adapter `worker` puts it on the path:

    from worker import Detector, serve

    def load():
        network = ...                      # imports and weights: only here
        return Detector("my model", "MIT", ["cone", "drum"], detect)

    serve(load)

One JSON object a line: `hello` first, then one answer for each request. Standard output belongs
to the protocol; whatever foreign code prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TextIO

PROTOCOL = 1


class Detector(NamedTuple):
    """What `load` returns.

    Attributes:
        model: The model's name.
        licence: SPDX name of the licence of code and weights.
        classes: The names that it may give.
        detect: Takes paths of PPM images and returns, for each, a dict of `boxes_xyxy` (relative
            corners in [0, 1]), `scores` (in [0, 1]) and `labels` (of `classes`).
    """

    model: str
    licence: str
    classes: list[str]
    detect: Callable[[list[str]], list[dict[str, Any]]]


def serve(load: Callable[[], Detector]) -> None:
    """Answer requests until standard input ends; a failure of the detector is an answer, too."""
    out = _claim_stdout()
    try:
        detector = load()
    except Exception as error:  # noqa: BLE001 - foreign code: the adapter is told
        _say(out, {"protocol": PROTOCOL, "error": _told(error)})
        sys.exit(1)
    _say(
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
            answer["detections"] = detector.detect([one["path"] for one in request["images"]])
        except Exception as error:  # noqa: BLE001 - likewise
            answer["error"] = _told(error)
        _say(out, answer)


def read_ppm(path: str) -> tuple[int, int, bytes]:
    """Return height, width and RGB bytes, row by row, of an image that a request names."""
    with open(path, "rb") as file:
        kind, width, height, most = (file.readline(), *file.readline().split(), file.readline())
        if kind != b"P6\n" or most != b"255\n":
            raise ValueError(f"{path} is no binary PPM of 8 bits.")
        return int(height), int(width), file.read()


def _claim_stdout() -> TextIO:
    """Keep standard output to ourselves: foreign prints, also those of C code, go to stderr."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return out


def _say(out: TextIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
