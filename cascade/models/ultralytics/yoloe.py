"""YOLOE and YOLO-World of ultralytics (AGPL-3.0), kept as YAML and safetensors, not as a pickle.

A checkpoint is a folder that `export` makes, once, from a `.pt` file of ultralytics' releases:

    config.json           adapter, family, size, architecture: ultralytics' YAML
    weights.safetensors   the detector, without its parts for masks and visual prompts
    prompts.safetensors   the text tower's embedding of each prompt, (D,), under the prompt itself

The text tower is not needed again: another prompt is another row of prompts.safetensors. Boxes
are those of the one-to-many head with class-wise suppression, as ultralytics predicts them.

- [0] Cheng et al., YOLO-World: Real-Time Open-Vocabulary Object Detection, CVPR 2024
- [1] Wang et al., YOLOE: Real-Time Seeing Anything, ICCV 2025
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cascade.checkpoints import checkpoint as checkpoints
from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.imaging.letterbox import linear_letterbox
from cascade.models.detection.detector_head import open_checkpoint
from cascade.models.detection.nms import suppressed
from cascade.models.huggingface.prompts import prompts_of
from cascade.models.ultralytics import pickle_reader
from cascade.models.ultralytics.network import (
    detection_model,
    refuse_activation,
    refuse_foreign_rows,
)
from cascade.predictions import Detections
from cascade.protocols import Tensors
from cascade.taxonomy import Taxonomy

ADAPTER = "yoloe"
PROMPTS = "prompts.safetensors"

# Where each of ultralytics' classes keeps the embeddings that it compares with.
_EMBEDDINGS = {"YOLOEModel": "pe", "WorldModel": "txt_feats"}
_FAMILIES = {"YOLOEModel": "YOLOEModel", "YOLOESegModel": "YOLOEModel", "WorldModel": "WorldModel"}
_HEADS = {"YOLOESegment": "YOLOEDetect", "YOLOESegment26": "YOLOEDetect"}
_MODULES = {
    "C2PSA", "C2f", "C2fAttn", "C3k2", "Concat", "Conv", "ImagePoolingAttn", "SPPF",
    "WorldDetect", "YOLOEDetect", "nn.Upsample",
}  # fmt: skip
_TEXT_TOWERS = ("mobileclip:blt", "mobileclip2:b")  # the first where a YAML names none
_KEYS = {"backbone", "depth_multiple", "head", "nc", "reg_max", "scale", "scales", "width_multiple"}


class Yoloe:
    """The detector, asked for the prompts of a taxonomy.

    Args:
        checkpoint: A folder that `export` made.
        taxonomy: Whose prompts are asked for; the folder must hold their embeddings.

    Raises:
        CheckpointError: The folder is absent, damaged, another adapter's, or lacks a prompt.
    """

    def __init__(self, checkpoint: Path | None = None, *, taxonomy: Taxonomy) -> None:
        if checkpoint is None:
            raise CheckpointError(
                "A YOLOE or YOLO-World needs a checkpoint: a folder that "
                "`cascade.models.ultralytics.yoloe.export` made from ultralytics' file."
            )
        config, tensors = open_checkpoint(
            checkpoint, adapter=ADAPTER, keys=("family", "size", "architecture")
        )
        family, architecture = config["family"], config["architecture"]
        _refuse_foreign(family, architecture, origin=checkpoint)
        self.size: int = config["size"]
        self.classes = prompts_of(taxonomy)
        self.module = _build(family, architecture, origin=checkpoint)
        checkpoints.restore(self.module, tensors, origin=checkpoint)
        _ask_for(self.module, _embeddings(checkpoint / PROMPTS, self.classes))

    def prepare(self, batch: Batch) -> Tensors:
        """Return the letterboxed images, as ultralytics makes them."""
        return {"view": self._letterbox(batch)[0]}

    def forward(self, tensors: Tensors) -> Tensor:
        """Return pixel corners and scores of every cell, shape (B, 4 + C, cells)."""
        pixels = (tensors["view"].float() / 255).contiguous(memory_format=torch.channels_last)
        if not len(pixels):  # ultralytics cannot reshape what has no rows
            return pixels.new_zeros((0, 4 + len(self.classes), 1))
        raw: Tensor = self.module(pixels)[0]
        return raw

    def decode(self, raw: Tensor, batch: Batch) -> list[Detections]:
        """Return the boxes of each image, after class-wise suppression."""
        boxes, scores = torch.split(raw.float().transpose(1, 2), [4, len(self.classes)], dim=2)
        return suppressed(boxes, scores, self._letterbox(batch)[1], self.classes)

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
    """Make a checkpoint of ultralytics' model: to be done once, where it was downloaded.

        export(Path("yoloe-26x-seg.pt"), folder, prompts=prompts_of(taxonomy.load("roadwork")))

    Nothing that the file says is run: see `ultralytics_pickle`.

    Args:
        pt: A YOLOE or YOLO-World of ultralytics' releases, prompt-free ones aside.
        folder: Where to write; a checkpoint that is there is replaced.
        prompts: What it can be asked for later.
        embeddings: Of the prompts, shape (P, D), as its `get_text_pe` gives them; None to ask
            that, which downloads the text tower.
        size: Height and width of the view that it works on, in pixels; a multiple of 32.

    Raises:
        CheckpointError: The file is damaged, names what could run, holds another kind of model,
            or a fused one; embeddings do not fit the prompts; or the place cannot be written to.
    """
    pickled = pickle_reader.read(pt, kinds=_FAMILIES)
    family, architecture = _FAMILIES[pickled.kind], _detecting_only(pickled.yaml, origin=pt)
    trimmed = _build(family, architecture, origin=pt)
    kept = _restored(trimmed, pickled.tensors, origin=pt)
    if embeddings is None:
        whole = _build(family, architecture, origin=pt, trim=False)
        _restored(whole, pickled.tensors, origin=pt)
        embeddings = _of_text_tower(whole, prompts, pickled.yaml, origin=pt)
    if embeddings.ndim != 2 or len(embeddings) != len(prompts):
        raise CheckpointError(
            f"embeddings must have shape ({len(prompts)}, D), got {tuple(embeddings.shape)}."
        )
    rows = {name: row.detach().cpu().clone() for name, row in zip(prompts, embeddings, strict=True)}
    config = {"adapter": ADAPTER, "family": family, "size": size, "architecture": architecture}
    _write(folder, config, kept, rows)


def _restored(module: Any, tensors: Mapping[str, Tensor], *, origin: Path) -> dict[str, Tensor]:
    """Copy into the module what it needs of `tensors`, and return that."""
    kept = {name: tensors[name] for name in checkpoints.state(module) if name in tensors}
    checkpoints.restore(module, kept, origin=f"{origin} (is it fused, or prompt-free?)")
    return kept


def _of_text_tower(
    network: Any, prompts: Sequence[str], yaml: Mapping[str, Any], *, origin: Path
) -> Tensor:
    """Return the prompts' embeddings, (P, D), by the text tower that the YAML names."""
    tower = yaml.get("text_model", _TEXT_TOWERS[0])
    if tower not in _TEXT_TOWERS:
        raise CheckpointError(
            f"{origin}: `text_model` must be {' or '.join(_TEXT_TOWERS)}, got {tower!r}."
        )
    network.text_model = tower  # YOLO-World, which has but one, does not look at it
    try:
        embeddings: Tensor = network.get_text_pe(list(prompts))[0]
    except ImportError as error:
        raise CheckpointError(
            f"The text tower cannot be asked: {error}. Install what it needs, "
            "https://github.com/ultralytics/CLIP, or give `embeddings`."
        ) from error
    return embeddings


def _write(
    folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor], rows: dict[str, Tensor]
) -> None:
    """Write all three files, or none."""
    draft = folder.with_name(f".{folder.name}.{uuid4().hex}")
    try:
        checkpoints.save(draft, config, weights)
        save_file(rows, draft / PROMPTS)
        (draft / PROMPTS).chmod(0o644)  # safetensors makes it private
        checkpoints.put_in_place(draft, folder)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"The checkpoint {folder} cannot be written: {error}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _detecting_only(yaml: Mapping[str, Any], *, origin: Path) -> dict[str, Any]:
    """Return an architecture of ultralytics without masks and without a one-to-one head."""
    refuse_activation(yaml, origin=origin)
    kept = {key: deepcopy(one) for key, one in yaml.items() if key in _KEYS}
    _refuse_foreign_layers(kept, layers=_MODULES | _HEADS.keys(), origin=origin)
    inputs, repeats, layer, arguments = kept["head"][-1]
    if layer in _HEADS:
        kept["head"][-1] = [inputs, repeats, _HEADS[layer], [*arguments[:1], *arguments[3:]]]
    return kept


def _build(
    family: str, architecture: Mapping[str, Any], *, origin: object, trim: bool = True
) -> Any:
    """Return the network, with whatever weights.

    Trimmed, it is without visual prompts and without what adapts the text tower's embeddings.
    """
    detection_model()  # imports ultralytics without traces
    from ultralytics.nn import tasks

    content = {**deepcopy(dict(architecture)), "end2end": False}
    try:
        with torch.random.fork_rng(devices=()):
            module = getattr(tasks, family)(content, ch=3, nc=content["nc"], verbose=False)
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise CheckpointError(f"{origin}: its YAML describes no network: {e!r}.") from e
    head = module.model[-1]
    head.xyxy = True  # corners, not centre and sides
    for part in ("reprta", "savpe"):
        if trim and hasattr(head, part):
            setattr(head, part, nn.Identity())
    return module.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def _ask_for(module: Any, embeddings: Tensor) -> None:
    """Make `embeddings`, shape (C, D), what is compared with; they move with the module."""
    name = _EMBEDDINGS[type(module).__name__]
    if hasattr(module, name):
        delattr(module, name)
    module.register_buffer(name, embeddings[None], persistent=False)
    module.model[-1].nc = len(embeddings)


def _embeddings(file: Path, prompts: Sequence[str]) -> Tensor:
    """Return the prompts' embeddings, shape (C, D)."""
    if not file.is_file():
        raise CheckpointError(f"There is no {file}: it holds the prompts' embeddings.")
    try:
        rows = load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file} is damaged: {error}.") from error
    absent = [one for one in prompts if one not in rows]
    if absent:
        raise CheckpointError(
            f"{file} has no embedding of {absent[0]!r} ({len(absent)} of {len(prompts)} prompts "
            "are missing). Add them, or make the checkpoint anew with `export`."
        )
    if len({rows[one].shape for one in prompts}) != 1 or rows[prompts[0]].ndim != 1:
        raise CheckpointError(f"{file} must hold vectors of one length.")
    return torch.stack([rows[one].float() for one in prompts])


def _refuse_foreign(family: Any, architecture: Any, *, origin: Path) -> None:
    """Raise for an architecture that ultralytics would have to evaluate or look up freely."""
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
    """Raise for layers that are none of `layers`, or where there are none."""
    needed = ("backbone", "head", "nc")
    if not set(needed) <= set(architecture):
        raise CheckpointError(f"{origin}: its YAML must have the keys {', '.join(needed)}.")
    parts = (architecture["backbone"], architecture["head"])
    if not all(isinstance(part, list) and part for part in parts):
        raise CheckpointError(f"{origin}: `backbone` and `head` must be lists of layers.")
    refuse_foreign_rows(architecture, layers=layers, origin=str(origin))
