"""What the notebooks share: one home, in which the first makes what the others find."""

import os
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "labeling_server"))


@pytest.fixture(scope="session")
def environment(database):
    """The environment of who has activated .venv, in a home that is gone afterwards."""
    import fiftyone

    scripts = Path(fiftyone.__file__).parents[4] / "bin"
    path = os.pathsep.join([str(scripts), sysconfig.get_path("scripts"), os.environ["PATH"]])
    own = {"PATH": path, "OMP_NUM_THREADS": "1", "FIFTYONE_SHOW_PROGRESS_BARS": "false"}
    foreign = ("LABEL_STUDIO", "MLFLOW_", "CVAT_")
    return {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | own
