import json

import numpy as np
import pytest
from PIL import Image

from cascade import taxonomy
from cascade.predictions import Detections
from curation.errors import LabelingError, StageError
from curation.labeling.files.backend import Files
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
    dataset.info[schema.INFO] = {"taxonomy": taxonomy.to_yaml(ROADWORK), "score": {"a": 1}}
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
    this = rounds.get_round(tmp_path / "home", dataset.name, 1)
    this.run_once("label", lambda: {"labeled": 2})
    this.run_once("publish", lambda: {"challenger": 7})
    dataset.reload()
    return dataset, this


class Told:
    """A labeler that only remembers what it was told to take back."""

    name, where = "told", "Nowhere."

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


def test_it_says_first_what_it_would_take_back(labeled):
    dataset, this = labeled
    before = state(dataset)
    found = extent(dataset, this)
    assert (found.chosen, found.labeled, found.boxes, found.published) == (3, 2, 2, "7")
    assert found.record == this.folder
    assert state(dataset) == before


def test_choice_and_ground_truth_are_gone_and_all_else_stays(labeled):
    dataset, this = labeled
    labeler = Told()
    result = withdraw(dataset, this, labeler)
    nothing, given = (["mine"], None, None, None, None), (["mine"], None, None, 0, ["cone"])
    assert state(dataset) == [nothing, nothing, nothing, given, nothing]
    assert (labeler.rounds, result.labeler) == (["round-01"], "Taken back.")
    assert queries.read_info(dataset, "chosen round-01") is None
    assert queries.read_info(dataset, "score") == {"a": 1}
    assert len(queries.pool(dataset)) == 4


def test_the_record_is_kept_as_withdrawn_and_the_round_may_begin_anew(labeled):
    dataset, this = labeled
    result = withdraw(dataset, this, None)
    assert result.record == this.folder.with_name("withdrawn-1-round-01")
    record = json.loads((result.record / rounds.RECORD).read_text())
    assert record["withdrawn"].startswith("20")
    assert record["withdrew"]["boxes"] == 2
    assert record["stages"]["label"]["summary"] == {"labeled": 2}
    assert this.record()["stages"] == {}
    this.run_once("choose", dict)
    assert withdraw(dataset, this, None).record.name == "withdrawn-2-round-01"


def test_a_second_time_there_is_nothing(labeled):
    dataset, this = labeled
    withdraw(dataset, this, None)
    with pytest.raises(StageError, match="nothing of round 1"):
        withdraw(dataset, this, None)


def test_one_that_was_cut_off_is_taken_back_to_its_end(labeled, monkeypatch):
    dataset, this = labeled
    monkeypatch.setattr(queries, "tag_chosen", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        withdraw(dataset, this, None)
    monkeypatch.undo()
    result = withdraw(dataset, this, None)
    assert (result.extent.chosen, result.extent.labeled) == (3, 0)
    record = json.loads((result.record / rounds.RECORD).read_text())
    assert record["withdrew"]["labeled"] == 2, "as it was at first"
    assert len(dataset.match_tags("round-01")) == 0


def test_a_labeler_that_refuses_keeps_everything_in_place(labeled):
    dataset, this = labeled
    before = state(dataset)
    with pytest.raises(LabelingError, match="gone"):
        withdraw(dataset, this, Told(LabelingError("gone")))
    assert state(dataset) == before
    assert this.is_done("label")


def test_a_labeler_without_tasks_of_its_own_is_no_hindrance(labeled):
    dataset, this = labeled
    assert "'oracle' cannot take tasks back" in withdraw(dataset, this, Oracle(dict)).labeler


def test_files_are_set_aside_and_the_round_can_be_labeled_again(labeled, tmp_path):
    dataset, this = labeled
    files = Files(tmp_path / "out", taxonomy=ROADWORK)
    label(dataset, 1, files)
    assert "withdrawn-1-round-01" in withdraw(dataset, this, files).labeler
    ids, _ = collection.ids_and_paths(dataset)
    queries.tag_batch(dataset, "round-01", ids[:1], ["hard"], ["Hard."])
    assert label(dataset, 1, files).waiting == 1


def choose_later(dataset, this):
    dataset[:1].tag_samples("round-02")


def label_later(dataset, this):
    ids, _ = collection.ids_and_paths(dataset)
    writer.write_ground_truth(dataset, {ids[4]: CONE}, labeled_round=2)


def begin_later(dataset, this):
    rounds.Round(2, this.folder.with_name("round-02")).run_once("predict", dict)


LATER = [
    pytest.param(choose_later, "round 2 has chosen", id="chosen"),
    pytest.param(label_later, "round 2 has labeled", id="labeled"),
    pytest.param(begin_later, "round 2 has begun", id="begun"),
]


@pytest.mark.parametrize(("later", "reason"), LATER)
def test_a_round_that_another_rests_on_is_refused(labeled, later, reason):
    dataset, this = labeled
    later(dataset, this)
    before = state(dataset)
    with pytest.raises(StageError, match=f"cannot be withdrawn: {reason}"):
        withdraw(dataset, this, None)
    assert state(dataset) == before


def test_a_dataset_that_nothing_of_ours_ran_on_has_nothing(dataset, tmp_path):
    with pytest.raises(StageError, match="nothing of round 1"):
        extent(dataset, rounds.get_round(tmp_path, "x", 1))
