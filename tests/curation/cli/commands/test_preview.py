from typer.testing import CliRunner

from curation.cli import app
from curation.errors import LabelingError, StageError


def run(*words):
    return CliRunner().invoke(app, [str(one) for one in words])


def test_preview_prints_cost_source_and_advice(dataset):
    import fiftyone as fo

    for i in range(3):
        path = f"/images/{i}.png"
        dataset.add_sample(fo.Sample(filepath=path, hardness=i / 3, expected_boxes=float(i)))
    done = run("preview", dataset.name, "--budget", 2)
    assert done.exit_code == 0, done.output
    assert "2 images with about 3 boxes" in done.output
    assert "No labeling time was measured" in done.output
    assert "No batch is chosen yet" in done.output
    assert "0 of the 2 rounds" in done.output


def test_preview_refuses_videos(dataset):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/videos/a.mp4"))
    assert isinstance(run("preview", dataset.name).exception, LabelingError)


def test_review_without_predictions_is_an_expected_error(dataset):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/images/a.png"))
    assert isinstance(run("review", dataset.name, "-t", "roadwork").exception, StageError)
