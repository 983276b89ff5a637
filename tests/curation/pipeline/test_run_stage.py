from cascade import taxonomy
from curation.pipeline.run_stage import run_ingest, run_stage
from curation.stages.fuse import fuse


def test_run_stage_returns_result_and_saves_views(predicted, center):
    fuse(predicted, center)
    assert predicted.list_saved_views() == [], "a stage alone does not touch the App"
    result = run_stage(fuse, predicted.limit(3), center)
    assert (result.samples, result.fused) == (3, 0)
    predicted.reload()
    assert "disagreements" in predicted.list_saved_views()


def test_run_ingest_shows_class_colors(scenes_folder, settings, database):
    import fiftyone as fo

    roadwork = taxonomy.load("roadwork_core")
    result = run_ingest(scenes_folder, name="colored", taxonomy=roadwork, settings=settings)
    dataset = fo.load_dataset(result.dataset)
    try:
        assert len(dataset.app_config.color_scheme.color_pool) == len(roadwork.names)
    finally:
        dataset.delete()
