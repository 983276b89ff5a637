"""YOLOE and YOLO-World from Ultralytics (AGPL-3.0), stored as YAML and safetensors, not pickles.

A checkpoint is a folder that `export` creates, once, from a `.pt` file of an Ultralytics release:

    config.json           adapter, family, size, architecture: the Ultralytics YAML
    weights.safetensors   the detector, without its layers for masks and visual prompts
    prompts.safetensors   the text tower's embedding, (D,), of each prompt, with the prompt as key

Prediction does not need the text tower: another prompt is another row of prompts.safetensors.
As in ultralytics, boxes come from the one-to-many head with class-wise suppression.

- [0] Cheng et al., YOLO-World: Real-Time Open-Vocabulary Object Detection, CVPR 2024
- [1] Wang et al., YOLOE: Real-Time Seeing Anything, ICCV 2025
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cascade.checkpoints.checkpoint import restore, save, state
from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.imaging.letterbox import linear_letterbox
from cascade.models.detection.detector_head import atomic_folder, open_checkpoint
from cascade.models.detection.nms import class_wise_nms
from cascade.models.huggingface.prompts import prompts_of
from cascade.models.ultralytics import pickle_reader
from cascade.models.ultralytics.network import (
    build_network,
    refuse_activation,
    refuse_foreign_rows,
    to_pixels,
)
from cascade.predictions import Detections
from cascade.protocols import Tensors
from cascade.taxonomy import Taxonomy

ADAPTER = "yoloe"
PROMPTS = "prompts.safetensors"

# Attribute of each Ultralytics class that holds the prompts' embeddings.
_EMBEDDINGS = {"YOLOEModel": "pe", "WorldModel": "txt_feats"}
_FAMILIES = {"YOLOEModel": "YOLOEModel", "YOLOESegModel": "YOLOEModel", "WorldModel": "WorldModel"}
_HEADS = {"YOLOESegment": "YOLOEDetect", "YOLOESegment26": "YOLOEDetect"}
_MODULES = {
    "C2PSA", "C2f", "C2fAttn", "C3k2", "Concat", "Conv", "ImagePoolingAttn", "SPPF",
    "WorldDetect", "YOLOEDetect", "nn.Upsample",
}  # fmt: skip
_TEXT_TOWERS = ("mobileclip:blt", "mobileclip2:b")  # the first is the default of a YAML
_KEYS = {"backbone", "depth_multiple", "head", "nc", "reg_max", "scale", "scales", "width_multiple"}


class Yoloe:
    """Open-vocabulary detector, prompted with a taxonomy.

    Args:
        checkpoint: Folder created by `export`.
        taxonomy: Source of the prompts; the folder must contain their embeddings.

    Raises:
        CheckpointError: The folder is missing, damaged, for another adapter, or lacks a prompt.
    """

    def __init__(self, checkpoint: Path | None = None, *, taxonomy: Taxonomy) -> None:
        if checkpoint is None:
            raise CheckpointError(
                "YOLOE and YOLO-World need a checkpoint: a folder that "
                "`cascade.models.ultralytics.yoloe.export` created from an Ultralytics file."
            )
        config, tensors = open_checkpoint(
            checkpoint, adapter=ADAPTER, keys=("family", "size", "architecture")
        )
        family, architecture = config["family"], config["architecture"]
        _check_architecture(family, architecture, origin=checkpoint)
        self.size: int = config["size"]
        self.classes = prompts_of(taxonomy)
        self.module = _build(family, architecture, origin=checkpoint)
        restore(self.module, tensors, origin=checkpoint)
        _set_prompts(self.module, _read_embeddings(checkpoint / PROMPTS, self.classes))

    def prepare(self, batch: Batch) -> Tensors:
        """Return the letterboxed images, (B, 3, H, W), uint8."""
        return {"view": self._letterbox(batch)[0]}

    def forward(self, tensors: Tensors) -> Tensor:
        """Return pixel corners and scores of every cell, shape (B, 4 + C, cells)."""
        pixels = to_pixels(tensors["view"])
        if not len(pixels):  # ultralytics cannot reshape an empty batch
            return pixels.new_zeros((0, 4 + len(self.classes), 1))
        raw: Tensor = self.module(pixels)[0]
        return raw

    def decode(self, raw: Tensor, batch: Batch) -> list[Detections]:
        """Return the boxes of each image, after class-wise suppression."""
        boxes, scores = torch.split(raw.float().transpose(1, 2), [4, len(self.classes)], dim=2)
        return class_wise_nms(boxes, scores, self._letterbox(batch)[1], self.classes)

    def _letterbox(self, batch: Batch) -> Any:
        return linear_letterbox(batch, self.size, "ultralytics")


def export(
    pt: Path,
    folder: Path,
    *,
    prompts: Sequence[str],
    embeddings: Tensor | None = None,
    size: int = 640,
) -> None:
    """Convert an Ultralytics model to a checkpoint, once, on a machine with network access.

        export(Path("yoloe-26x-seg.pt"), folder, prompts=prompts_of(taxonomy.load("roadwork")))

    The file's content is never executed: see `pickle_reader`.

    Args:
        pt: YOLOE or YOLO-World from an Ultralytics release, except prompt-free models.
        folder: Destination; an existing checkpoint is replaced.
        prompts: Prompts that the checkpoint will support.
        embeddings: Embeddings of the prompts, shape (P, D), as returned by `get_text_pe`; None
            computes them with the text tower, which is downloaded.
        size: Height and width of the view, in pixels; a multiple of 32.

    Raises:
        CheckpointError: The file is damaged or refused, or contains another or a fused model; the
            embeddings do not fit the prompts; or the folder is not writable.
    """
    pickled = pickle_reader.read(pt, kinds=_FAMILIES)
    family, architecture = _FAMILIES[pickled.kind], _detection_architecture(pickled.yaml, origin=pt)
    trimmed = _build(family, architecture, origin=pt)
    weights = _restore_subset(trimmed, pickled.tensors, origin=pt)
    if embeddings is None:
        network = _build(family, architecture, origin=pt, trim=False)
        _restore_subset(network, pickled.tensors, origin=pt)
        embeddings = _compute_embeddings(network, prompts, pickled.yaml, origin=pt)
    if embeddings.ndim != 2 or len(embeddings) != len(prompts):
        raise CheckpointError(
            f"embeddings must have shape ({len(prompts)}, D), got {tuple(embeddings.shape)}."
        )
    rows = {name: row.detach().cpu().clone() for name, row in zip(prompts, embeddings, strict=True)}
    config = {"adapter": ADAPTER, "family": family, "size": size, "architecture": architecture}
    with atomic_folder(folder) as draft:
        save(draft, config, weights)
        save_file(rows, draft / PROMPTS)
        (draft / PROMPTS).chmod(0o644)  # safetensors creates private files


def _restore_subset(
    module: Any, tensors: Mapping[str, Tensor], *, origin: Path
) -> dict[str, Tensor]:
    """Copy the module's share of `tensors` into it, and return that share."""
    weights = {name: tensors[name] for name in state(module) if name in tensors}
    restore(module, weights, origin=f"{origin} (is it fused, or prompt-free?)")
    return weights


def _compute_embeddings(
    network: Any, prompts: Sequence[str], yaml: Mapping[str, Any], *, origin: Path
) -> Tensor:
    """Return the prompts' embeddings, (P, D), from the text tower that the YAML names."""
    tower = yaml.get("text_model", _TEXT_TOWERS[0])
    if tower not in _TEXT_TOWERS:
        raise CheckpointError(
            f"{origin}: `text_model` must be {' or '.join(_TEXT_TOWERS)}, got {tower!r}."
        )
    network.text_model = tower  # ignored by YOLO-World, which has only one tower
    try:
        embeddings: Tensor = network.get_text_pe(list(prompts))[0]
    except ImportError as error:
        raise CheckpointError(
            f"Cannot run the text tower: {error}. Install its package, "
            "https://github.com/ultralytics/CLIP, or pass `embeddings`."
        ) from error
    return embeddings


def _detection_architecture(yaml: Mapping[str, Any], *, origin: Path) -> dict[str, Any]:
    """Return an Ultralytics architecture without masks and without a one-to-one head."""
    refuse_activation(yaml, origin=origin)
    architecture = {key: deepcopy(value) for key, value in yaml.items() if key in _KEYS}
    _refuse_foreign_layers(architecture, layers=_MODULES | _HEADS.keys(), origin=origin)
    inputs, repeats, layer, arguments = architecture["head"][-1]
    if layer in _HEADS:
        row = [inputs, repeats, _HEADS[layer], [*arguments[:1], *arguments[3:]]]
        architecture["head"][-1] = row
    return architecture


def _build(
    family: str, architecture: Mapping[str, Any], *, origin: object, trim: bool = True
) -> Any:
    """Return an untrained network.

    `trim` removes the layers for visual prompts and those that adapt the text tower's embeddings.
    """
    architecture = {**architecture, "end2end": False}
    module = build_network(architecture, architecture["nc"], origin=origin, kind=family)
    head = module.model[-1]
    for part in ("reprta", "savpe"):
        if trim and hasattr(head, part):
            setattr(head, part, nn.Identity())
    return module.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def _set_prompts(module: Any, embeddings: Tensor) -> None:
    """Set the prompts' embeddings, shape (C, D), as a buffer, which moves with the module."""
    name = _EMBEDDINGS[type(module).__name__]
    if hasattr(module, name):
        delattr(module, name)
    module.register_buffer(name, embeddings[None], persistent=False)
    module.model[-1].nc = len(embeddings)


def _read_embeddings(file: Path, prompts: Sequence[str]) -> Tensor:
    """Return the prompts' embeddings, shape (C, D)."""
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: it contains the prompts' embeddings.")
    try:
        rows = load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file} is damaged: {error}.") from error
    missing = [prompt for prompt in prompts if prompt not in rows]
    if missing:
        raise CheckpointError(
            f"{file} has no embedding of {missing[0]!r} ({len(missing)} of {len(prompts)} prompts "
            "are missing). Add them, or recreate the checkpoint with `export`."
        )
    if len({rows[prompt].shape for prompt in prompts}) != 1 or rows[prompts[0]].ndim != 1:
        raise CheckpointError(f"{file} must contain vectors of equal length.")
    return torch.stack([rows[prompt].float() for prompt in prompts])


def _check_architecture(family: Any, architecture: Any, *, origin: Path) -> None:
    """Raise for an architecture whose construction could run arbitrary code."""
    if family not in _EMBEDDINGS:
        raise CheckpointError(
            f"{origin}: `family` must be {' or '.join(_EMBEDDINGS)}, got {family!r}."
        )
    if not isinstance(architecture, dict) or not set(architecture) <= _KEYS:
        raise CheckpointError(f"{origin}: `architecture` may have the keys {sorted(_KEYS)} only.")
    _refuse_foreign_layers(architecture, layers=_MODULES, origin=origin)


def _refuse_foreign_layers(
    architecture: Mapping[str, Any], *, layers: Collection[str], origin: Path
) -> None:
    """Raise for missing layers, and for layers other than `layers`."""
    required = ("backbone", "head", "nc")
    if not set(required) <= set(architecture):
        raise CheckpointError(f"{origin}: the YAML must have the keys {', '.join(required)}.")
    parts = (architecture["backbone"], architecture["head"])
    if not all(isinstance(part, list) and part for part in parts):
        raise CheckpointError(f"{origin}: `backbone` and `head` must be lists of layers.")
    refuse_foreign_rows(architecture, layers=layers, origin=str(origin))
