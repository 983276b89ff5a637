"""The page about what is in service: seen, and moved from."""

import time

import pytest

from curation.settings import from_environment

REGISTRY = "promote_ensembles/registry_panel"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A registry on disk; to make its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


class TestRegistry:
    def test_a_registry_that_is_down_is_said_in_words(self, panel, whole, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        began = time.monotonic()
        assert "No MLflow answers" in panel(REGISTRY, whole).said
        assert time.monotonic() - began < 10

    def test_a_move_is_asked_for_and_signed(self, panel, whole, store, tmp_path, monkeypatch):
        from curation.tracking import Registry

        monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        versions = register(Registry(store, tmp_path / "artifacts"), whole.name, tmp_path)
        told = panel(REGISTRY, whole)
        assert "Version 1 is in service" in told.data["head"]
        assert [row["is"] for row in told.data["versions"]] == ["challenger", "champion"]

        asked = panel(REGISTRY, whole, "ask_row", row=0)
        assert "Put version 2 into service?" in asked.said
        unsigned = panel(REGISTRY, whole, "confirm", asked.state)
        assert "Say who answers for it" in unsigned.of("notify")[0]["message"]
        signed = asked.state | {"by": "Ada", "why": "read the verdict"}
        done = panel(REGISTRY, whole, "confirm", signed)
        assert "Version 2 is champion" in done.of("notify")[0]["message"]
        assert done.state["pending"] is None

        back = panel(REGISTRY, whole, "ask", pending="rollback:2").state
        panel(REGISTRY, whole, "confirm", back | {"by": "Ada", "why": "misses cones"})
        registry = Registry(store, tmp_path / "artifacts")
        assert registry.champion(whole.name) == versions[0]
        told = panel(REGISTRY, whole)
        assert [row["by"] for row in told.data["trail"]] == ["Ada", "Ada", "gate"]

    def test_what_the_gate_refused_is_not_promoted(
        self, panel, dataset, store, tmp_path, monkeypatch
    ):
        from curation.tracking import Registry

        monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        registry = Registry(store, tmp_path / "artifacts")
        versions = register(registry, dataset.name, tmp_path, verdict="keep")
        state = {"pending": versions[1], "by": "Ada", "why": "I like it"}
        told = panel(REGISTRY, dataset, "confirm", state)
        assert "verdict on version 2 is keep" in told.of("notify")[0]["message"]
        assert registry.champion(dataset.name) == versions[0]


def register(registry, name, folder, verdict="promote"):
    """Register two versions, the first in service, the second judged; return their numbers."""
    from curation.storage.database import connection
    from curation.storage.database.mongod import open_client
    from curation.tracking.registry.promotion import Promotions

    versions = []
    for i in range(2):
        ensemble = folder / f"ensemble-{i}"
        ensemble.mkdir()
        (ensemble / "manifest.yaml").write_text(f"name: made-up-{i}\n")
        tags = {"round": str(i), "verdict": verdict if i else "bootstrap",
                "judged_against": "1", "reasons": "MCC changed by +0.1."}  # fmt: skip
        versions.append(registry.register(ensemble, name=name, identity=f"hash{i}", tags=tags))
    uri = connection.connect(from_environment()).uri
    with open_client(uri) as client:
        moving = Promotions(registry, client["tests"])
        moving.promote(name, versions[0], by="gate", why="the first", verdict="bootstrap")
    registry.challenge(name, versions[1])
    return versions
