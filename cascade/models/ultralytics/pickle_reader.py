"""Reader for Ultralytics `.pt` files that does not execute their content.

Such a file is a pickled model. Every class that it names is replaced by an empty shell; even a
layer's constructor does not run, since ultralytics evaluates strings of the YAML. The shells
provide the tensors, the YAML and the class names, from which the network is rebuilt.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cascade.errors import CheckpointError
from cascade.models.ultralytics.network import layer_names

_TASKS = "ultralytics.nn.tasks."
_DETECTORS = ("DetectionModel",)
# Plain data that training stores with the model: metrics, options, paths.
_DATA = frozenset(
    {
        "numpy.dtype",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtypes.Float64DType",
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
        "ultralytics.utils.IterableSimpleNamespace",
    }
)
_DAMAGES = (
    pickle.UnpicklingError, struct.error, AssertionError, AttributeError, EOFError, IndexError,
    KeyError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class Pickled:
    """Content of a `.pt` file.

    Attributes:
        kind: Class name of the model in ultralytics.
        yaml: Content of the model's YAML, unchecked.
        names: Class names.
        tensors: Parameters and buffers by name.
    """

    kind: str
    yaml: dict[str, Any]
    names: tuple[str, ...]
    tensors: dict[str, Tensor]


def read(path: Path, *, kinds: Collection[str] = _DETECTORS) -> Pickled:
    """Return the model of a `.pt` file.

    Args:
        path: File.
        kinds: Accepted class names of the model.

    Raises:
        CheckpointError: The file is damaged, names anything but layers and plain data, or
            contains a model of another kind.
    """
    try:
        class_names = frozenset(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        foreign = sorted(class_names - layer_names() - _DATA)
        if foreign:
            raise CheckpointError(
                f"{path} is refused: it names {', '.join(foreign)}, which are neither layers of "
                "torch or ultralytics nor plain data. A pickle can execute everything it names."
            )
        with _shells_only(class_names):
            content = torch.load(path, map_location="cpu", weights_only=True)
        model = content.get("ema") or content["model"]
        return _read_model(model, kinds, origin=path)
    except CheckpointError:
        raise
    except _DAMAGES as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path} is not an Ultralytics checkpoint: {type(error).__name__}: {reason}"
        ) from error


class _Shell:
    """Stand-in of a layer: its attributes without its code."""

    origin: str


class _Dropped:
    """Stand-in of plain data that is not used."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


@contextmanager
def _shells_only(names: frozenset[str]) -> Iterator[None]:
    """Let torch load only shells of `names`, regardless of the classes allowed so far."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with torch.serialization.safe_globals([(_stand_in(name), name) for name in names]):
            yield
    finally:
        torch.serialization.add_safe_globals(before)


def _stand_in(name: str) -> type[Any]:
    base = _Dropped if name in _DATA else _Shell
    return type(name.rpartition(".")[2], (base,), {"origin": name})


def _read_model(model: Any, kinds: Collection[str], *, origin: Path) -> Pickled:
    class_name = getattr(model, "origin", type(model).__name__)
    kind = class_name.removeprefix(_TASKS)
    if _TASKS + kind != class_name or kind not in kinds:
        raise CheckpointError(
            f"{origin} must contain an Ultralytics {' or '.join(sorted(kinds))}, got {class_name}."
        )
    yaml = model.yaml
    if not isinstance(yaml, dict):
        raise CheckpointError(f"{origin}: the model's YAML must be a dict, got {type(yaml)}.")
    names = [model.names[i] for i in range(len(model.names))]
    if not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{origin}: class names must be strings, got {names}.")
    return Pickled(kind, dict(yaml), tuple(names), dict(_tensors(model, "")))


def _tensors(shell: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    transient = shell._non_persistent_buffers_set
    buffers = {name: value for name, value in shell._buffers.items() if name not in transient}
    tensors: Mapping[str, Any] = {**shell._parameters, **buffers}
    for name, value in tensors.items():
        if isinstance(value, Tensor):  # a missing bias is None
            yield prefix + name, value.detach()
    for name, child in shell._modules.items():
        if child is not None:
            yield from _tensors(child, f"{prefix}{name}.")
