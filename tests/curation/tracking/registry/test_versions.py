import pandas as pd
import pytest

from curation.errors import PublishError
from curation.tracking.registry import checksums


@pytest.fixture
def reads_from(registry):
    """Have MLflow itself, as a user calls it, read from the registry."""
    import mlflow

    mlflow.set_tracking_uri(registry.uri)
    yield mlflow
    mlflow.set_tracking_uri(None)


def test_every_file_of_a_version_has_its_hash_in_a_tag(registry, register):
    register("a")
    (version,) = registry.versions("demo")
    files = checksums.from_text(version.tags["files"])
    assert "MLmodel" in files
    assert "ensemble_model.py" in files, "the code, too"
    assert "artifacts/ensemble-a/members/tiny/weights.safetensors" in files
    registry.expect_present("demo", "1")
    registry.expect_untouched("demo", "1")


def test_a_caller_sees_what_to_send(registry, register, reads_from):
    from curation.tracking.registry import ensemble_model

    register("a")
    info = reads_from.models.get_model_info("models:/demo/1")
    assert info.signature == ensemble_model.SIGNATURE
    assert info.saved_input_example_info is not None
    sent = ensemble_model.input_example()
    assert list(sent.columns) == info.signature.inputs.input_names()
    assert sent["content"][0].startswith(b"\x89PNG")
    assert isinstance(sent, pd.DataFrame)


def test_mlflow_itself_refuses_a_changed_byte_by_its_name(registry, register, reads_from, tmp_path):
    register("a")
    (weights,) = (tmp_path / "home" / "mlartifacts").rglob("weights.safetensors")
    weights.write_bytes(b"b" + weights.read_bytes()[1:])
    with pytest.raises(PublishError, match=r"members/tiny/weights\.safetensors has the sha256"):
        reads_from.pyfunc.load_model("models:/demo/1")


def test_the_code_of_a_version_is_checked_before_it_is_promoted(registry, register, tmp_path):
    register("a")
    (code,) = (tmp_path / "home" / "mlartifacts").rglob("ensemble_model.py")
    code.write_text(code.read_text() + "\nimport os\n")
    with pytest.raises(PublishError, match=r"ensemble_model\.py has the sha256"):
        registry.expect_untouched("demo", "1")


def test_a_version_without_hashes_is_not_trusted(registry, register):
    register("a")
    client = registry.connection.client
    client.delete_model_version_tag("demo", "1", "files")
    with pytest.raises(PublishError, match="has no hashes of its files"):
        registry.expect_untouched("demo", "1")


def test_an_unknown_version_is_one_sentence(registry, register):
    register("a")
    with pytest.raises(PublishError, match="There is no version 9 of 'demo'"):
        registry.expect_present("demo", "9")
