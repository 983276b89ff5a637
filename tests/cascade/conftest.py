import pytest

from cascade import manifest
from cascade.ensemble import Ensemble
from cascade.models.detection.center_point import CenterPoint


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Return the maker of a small detector's checkpoint: `weights(seed)`, one folder per seed."""
    made = {}

    def make(seed=0, classes=("cone", "vehicle")):
        if (seed, classes) not in made:
            folder = tmp_path_factory.mktemp("weights") / "small"
            CenterPoint(classes=classes, size=64, width=8, seed=seed).save(folder)
            made[seed, classes] = folder
        return made[seed, classes]

    return make


@pytest.fixture(scope="session")
def tiny_center():
    """Return the packaged ensemble with one of its detectors."""
    text = """
        name: one
        members:
          - {name: tiny_center, tier: detection, adapter: center_point,
             source: "package:tiny_center", licence: Apache-2.0}
        """
    return Ensemble.from_manifest(manifest.parse(text))
