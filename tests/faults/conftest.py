"""A small dataset and ensemble that complete a round in a minute."""

import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from curation.demo.dataset import write_dataset

_MANIFEST = """
name: two
members:
  - {name: mobilenet, tier: embedding, adapter: mobilenet, license: MIT, batch_size: 2}
  - {name: plain, tier: detection, adapter: center_point, source: "package:tiny_center",
     license: Apache-2.0, batch_size: 2}
  - {name: confused, tier: detection, adapter: center_point, source: CONFUSED,
     license: Apache-2.0, batch_size: 2}
"""


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Rendered drives with boxes, in three splits: about 65 images."""
    return write_dataset(
        tmp_path_factory.mktemp("demo") / "scenes",
        n_drives_by_split={"train": 4, "val": 2, "test": 2},
        seed=1,
    )


@pytest.fixture(scope="session")
def manifest(tmp_path_factory):
    """Manifest of an ensemble of two fast detectors that disagree.

    The second one has its classes shifted by one, and therefore much to learn. The batches are
    small: predictions are written every 16 images.
    """
    folder = tmp_path_factory.mktemp("ensemble")
    shipped = Path(str(resources.files("cascade"))) / "weights" / "tiny_center"
    confused = shutil.copytree(shipped, folder / "confused")
    tensors = load_file(confused / "weights.safetensors")
    tensors |= {name: np.roll(tensors[name], 1, axis=0) for name in ("heat.weight", "heat.bias")}
    save_file(tensors, confused / "weights.safetensors")
    path = folder / "two.yaml"
    path.write_text(_MANIFEST.replace("CONFUSED", str(confused)))
    return path
