import pytest

from cascade import manifest
from cascade.ensemble import Ensemble
from cascade.models.detection.center_point import CenterPoint


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Return a function that creates the checkpoint of a small detector, one folder per seed."""
    folders = {}

    def make(seed=0, classes=("cone", "vehicle")):
        if (seed, classes) not in folders:
            folder = tmp_path_factory.mktemp("weights") / "small"
            CenterPoint(classes=classes, size=64, width=8, seed=seed).save(folder)
            folders[seed, classes] = folder
        return folders[seed, classes]

    return make


@pytest.fixture(scope="session")
def tiny_center():
    """Return an ensemble of one packaged detector."""
    text = """
        name: one
        members:
          - {name: tiny_center, tier: detection, adapter: center_point,
             source: "package:tiny_center", license: Apache-2.0}
        """
    return Ensemble.from_manifest(manifest.parse(text))
