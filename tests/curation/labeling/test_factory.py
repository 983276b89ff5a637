import pytest

from cascade import taxonomy
from curation.errors import LabelingError, SettingsError
from curation.labeling import factory
from curation.storage import schema


@pytest.fixture
def classed(dataset):
    """Return a dataset that has classes, and one image."""
    import fiftyone as fo

    dataset.info[schema.INFO] = {"taxonomy": taxonomy.to_yaml(taxonomy.load("roadwork"))}
    dataset.add_sample(fo.Sample(filepath="/images/a.png"))
    return dataset


def test_every_form_of_files_has_a_name():
    from curation.labeling.files.formats import FORMATS

    assert set(factory._FORMS.values()) == set(FORMATS)
    assert set(factory._FORMS) < set(factory.HERE) < set(factory.NAMES)


@pytest.mark.parametrize("name", factory.NAMES)
def test_a_video_is_refused_by_all(dataset, settings, name):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/videos/a.mp4"))
    with pytest.raises(LabelingError, match="media type 'video'"):
        factory.create(name, dataset, settings)


def test_cvat_needs_an_address_and_a_token(classed, settings, monkeypatch):
    for one in ("CVAT_URL", "CVAT_TOKEN", "CURATION_SECRETS_DIR", "VAULT_ADDR"):
        monkeypatch.delenv(one, raising=False)
    with pytest.raises(SettingsError, match="CVAT_URL is not set"):
        factory.create("cvat", classed, settings)
    monkeypatch.setenv("CVAT_URL", "https://cvat.example")
    with pytest.raises(SettingsError, match="secret 'cvat-token' is nowhere"):
        factory.create("cvat", classed, settings)


def test_what_cannot_be_blurred_is_not_sent(classed, settings):
    with pytest.raises(LabelingError, match="Licence plates cannot be blurred"):
        factory.create("files", classed, settings, blur=["plates"])
