import pytest

from curation.storage.database import mongod
from curation.tracking import Registry
from curation.tracking.registry.promotion import Promotions


@pytest.fixture
def registry(tmp_path, tracking_uri):
    return Registry(tracking_uri, tmp_path / "home" / "mlartifacts")


@pytest.fixture
def mongo(database):
    """Return a database of MongoDB for a test's own records; FiftyOne's is another."""
    with mongod.open_client(database) as client:
        yield client.records
        client.drop_database("records")


@pytest.fixture
def promotions(registry, mongo):
    return Promotions(registry, mongo)


@pytest.fixture
def register(registry, tmp_path):
    """Return what registers a folder that stands for an ensemble."""

    def make(content, name="demo"):
        path = tmp_path / f"ensemble-{content}"
        (path / "members" / "tiny").mkdir(parents=True, exist_ok=True)
        (path / "manifest.yaml").write_text(content)
        (path / "members" / "tiny" / "weights.safetensors").write_bytes(content.encode() * 9)
        return registry.register(path, name=name, identity=content)

    return make
