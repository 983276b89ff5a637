import json

import numpy as np
import pytest
from PIL import Image

from cascade import taxonomy
from cascade.predictions import Detections
from curation.errors import LabelingError, StageError
from curation.labeling.files.backend import FileLabeler
from curation.labeling.oracle import Oracle
from curation.stages.label import label
from curation.stages.withdraw import extent, withdraw
from curation.storage import collection, queries, rounds, schema, writer

ROADWORK = taxonomy.load("roadwork")
CONE = Detections(
    np.array([[0.1, 0.1, 0.3, 0.3]]), np.ones(1, np.float32), np.zeros(1, np.int64), ROADWORK.names
)


@pytest.fixture
def labeled(dataset, tmp_path):
    """Return a dataset of five samples, of which round 1 chose three and labeled two; its round.

    The fourth came with ground truth.
    """
    import fiftyone as fo

    schema.declare(dataset, ROADWORK)
    schema.declare_choice(dataset)
    dataset.info[schema.INFO] = {"taxonomy": ROADWORK.to_yaml(), "score": {"a": 1}}
    dataset.save()
    for i in range(5):
        path = tmp_path / f"image{i}.png"
        Image.new("RGB", (64, 48), (i, i, i)).save(path)
        dataset.add_sample(fo.Sample(filepath=str(path), tags=["mine"], split="train"))
    ids, _ = collection.ids_and_paths(dataset)
    queries.tag_batch(dataset, "round-01", ids[:3], ["hard"] * 3, ["Hard."] * 3)
    queries.write_info(dataset, "chosen round-01", {"chosen": 3})
    writer.write_ground_truth(dataset, dict.fromkeys(ids[:2], CONE), labeled_round=1)
    writer.write_ground_truth(dataset, {ids[3]: CONE}, labeled_round=0)
    round_ = rounds.get_round(tmp_path / "home", dataset.name, 1)
    round_.run_once("label", lambda: {"labeled": 2})
    round_.run_once("publish", lambda: {"challenger": 7})
    dataset.reload()
    return dataset, round_


class Told:
    """A labeler that only remembers what it was told to take back."""

    name, instructions = "told", "Nowhere."

    def __init__(self, error=None):
        self.rounds, self.error = [], error

    def push(self, tasks): ...
    def pull(self, round_name): ...
    def status(self, round_name): ...

    def withdraw(self, round_name):
        if self.error:
            raise self.error
        self.rounds.append(round_name)
        return "Taken back."


def state(dataset):
    names = ["tags", schema.RANK, schema.CHOSEN_BECAUSE, schema.LABELED_ROUND]
    truths = dataset.values(f"{schema.GROUND_TRUTH}.detections.label")
    return [*zip(*dataset.values(names), truths, strict=True)]


def test_extent_lists_contents_of_round(labeled):
    dataset, round_ = labeled
    before = state(dataset)
    contents = extent(dataset, round_)
    assert (contents.chosen, contents.labeled, contents.boxes, contents.published) == (3, 2, 2, "7")
    assert contents.record == round_.folder
    assert state(dataset) == before


def test_withdraw_removes_only_choice_and_ground_truth(labeled):
    dataset, round_ = labeled
    labeler = Told()
    result = withdraw(dataset, round_, labeler)
    nothing, adopted = (["mine"], None, None, None, None), (["mine"], None, None, 0, ["cone"])
    assert state(dataset) == [nothing, nothing, nothing, adopted, nothing]
    assert (labeler.rounds, result.labeler) == (["round-01"], "Taken back.")
    assert queries.read_info(dataset, "chosen round-01") is None
    assert queries.read_info(dataset, "score") == {"a": 1}
    assert len(queries.pool(dataset)) == 4


def test_record_is_kept_as_withdrawn_and_round_can_restart(labeled):
    dataset, round_ = labeled
    result = withdraw(dataset, round_, None)
    assert result.record == round_.folder.with_name("withdrawn-1-round-01")
    record = json.loads((result.record / rounds.RECORD).read_text())
    assert record["withdrawn"].startswith("20")
    assert record["withdrew"]["boxes"] == 2
    assert record["stages"]["label"]["summary"] == {"labeled": 2}
    assert round_.record()["stages"] == {}
    round_.run_once("choose", dict)
    assert withdraw(dataset, round_, None).record.name == "withdrawn-2-round-01"


def test_second_withdrawal_raises(labeled):
    dataset, round_ = labeled
    withdraw(dataset, round_, None)
    with pytest.raises(StageError, match="has nothing to withdraw"):
        withdraw(dataset, round_, None)


def test_interrupted_withdrawal_is_completed(labeled, monkeypatch):
    dataset, round_ = labeled
    monkeypatch.setattr(queries, "tag_batch", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        withdraw(dataset, round_, None)
    monkeypatch.undo()
    result = withdraw(dataset, round_, None)
    assert (result.extent.chosen, result.extent.labeled) == (3, 0)
    record = json.loads((result.record / rounds.RECORD).read_text())
    assert record["withdrew"]["labeled"] == 2, "as it was at first"
    assert len(dataset.match_tags("round-01")) == 0


def test_labeler_error_leaves_round_unchanged(labeled):
    dataset, round_ = labeled
    before = state(dataset)
    with pytest.raises(LabelingError, match="gone"):
        withdraw(dataset, round_, Told(LabelingError("gone")))
    assert state(dataset) == before
    assert round_.is_done("label")


def test_labeler_without_tasks_does_not_prevent_withdrawal(labeled):
    dataset, round_ = labeled
    assert "'oracle' cannot remove tasks" in withdraw(dataset, round_, Oracle(dict)).labeler


def test_task_files_are_set_aside_and_round_can_be_labeled_again(labeled, tmp_path):
    dataset, round_ = labeled
    files = FileLabeler(tmp_path / "out", taxonomy=ROADWORK)
    label(dataset, 1, files)
    assert "withdrawn-1-round-01" in withdraw(dataset, round_, files).labeler
    ids, _ = collection.ids_and_paths(dataset)
    queries.tag_batch(dataset, "round-01", ids[:1], ["hard"], ["Hard."])
    assert label(dataset, 1, files).waiting == 1


def choose_later(dataset, round_):
    dataset[:1].tag_samples("round-02")


def label_later(dataset, round_):
    ids, _ = collection.ids_and_paths(dataset)
    writer.write_ground_truth(dataset, {ids[4]: CONE}, labeled_round=2)


def begin_later(dataset, round_):
    rounds.Round(2, round_.folder.with_name("round-02")).run_once("predict", dict)


LATER = [
    pytest.param(choose_later, "round 2 has chosen", id="chosen"),
    pytest.param(label_later, "round 2 has labeled", id="labeled"),
    pytest.param(begin_later, "round 2 has begun", id="begun"),
]


@pytest.mark.parametrize(("later", "reason"), LATER)
def test_round_with_later_round_raises(labeled, later, reason):
    dataset, round_ = labeled
    later(dataset, round_)
    before = state(dataset)
    with pytest.raises(StageError, match=f"Cannot withdraw round 1 .*: {reason}"):
        withdraw(dataset, round_, None)
    assert state(dataset) == before


def test_plain_dataset_has_nothing_to_withdraw(dataset, tmp_path):
    with pytest.raises(StageError, match="has nothing to withdraw"):
        extent(dataset, rounds.get_round(tmp_path, "x", 1))
