import shutil

import pytest


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """Return a file with MLflow's tables, which take seconds to make."""
    from curation.tracking import Registry

    path = tmp_path_factory.mktemp("mlflow") / "new" / "mlflow.db"
    assert Registry(f"sqlite:///{path}", path.parent).versions("demo") == []
    return path


@pytest.fixture
def tracking_uri(tmp_path, empty_store):
    """Return the address of a store of the test's own, `home/mlflow.db` in its folder."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(empty_store, home)
    return f"sqlite:///{home / 'mlflow.db'}"
