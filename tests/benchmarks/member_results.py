"""What members give back, looked at by `bench_members`: whole, finite, and how much of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from cascade.engine import member_runner
from cascade.predictions import DepthMap, Detections, Embedding, Failure, Masks


class HalvedBatches(logging.Handler):
    """Remembers what the engine says while it tries again with smaller batches."""

    def __init__(self) -> None:
        super().__init__(level=logging.INFO)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.endswith("trying halves."):  # not what a member says of its precision
            self.records.append(record)

    def __enter__(self) -> HalvedBatches:
        member_runner.logger.setLevel(logging.INFO)
        member_runner.logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        member_runner.logger.removeHandler(self)


def expect_valid(one: Any) -> None:
    """Raise where a prediction is none; the values validate their shapes and ranges themselves."""
    if isinstance(one, Failure):
        raise RuntimeError(f"A prediction failed: {one}")
    if isinstance(one, Embedding):
        assert np.isfinite(one.vector).all()
        assert abs(np.linalg.norm(one.vector) - 1) < 1e-2
    elif isinstance(one, DepthMap):
        assert np.isfinite(one.depth).any(), "no pixel has a depth"
    elif isinstance(one, Masks):
        assert np.isfinite(one.scores).all()
    else:
        assert isinstance(one, Detections), type(one)
        assert np.isfinite(one.boxes_xyxy).all()
        assert np.isfinite(one.scores).all()


def counts(results: Mapping[str, Any]) -> float:
    """Return how many boxes or masks an image has, on average; 1 for vectors and depth."""
    each = [
        len(one.scores) if isinstance(one, Detections | Masks) else 1 for one in results.values()
    ]
    return sum(each) / len(each)


def tensors_in(raw: Any) -> Iterator[torch.Tensor]:
    """Return every tensor of a raw output."""
    if isinstance(raw, torch.Tensor):
        yield raw
    for one in raw.values() if isinstance(raw, Mapping) else raw if _is_row(raw) else ():
        yield from tensors_in(one)


def _is_row(raw: Any) -> bool:
    return isinstance(raw, list | tuple)
