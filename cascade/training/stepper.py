"""Training steps: loss, gradient, clipping and update with AdamW."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from cascade.errors import TrainingError
from cascade.predictions import Detections
from cascade.protocols import Tensors, Trainable
from cascade.training.data_parallel import ProcessGroup

WARM_UP = 0.1  # share of the steps with a rising learning rate
WEIGHT_DECAY = 1e-4
MAX_GRADIENT_NORM = 1.0


@runtime_checkable
class Paced(Protocol):
    """A model with lower learning rates for some of its parameters."""

    def pace(self, name: str) -> float:
        """Return the factor of the learning rate for a parameter of `module`, above 0."""
        ...


def one_cycle(share: float) -> float:
    """Return the factor of the learning rate after `share` of the steps, in [0.01, 1]."""
    if share < WARM_UP:
        return 0.1 + 0.9 * share / WARM_UP
    down = (share - WARM_UP) / (1 - WARM_UP)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(down, 1.0))) / 2


class Stepper:
    """Takes training steps, together with the other processes of the group."""

    def __init__(self, model: Trainable, *, learning_rate: float, device: torch.device) -> None:
        self._model, self._device = model, device
        self._max_learning_rate = learning_rate
        self._group = ProcessGroup.current()
        named = {n: p for n, p in model.module.named_parameters() if p.requires_grad}
        if not named:
            raise TrainingError(
                "Nothing in the model can be trained: it was loaded for prediction. "
                "Use `model.with_classes(...)`, which returns a trainable model."
            )
        self._parameters = list(named.values())
        by_pace: dict[float, list[Tensor]] = {}
        for name, parameter in named.items():
            pace = model.pace(name) if isinstance(model, Paced) else 1.0
            by_pace.setdefault(pace, []).append(parameter)
        self._paces = tuple(by_pace)
        self._optimizer = torch.optim.AdamW(
            [{"params": parameters} for parameters in by_pace.values()],
            lr=learning_rate,
            weight_decay=WEIGHT_DECAY,
        )

    @property
    def state(self) -> dict[str, Tensor]:
        """The optimizer's state, by parameter number and kind: `NUMBER.KIND`."""
        rows = self._optimizer.state_dict()["state"]
        return {f"{i}.{kind}": tensor for i, row in rows.items() for kind, tensor in row.items()}

    @state.setter
    def state(self, tensors: Mapping[str, Tensor]) -> None:
        rows: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            number, _, kind = name.partition(".")
            rows.setdefault(int(number), {})[kind] = tensor
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": rows, "param_groups": groups})

    def step(self, tensors: Tensors, targets: Sequence[Detections], *, share: float) -> float:
        """Take one step after `share` of all steps, and return its loss.

        Every process of a group must call it, even without images.

        Raises:
            TrainingError: The loss is not finite; the weights are unchanged.
        """
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._backward(tensors, targets) if targets else 0.0
        loss = self._group.average_gradients(
            self._parameters, loss=loss, images=len(targets), device=self._device
        )
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss}. Lower the learning rate (now "
                f"{self._max_learning_rate:g}), or check the ground truth for invalid boxes."
            )
        for group, pace in zip(self._optimizer.param_groups, self._paces, strict=True):
            group["lr"] = self._max_learning_rate * pace * one_cycle(share)
        nn.utils.clip_grad_norm_(self._parameters, MAX_GRADIENT_NORM)
        self._optimizer.step()
        return loss

    def _backward(self, tensors: Tensors, targets: Sequence[Detections]) -> float:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            loss = self._model.loss(tensors, targets)
        value = float(loss.detach())
        if math.isfinite(value):
            torch.autograd.backward(loss)
        return value
