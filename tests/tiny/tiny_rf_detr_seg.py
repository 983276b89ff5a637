"""A tiny RF-DETR with its mask head, in the hub's format."""

from __future__ import annotations

from pathlib import Path

from tiny_case import Case
from tiny_detr import RF_DETR, SIDE, save
from transformers import RfDetrConfig, RfDetrForInstanceSegmentation, RfDetrImageProcessor


def _write(folder: Path) -> Path:
    return save(
        folder,
        lambda: RfDetrForInstanceSegmentation(RfDetrConfig(**RF_DETR)),
        RfDetrImageProcessor(size={"height": SIDE, "width": SIDE}),
    )


CASES = {
    "rf_detr_seg": Case(adapter="rf_detr_seg", write=_write, members=("rf_detr_seg",)),
}
