import pytest

from cascade.errors import ManifestError
from curation.pipeline.dataset_ensemble import ensemble_for
from curation.storage import rounds


@pytest.fixture
def finished(scenes, settings):
    """Return the scenes with one finished round that trained the manifest `tiny`."""
    trained = ensemble_for(scenes, settings, "tiny")
    trained = trained.with_probe(None).with_checkpoints(
        {"tiny_center": trained.checkpoints["tiny_yolo"]}
    )
    round_ = rounds.get_round(settings.home, scenes.name, 1)
    trained.save(round_.ensemble)
    round_.run_once("report", dict)
    return scenes, trained


def test_manifest_is_used_without_finished_round(scenes, settings):
    ensemble = ensemble_for(scenes.limit(2), settings, "tiny")
    assert ensemble.manifest.name == "tiny"
    assert ensemble.taxonomy.name == "roadwork_core"


def test_last_round_is_used_unless_fresh_or_of_other_manifest(finished, settings):
    dataset, trained = finished
    assert ensemble_for(dataset, settings, "tiny").identity == trained.identity
    assert ensemble_for(dataset, settings, "tiny", fresh=True).identity != trained.identity


def test_unknown_manifest_raises(scenes, settings):
    with pytest.raises(ManifestError, match="tinny"):
        ensemble_for(scenes, settings, "tinny")
