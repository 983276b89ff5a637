"""The `.pt` files of ultralytics' releases, read without running anything that they say.

Such a file pickles a whole model. Here every class that it names is replaced by an empty shell,
so not even a layer's own constructor runs (ultralytics' evaluates words of its YAML); the shells
bring the tensors, the YAML and the class names, and the network is built anew from these.
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
# Plain data that training leaves beside the model: metrics, options, paths.
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
    """What of a `.pt` is of use.

    Attributes:
        kind: Which of ultralytics' models it is, by the name of its class.
        yaml: The content of the model's YAML, unchecked.
        names: The class names.
        tensors: Parameters and buffers by name.
    """

    kind: str
    yaml: dict[str, Any]
    names: tuple[str, ...]
    tensors: dict[str, Tensor]


def read(path: Path, *, kinds: Collection[str] = _DETECTORS) -> Pickled:
    """Return the model of a `.pt` file.

    Args:
        path: The file.
        kinds: The classes that the model may be of, by name.

    Raises:
        CheckpointError: It is damaged, names anything but layers and plain data, or holds a
            model of no such kind.
    """
    try:
        named = frozenset(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        foreign = sorted(named - layer_names() - _DATA)
        if foreign:
            raise CheckpointError(
                f"{path} is refused: it names {', '.join(foreign)}, which are neither layers of "
                "torch or ultralytics nor plain data. A pickle can run what it names."
            )
        with _only_allowed(named):
            content = torch.load(path, map_location="cpu", weights_only=True)
        model = content.get("ema") or content["model"]
        return _of_model(model, kinds, origin=path)
    except CheckpointError:
        raise
    except _DAMAGES as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path} is no checkpoint of ultralytics: {type(error).__name__}: {reason}"
        ) from error


class _Shell:
    """What stands for a layer: its attributes, and nothing that could run."""

    origin: str


class _Dropped:
    """What stands for plain data that nobody reads."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


@contextmanager
def _only_allowed(names: frozenset[str]) -> Iterator[None]:
    """Let torch build shells of `names`, and nothing that the process allowed before."""
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


def _of_model(model: Any, kinds: Collection[str], *, origin: Path) -> Pickled:
    found = getattr(model, "origin", type(model).__name__)
    kind = found.removeprefix(_TASKS)
    if _TASKS + kind != found or kind not in kinds:
        raise CheckpointError(
            f"{origin} must hold a {' or '.join(sorted(kinds))} of ultralytics, got {found}."
        )
    yaml, names = model.yaml, model.names
    if not isinstance(yaml, dict):
        raise CheckpointError(f"{origin}: the model's YAML must be a dict, got {type(yaml)}.")
    listed = [names[i] for i in range(len(names))]
    if not all(isinstance(one, str) for one in listed):
        raise CheckpointError(f"{origin}: class names must be strings, got {listed}.")
    return Pickled(kind, dict(yaml), tuple(listed), dict(_tensors(model, "")))


def _tensors(shell: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    passing = shell._non_persistent_buffers_set
    kept = {name: one for name, one in shell._buffers.items() if name not in passing}
    parts: Mapping[str, Any] = {**shell._parameters, **kept}
    for name, one in parts.items():
        if isinstance(one, Tensor):  # a layer without a bias has None
            yield prefix + name, one.detach()
    for name, child in shell._modules.items():
        if child is not None:
            yield from _tensors(child, f"{prefix}{name}.")
