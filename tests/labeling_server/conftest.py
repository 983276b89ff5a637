import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from labeling_fixtures import connect, label_studio, proxy  # noqa: F401 - pytest finds them here

from cascade import taxonomy


@pytest.fixture(scope="session")
def roadwork():
    return taxonomy.load("roadwork_core")
