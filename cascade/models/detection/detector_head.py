"""Shared steps of detectors: pack targets, unpack boxes, transfer weights to other classes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torchvision.ops import batched_nms, box_convert

from cascade.checkpoints import checkpoint
from cascade.errors import BadPredictionsError, CheckpointError
from cascade.predictions import Detections

MIN_SCORE = 0.01
MAX_BOXES = 100  # per image
NMS_IOU = 0.6  # equals the manifest's fusion threshold

ClassMapping = Callable[[str], str | None]  # from a model's class name to a new class


class _Retargetable(Protocol):
    classes: tuple[str, ...]
    module: Any


DetectorT = TypeVar("DetectorT", bound=_Retargetable)


def to_detections(
    boxes_xyxy: Tensor,
    scores: Tensor,
    class_ids: Tensor,
    classes: tuple[str, ...],
    *,
    nms_iou: float | None,
) -> Detections:
    """Return the best boxes of one image, highest score first.

    Args:
        boxes_xyxy: Relative corners, shape (N, 4); clipped to the image.
        scores: Scores in [0, 1], shape (N,); boxes below 0.01 are dropped.
        class_ids: Indices into `classes`, shape (N,).
        classes: Class names.
        nms_iou: IoU above which boxes of one class are duplicates; None disables suppression.
    """
    # For a few hundred boxes, launching GPU kernels takes longer than sorting on the CPU.
    boxes_xyxy, scores, class_ids = boxes_xyxy.cpu(), scores.cpu(), class_ids.cpu()
    boxes, scores = boxes_xyxy.float().clamp(0, 1), scores.float().clamp(0, 1)
    order = scores.sort(descending=True, stable=True).indices
    order = order[scores[order] >= MIN_SCORE]
    if nms_iou is not None:
        order = order[batched_nms(boxes[order], scores[order], class_ids[order], nms_iou)]
    order = order[:MAX_BOXES]
    corners = boxes[order].numpy()
    corners[:, 2:] = np.maximum(corners[:, :2], corners[:, 2:])
    return Detections(
        boxes_xyxy=corners,
        scores=scores[order].numpy(),
        class_ids=class_ids[order].long().numpy(),
        classes=classes,
    )


def flatten_targets(
    targets: Sequence[Detections], classes: tuple[str, ...], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return all M boxes of a batch: image index (M,), class index (M,), boxes (M, 4) xyxy.

    Raises:
        BadPredictionsError: A target's classes differ from `classes`.
    """
    for target in targets:
        if target.classes != classes:
            raise BadPredictionsError(
                f"targets must use the model's classes {list(classes)}, got {list(target.classes)}."
            )
    image = np.repeat(np.arange(len(targets)), [len(target) for target in targets])
    boxes = np.concatenate([target.boxes_xyxy for target in targets]).astype(np.float32)
    class_ids = np.concatenate([target.class_ids for target in targets])
    return (
        torch.from_numpy(image).to(device),
        torch.from_numpy(class_ids).to(device),
        torch.from_numpy(boxes).to(device),
    )


def detr_labels(
    targets: Sequence[Detections], classes: tuple[str, ...], device: torch.device
) -> list[dict[str, Tensor]]:
    """Return each image's targets in the format of the detection losses in transformers.

    Raises:
        BadPredictionsError: A target's classes differ from `classes`.
    """
    _, class_ids, boxes = flatten_targets(targets, classes, device)
    counts = [len(target) for target in targets]
    centers = torch.split(box_convert(boxes, "xyxy", "cxcywh"), counts)
    pairs = zip(torch.split(class_ids, counts), centers, strict=True)
    return [{"class_labels": ids, "boxes": rows} for ids, rows in pairs]


def transfer_weights(
    old: nn.Module,
    new: nn.Module,
    *,
    is_class_tensor: Callable[[str], bool],
    old_classes: Sequence[str],
    new_classes: Sequence[str],
    meaning: ClassMapping | None,
) -> None:
    """Copy the weights of `old` into `new`, which has other classes.

    A class tensor has one row per class. Rows of classes with the same meaning are copied (case
    is ignored, the first of several wins), the others keep their initialization. Rows after the
    classes, such as a padding row, are copied from the end. All other tensors are copied, except
    those whose shape depends on the number of classes.
    """
    source = checkpoint.state(old)
    old_rows: dict[str, int] = {}
    for i, name in enumerate(old_classes):
        old_rows.setdefault(((meaning(name) if meaning else None) or name).casefold(), i)
    pairs = [
        (i, old_rows[name.casefold()])
        for i, name in enumerate(new_classes)
        if name.casefold() in old_rows
    ]
    with torch.no_grad():
        for name, tensor in checkpoint.state(new).items():
            if not is_class_tensor(name):
                if tensor.shape == source[name].shape:
                    tensor.copy_(source[name])
                continue
            if tensor.shape[1:] != source[name].shape[1:]:
                continue
            for new_row, old_row in pairs:
                tensor[new_row] = source[name][old_row]
            tensor[len(new_classes) :] = source[name][len(old_classes) :]


def retarget(
    model: DetectorT,
    classes: tuple[str, ...],
    module: nn.Module,
    *,
    is_class_tensor: Callable[[str], bool],
    meaning: ClassMapping | None,
    trained: nn.Module | None = None,
) -> DetectorT:
    """Return a copy of a detector with other classes and a new module.

    Args:
        model: Detector with `classes` and `module`.
        classes: Class names of the copy.
        module: Network of the copy; learned weights are transferred to it.
        is_class_tensor: Whether the tensor of that name has one row per class.
        meaning: Maps a name of the old classes to a new one.
        trained: Source of the weights; None for the model's own module.
    """
    transfer_weights(
        model.module if trained is None else trained,
        module,
        is_class_tensor=is_class_tensor,
        old_classes=model.classes,
        new_classes=classes,
        meaning=meaning,
    )
    other = copy(model)
    other.classes, other.module = classes, module
    return other


def open_checkpoint(
    folder: Path, *, adapter: str, keys: Collection[str]
) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
    """Return config and tensors of a checkpoint written by `adapter`.

    Raises:
        CheckpointError: The checkpoint is missing, for another adapter, or lacks one of `keys`.
    """
    config, tensors = checkpoint.load(folder)
    if config.get("adapter") != adapter:
        raise CheckpointError(
            f"{folder} is a checkpoint of the adapter {config.get('adapter')!r}, "
            f"expected {adapter!r}."
        )
    for key in keys:
        if key not in config:
            raise CheckpointError(f"{folder}: config.json has no {key!r}.")
    return config, tensors


def require_classes(classes: Sequence[str] | None) -> tuple[str, ...]:
    """Return the class names of a new network.

    Raises:
        CheckpointError: `classes` is missing or empty.
    """
    if not classes:
        raise CheckpointError(
            "A detector needs a checkpoint, or the parameter `classes` for a new network."
        )
    return tuple(classes)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a draft folder that replaces `folder` when the block succeeds.

    Raises:
        CheckpointError: The block, or the replacement, failed to write.
    """
    draft = folder.with_name(f".{folder.name}.{uuid4().hex}")
    try:
        yield draft
        checkpoint.replace_folder(draft, folder)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"Cannot write the checkpoint {folder}: {error}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
