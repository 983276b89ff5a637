import pandas as pd
import pytest

from curation.errors import PublishError
from curation.tracking.registry import checksums


@pytest.fixture
def mlflow_store(registry):
    """Set the registry as the store of MLflow's fluent API."""
    import mlflow

    mlflow.set_tracking_uri(registry.uri)
    yield mlflow
    mlflow.set_tracking_uri(None)


def test_version_has_checksums_of_all_files(registry, register):
    register("a")
    (version,) = registry.versions("demo")
    files = checksums.from_text(version.tags["files"])
    assert "MLmodel" in files
    assert "ensemble_model.py" in files, "the code, too"
    assert "artifacts/ensemble-a/members/tiny/weights.safetensors" in files
    registry.check_sizes("demo", "1")
    registry.verify("demo", "1")


def test_model_has_signature_and_example(registry, register, mlflow_store):
    from curation.tracking.registry import ensemble_model

    register("a")
    info = mlflow_store.models.get_model_info("models:/demo/1")
    assert info.signature == ensemble_model.SIGNATURE
    assert info.saved_input_example_info is not None
    sent = ensemble_model.input_example()
    assert list(sent.columns) == info.signature.inputs.input_names()
    assert sent["content"][0].startswith(b"\x89PNG")
    assert isinstance(sent, pd.DataFrame)


def test_mlflow_load_names_changed_file(registry, register, mlflow_store, tmp_path):
    register("a")
    (weights,) = (tmp_path / "home" / "mlartifacts").rglob("weights.safetensors")
    weights.write_bytes(b"b" + weights.read_bytes()[1:])
    with pytest.raises(PublishError, match=r"members/tiny/weights\.safetensors has the SHA-256"):
        mlflow_store.pyfunc.load_model("models:/demo/1")


def test_verify_detects_changed_code(registry, register, tmp_path):
    register("a")
    (code,) = (tmp_path / "home" / "mlartifacts").rglob("ensemble_model.py")
    code.write_text(code.read_text() + "\nimport os\n")
    with pytest.raises(PublishError, match=r"ensemble_model\.py has the SHA-256"):
        registry.verify("demo", "1")


def test_version_without_checksums_is_refused(registry, register):
    register("a")
    client = registry.connection.client
    client.delete_model_version_tag("demo", "1", "files")
    with pytest.raises(PublishError, match="has no checksums"):
        registry.verify("demo", "1")


def test_unknown_version_is_reported(registry, register):
    register("a")
    with pytest.raises(PublishError, match="Cannot find version 9 of 'demo'"):
        registry.check_sizes("demo", "9")
