import pytest
from typer.testing import CliRunner

from cascade import taxonomy
from cascade.predictions import Detections
from curation.cli import app
from curation.errors import StageError
from curation.storage import collection, rounds, schema, writer

ROADWORK = taxonomy.load("roadwork")


@pytest.fixture
def labeled(dataset, settings):
    """Return a dataset of two samples whose first was chosen and labeled by round 1; the round."""
    import fiftyone as fo

    schema.declare(dataset, ROADWORK)
    schema.declare_choice(dataset)
    dataset.info[schema.INFO] = {"taxonomy": ROADWORK.to_yaml()}
    dataset.save()
    for i in range(2):
        dataset.add_sample(fo.Sample(filepath=f"/images/{i}.png", tags=["round-01"] * (1 - i)))
    ids, _ = collection.ids_and_paths(dataset)
    empty = Detections.empty(ROADWORK.names)
    writer.write_ground_truth(dataset, {ids[0]: empty}, labeled_round=1)
    this = rounds.get_round(settings.home, dataset.name, 1)
    this.begin(labeler="files")
    this.run_once("publish", lambda: {"challenger": 3})
    return dataset, this


def run(*words, answer=None):
    return CliRunner().invoke(app, [str(one) for one in words], input=answer)


def test_withdraw_asks_for_confirmation(labeled):
    dataset, this = labeled
    done = run("withdraw", dataset.name, answer="n\n")
    assert done.exit_code == 1
    assert "chose 1 samples and labeled 1 of them, with 0 boxes" in done.output
    assert f"curate rollback {dataset.name}" in done.output
    assert len(dataset.match_tags("round-01")) == 1
    assert this.folder.is_dir()


@pytest.mark.parametrize(("words", "answer"), [(["--yes"], None), ([], "y\n")])
def test_withdraw_undoes_round(labeled, words, answer):
    dataset, this = labeled
    done = run("withdraw", dataset.name, *words, answer=answer)
    assert done.exit_code == 0, done.output
    assert "withdrawn-1-round-01" in done.output
    assert len(dataset.match_tags("round-01")) == 0
    assert not this.folder.exists()


def test_withdrawing_unchosen_round_is_an_expected_error(labeled):
    dataset, _ = labeled
    done = run("withdraw", dataset.name, "--round", 2, "--yes")
    assert isinstance(done.exception, StageError)


def test_reproduce_sets_exit_code(labeled):
    dataset, this = labeled
    from curation.active_learning.training.snapshot import digest
    from curation.stages.reproduce import _lines

    same = digest(_lines(dataset, 1))
    this.run_once("label", lambda: {"dataset_hash": same})
    done = run("reproduce", dataset.name)
    assert (done.exit_code, "identical: True" in done.output) == (0, True)
    ids, _ = collection.ids_and_paths(dataset)
    writer.write_columns(dataset, ids[:1], {schema.SPLIT: ["test"]})
    done = run("reproduce", dataset.name)
    assert (done.exit_code, "identical: False" in done.output) == (1, True)
