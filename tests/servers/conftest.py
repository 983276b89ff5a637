import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that a script may use the server, too


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory):
    """Return the address of a real MLflow server."""
    from mlflow_server import served

    from curation.tracking import Registry

    store = tmp_path_factory.mktemp("store") / "mlflow.db"
    assert Registry(f"sqlite:///{store}", store.parent).versions("demo") == []
    with served(tmp_path_factory.mktemp("server"), store) as address:
        yield address
