"""A small world that a whole round runs through in seconds."""

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
  - {name: mobilenet, tier: embedding, adapter: mobilenet, licence: MIT, batch_size: 2}
  - {name: plain, tier: detection, adapter: center_point, source: "package:tiny_center",
     licence: Apache-2.0, batch_size: 2}
  - {name: shaken, tier: detection, adapter: center_point, source: SHAKEN,
     licence: Apache-2.0, batch_size: 2}
"""


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Rendered drives with boxes, in three splits: about 90 images."""
    return write_dataset(
        tmp_path_factory.mktemp("demo") / "scenes",
        n_drives_by_split={"train": 5, "val": 3, "test": 3},
        seed=1,
    )


@pytest.fixture(scope="session")
def manifest(tmp_path_factory):
    """The file of an ensemble of two quick detectors that disagree; it writes every 16 images."""
    folder = tmp_path_factory.mktemp("ensemble")
    shipped = Path(str(resources.files("cascade"))) / "weights" / "tiny_center"
    shaken = shutil.copytree(shipped, folder / "shaken") / "weights.safetensors"
    noise = np.random.default_rng(0)
    save_file(
        {
            name: (one * noise.normal(1, 0.05, one.shape)).astype(one.dtype)
            for name, one in load_file(shaken).items()
        },
        shaken,
    )
    path = folder / "two.yaml"
    path.write_text(_MANIFEST.replace("SHAKEN", str(shaken.parent)))
    return path
