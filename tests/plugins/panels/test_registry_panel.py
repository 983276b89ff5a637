"""Registry panel: versions, promotion and rollback."""

import time

import pytest

from curation.settings import from_environment

REGISTRY = "promote_ensembles/registry_panel"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A registry on disk; creating its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


class TestRegistry:
    def test_unreachable_registry_is_an_error(self, panel, scenes, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        began = time.monotonic()
        assert "No MLflow server answers" in panel(REGISTRY, scenes).notices
        assert time.monotonic() - began < 10

    def test_move_is_confirmed_and_signed(self, panel, scenes, store, tmp_path, monkeypatch):
        from curation.tracking import Registry

        monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        versions = register(Registry(store, tmp_path / "artifacts"), scenes.name, tmp_path)
        response = panel(REGISTRY, scenes)
        assert "Version 1 is in service" in response.data["head"]
        assert [row["alias"] for row in response.data["versions"]] == ["challenger", "champion"]

        question = panel(REGISTRY, scenes, "ask_row", row=0)
        assert "Put version 2 into service?" in question.notices
        unsigned = panel(REGISTRY, scenes, "confirm", question.state)
        assert "Enter your name" in unsigned.of("notify")[0]["message"]
        signed = question.state | {"by": "Ada", "why": "read the verdict"}
        moved = panel(REGISTRY, scenes, "confirm", signed)
        assert "Version 2 is champion" in moved.of("notify")[0]["message"]
        assert moved.state["pending"] is None

        state = panel(REGISTRY, scenes, "ask", pending="rollback:2").state
        panel(REGISTRY, scenes, "confirm", state | {"by": "Ada", "why": "misses cones"})
        registry = Registry(store, tmp_path / "artifacts")
        assert registry.champion(scenes.name) == versions[0]
        response = panel(REGISTRY, scenes)
        assert [row["by"] for row in response.data["trail"]] == ["Ada", "Ada", "gate"]

    def test_version_with_other_verdict_is_not_promoted(
        self, panel, dataset, store, tmp_path, monkeypatch
    ):
        from curation.tracking import Registry

        monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        registry = Registry(store, tmp_path / "artifacts")
        versions = register(registry, dataset.name, tmp_path, verdict="keep")
        state = {"pending": versions[1], "by": "Ada", "why": "I like it"}
        response = panel(REGISTRY, dataset, "confirm", state)
        assert "verdict on version 2 is keep" in response.of("notify")[0]["message"]
        assert registry.champion(dataset.name) == versions[0]


def register(registry, name, folder, verdict="promote"):
    """Register a champion and a judged challenger; return their versions."""
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
    registry.set_challenger(name, versions[1])
    return versions
