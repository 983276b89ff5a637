import pytest

from cascade import taxonomy
from curation.errors import LabelingError, SettingsError
from curation.labeling import factory
from curation.storage import schema


@pytest.fixture
def classed(dataset):
    """Return a dataset with classes and one image."""
    import fiftyone as fo

    dataset.info[schema.INFO] = {"taxonomy": taxonomy.load("roadwork").to_yaml()}
    dataset.add_sample(fo.Sample(filepath="/images/a.png"))
    return dataset


def test_every_file_format_has_a_labeler_name():
    from curation.labeling.files.formats import FORMATS

    assert set(factory._FILE_FORMATS.values()) == set(FORMATS)
    assert set(factory._FILE_FORMATS) < set(factory.LOCAL_NAMES) < set(factory.NAMES)


@pytest.mark.parametrize("name", factory.NAMES)
def test_videos_are_rejected_by_all_labelers(dataset, settings, name):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/videos/a.mp4"))
    with pytest.raises(LabelingError, match="media type 'video'"):
        factory.create(name, dataset, settings)


def test_cvat_needs_address_and_token(classed, settings, monkeypatch):
    for variable in ("CVAT_URL", "CVAT_TOKEN", "CURATION_SECRETS_DIR", "VAULT_ADDR"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(SettingsError, match="CVAT_URL is not set"):
        factory.create("cvat", classed, settings)
    monkeypatch.setenv("CVAT_URL", "https://cvat.example")
    with pytest.raises(SettingsError, match="No store holds the secret 'cvat-token'"):
        factory.create("cvat", classed, settings)


def test_unsupported_blur_is_rejected(classed, settings):
    with pytest.raises(LabelingError, match="License plates cannot be blurred"):
        factory.create("files", classed, settings, blur=["plates"])
