"""Rendered road-work scenes with exact boxes: data for demos and tests without a download.

Requires NumPy and OpenCV only. `drive_scenes` and `scenes` render lazily; `write_dataset` writes a
COCO dataset to disk.
"""

from curation.demo.dataset import write_dataset
from curation.demo.domain import DEPLOYMENT, PRETRAIN, Domain, Palette
from curation.demo.drive import drive_scenes, scenes
from curation.demo.scene import CLASSES, HEIGHT, ROADWORK, WIDTH, Scene

__all__ = [
    "CLASSES",
    "DEPLOYMENT",
    "HEIGHT",
    "PRETRAIN",
    "ROADWORK",
    "WIDTH",
    "Domain",
    "Palette",
    "Scene",
    "drive_scenes",
    "scenes",
    "write_dataset",
]
