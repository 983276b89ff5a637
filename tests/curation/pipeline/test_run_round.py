import csv
import json
import shutil
from dataclasses import replace

import pytest
import torch

from cascade.ensemble import Ensemble
from curation.errors import LabelingError, StageError
from curation.labeling import factory
from curation.labeling.files.backend import FileLabeler
from curation.pipeline import run_round as pipeline_round
from curation.pipeline.run_round import Plan, run_round
from curation.settings import Settings
from curation.storage import collection, reader, rounds, schema, writer
from curation.storage.embeddings import brain_runs
from curation.storage.embeddings.table import VectorTable

PLAN = Plan(budget=10, epochs=1, device=torch.device("cpu"))
FIVE = replace(PLAN, budget=5)  # of twelve, some of them near-duplicates


def settings_in(folder):
    return Settings(folder, database_uri=None, tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")


@pytest.fixture(scope="module")
def home(tmp_path_factory, empty_store):
    folder = tmp_path_factory.mktemp("home")
    shutil.copy(empty_store, folder)
    return settings_in(folder)


@pytest.fixture(scope="module")
def world(ingested):
    made = ingested.clone("world")
    yield made
    made.delete()


@pytest.fixture(scope="module")
def first(world, worn, home):
    """Return how a whole round ended, and the stages that asked for a progress bar."""
    stages: list[str] = []
    labeler = factory.oracle(world)
    result = run_round(world, 1, worn, labeler, home, plan=PLAN, bars=stages.append)
    return result, stages


def bytes_in(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_round_runs_from_start_to_report(first, world):
    result, stages = first
    record = result.round.record()
    assert list(record["stages"]) == [
        "predict", "calibrate", "fuse", "embed", "score", "choose", "label", "train", "evaluate",
        "publish", "report",
    ]  # fmt: skip
    assert result.report == result.round.folder / "report.html"
    assert result.report.stat().st_size > 10_000
    assert (result.waiting, result.changed) == (0, True)
    assert stages == ["predict", "fuse", "embed", "score", "choose", "train", "evaluate"]
    facts = {key: record[key] for key in ("round", "dataset", "manifest", "taxonomy", "labeler")}
    assert facts == {
        "round": 1, "dataset": "world", "manifest": "center", "taxonomy": "roadwork",
        "labeler": "oracle",
    }  # fmt: skip


def test_each_stage_is_recorded(first):
    stages = first[0].round.record()["stages"]
    summary = {verb: stage["summary"] for verb, stage in stages.items()}
    assert (summary["predict"]["samples"], summary["predict"]["ran"]) == (70, 70)
    assert summary["calibrate"]["calibrated"] == ["tiny_center"]
    assert (summary["embed"]["added"], summary["embed"]["umap"]) == (70, True)
    assert (summary["score"]["ranked"], summary["score"]["calibrated"]) == (34, True)
    assert (summary["choose"]["pool"], summary["choose"]["chosen"]) == (34, 10)
    assert (summary["label"]["labeled"], summary["label"]["waiting"]) == (10, 0)
    assert summary["train"]["examples"] == 10
    assert summary["evaluate"]["champion"]["n_images"] == 19
    assert summary["publish"]["bootstrapped"]
    assert all(stage["seconds"] >= 0 for stage in stages.values())


def test_dataset_contains_batch_and_labels(first, world):
    batch = world.match_tags("round-01")
    assert len(batch) == 10
    assert batch.distinct(schema.LABELED_ROUND) == [1]
    assert len(batch.exists(schema.GROUND_TRUTH)) == 10
    assert batch.distinct(schema.SPLIT) == ["train"]
    assert len(world.exists(schema.CONSENSUS)) == 70


def test_round_saves_start_and_challenger(first, worn):
    round_ = first[0].round
    record, start, after = (
        round_.record(),
        Ensemble.load(round_.start),
        Ensemble.load(round_.ensemble),
    )
    assert record["ensemble_before"] == start.identity
    assert record["ensemble_after"] == after.identity
    assert start.fingerprint("tiny_center") == worn.fingerprint("tiny_center")
    assert after.fingerprint("tiny_center") != worn.fingerprint("tiny_center")
    assert after.calibration.calibrated_members == ("tiny_center",)


def test_evaluations_cover_both_ensembles_and_slices_reach_gate(first):
    round_ = first[0].round
    before, after, verdict = map(round_.read, (rounds.CHAMPION, rounds.CHALLENGER, rounds.VERDICT))
    assert before["ensemble"] == round_.record()["ensemble_before"]
    assert after["ensemble"] == round_.record()["ensemble_after"]
    assert before["samples"]["id"] == after["samples"]["id"]
    assert before["slices"].keys() == before["samples"]["slices"].keys() != set()
    assert verdict["outcome"] == "no_verdict", "two drives can tell nothing apart"


def test_evaluation_compares_members_for_failures_panel(first, world):
    compared = world.match({"compared": "tiny_center"})
    assert len(compared) == len(world.exists("ground_truth")) > 0
    assert "missed_by" in world.get_field_schema()


def test_second_call_changes_nothing(first, world, worn, home):
    round_ = first[0].round
    files, changed = bytes_in(round_.folder), world.values("last_modified_at")
    again = run_round(world, 1, worn, factory.oracle(world), home, plan=PLAN)
    assert (again.changed, again.report, again.waiting) == (False, first[0].report, 0)
    assert bytes_in(round_.folder) == files
    assert world.values("last_modified_at") == changed
    assert rounds.finished_rounds(home.home, "world") == [round_]


@pytest.mark.parametrize("until", ["predict", "choose", "publish"])
def test_finished_round_ignores_until(first, world, worn, home, until):
    files = bytes_in(first[0].round.folder)
    labeler = factory.oracle(world)
    assert not run_round(world, 1, worn, labeler, home, plan=PLAN, until=until).changed
    assert bytes_in(first[0].round.folder) == files


def test_next_round_starts_from_trained_ensemble(first, world, worn, home):
    assert first[0].round.record()["stages"]["train"]["summary"]["members"]["tiny_center"][
        "best_epoch"
    ]
    labeler = factory.oracle(world)
    result = run_round(world, 2, worn, labeler, home, plan=PLAN, until="choose")
    stages = result.round.record()["stages"]
    assert list(stages) == ["predict", "calibrate", "fuse", "embed", "score", "choose"]
    start = Ensemble.load(result.round.start)
    assert start.identity == Ensemble.load(first[0].round.ensemble).identity
    assert stages["predict"]["summary"]["ran"] == 70, "new weights look at everything anew"
    assert stages["embed"]["summary"]["added"] == 0
    assert stages["choose"]["summary"]["pool"] == 24
    assert set(world.match_tags("round-02").values("id")).isdisjoint(
        world.match_tags("round-01").values("id")
    )


@pytest.fixture
def few(seen, center, tmp_path, empty_store):
    """Return twelve images to choose from and the frozen splits, all seen, and settings."""
    train = seen.match({schema.SPLIT: "train"}).limit(12).values("id")
    frozen = seen.match({schema.SPLIT: {"$in": ["val", "test"]}}).values("id")
    made = seen.select([*train, *frozen]).clone()
    shutil.copy(empty_store, tmp_path)
    settings = settings_in(tmp_path)
    ids, paths = collection.ids_and_paths(made)
    seen_ids, seen_paths = collection.ids_and_paths(seen)
    same = dict(zip(seen_paths, seen_ids, strict=True))
    vectors = brain_runs.read_vectors(seen, [same[path] for path in paths])
    VectorTable(settings.vectors(made.name), center.fingerprint("mobilenet")).add(ids, vectors)
    yield made, settings
    made.delete()


def test_round_stops_after_requested_stage(few, center):
    dataset, settings = few
    labeler = factory.oracle(dataset)
    result = run_round(dataset, 1, center, labeler, settings, plan=FIVE, until="fuse")
    assert list(result.round.record()["stages"]) == ["predict", "calibrate", "fuse"]
    assert (result.report, result.changed) == (None, True)
    assert dataset.match_tags("round-01").count() == 0
    before = bytes_in(result.round.folder)
    assert not run_round(dataset, 1, center, labeler, settings, plan=FIVE, until="fuse").changed
    assert bytes_in(result.round.folder) == before
    on = run_round(dataset, 1, center, labeler, settings, plan=FIVE, until="choose")
    assert list(on.round.record()["stages"])[3:] == ["embed", "score", "choose"]


def test_unknown_stage_raises(few, center):
    dataset, settings = few
    with pytest.raises(StageError, match=r"no stage 'chose'. Did you mean 'choose'\?"):
        run_round(dataset, 1, center, factory.oracle(dataset), settings, plan=FIVE, until="chose")


def test_round_before_its_turn_raises_and_writes_nothing(few, center):
    dataset, settings = few
    with pytest.raises(StageError, match=r"before round 1 is finished.*Run round 1 first"):
        run_round(dataset, 2, center, factory.oracle(dataset), settings, plan=FIVE)
    assert not rounds.get_round(settings.home, dataset.name, 2).folder.exists()


def test_uncalibrated_ensemble_chooses_by_coverage(few, center):
    dataset, settings = few
    dataset.delete_samples(dataset.match({schema.SPLIT: "val"}).skip(2).values("id"))
    result = run_round(
        dataset, 1, center, factory.oracle(dataset), settings, plan=FIVE, until="choose"
    )
    stages = result.round.record()["stages"]
    assert "score" not in stages
    assert stages["calibrate"]["summary"]["calibrated"] == []
    assert set(stages["choose"]["summary"]["arms"]) == {"coverage", "random"}


def test_round_waits_for_labels_and_resumes(few, center, tmp_path):
    dataset, settings = few
    files = FileLabeler(tmp_path / "out", taxonomy=center.taxonomy, file_format="yolo")

    def run():
        return run_round(dataset, 1, center, files, settings, plan=FIVE, until="label")

    result = run()
    assert (result.waiting, result.report) == (5, None)
    assert str(tmp_path / "out") in result.instructions
    assert "label" not in result.round.record()["stages"]
    before = bytes_in(result.round.folder)
    assert run().waiting == 5
    assert bytes_in(result.round.folder) == before, "asking again is not working again"

    place = tmp_path / "out" / "round-01"
    with (place / "tasks.csv").open(newline="") as file:
        names = [row["image"] for row in csv.DictReader(file)]
    for number, name in enumerate(names):
        path = place / "returned" / name
        path.with_suffix(".txt").write_text("0 0.5 0.5 0.2 0.2\n")
        if number == 3:
            assert run().waiting == 1
    result = run()
    assert result.waiting == 0
    assert result.round.record()["stages"]["label"]["summary"]["labeled"] == 5
    assert len(dataset.match({schema.LABELED_ROUND: 1})) == 5


class Unreachable:
    """A labeler whose server is down."""

    name, instructions = "down", "Nowhere."

    def push(self, tasks):
        raise LabelingError("Nobody answers.")

    def pull(self, batch):
        return []


def test_interrupted_round_resumes(few, center):
    dataset, settings = few
    with pytest.raises(LabelingError, match="Nobody answers"):
        run_round(dataset, 1, center, Unreachable(), settings, plan=FIVE, until="label")
    round_ = rounds.get_round(settings.home, dataset.name, 1)
    done, batch = round_.record()["stages"], dataset.match_tags("round-01").values("id")
    assert list(done)[-1] == "choose"
    labeler = factory.oracle(dataset)
    result = run_round(dataset, 1, center, labeler, settings, plan=FIVE, until="label")
    after = result.round.record()["stages"]
    assert {verb: after[verb] for verb in done} == done
    assert dataset.match_tags("round-01").values("id") == batch
    assert after["label"]["summary"]["labeled"] == 5


def test_changed_champion_is_evaluated_again(few, center):
    dataset, settings = few

    def until(stage):
        labeler = factory.oracle(dataset)
        return run_round(dataset, 1, center, labeler, settings, plan=FIVE, until=stage)

    until("label")
    unlabeled = dataset.match({schema.SPLIT: "train"}).exists(schema.LABELED_ROUND, False)
    truths = reader.read_detections(unlabeled, schema.ORACLE, center.taxonomy)
    ids, _ = collection.ids_and_paths(unlabeled)
    writer.write_ground_truth(dataset, dict(zip(ids, truths, strict=True)), labeled_round=1)
    round_ = until("evaluate").round
    measured = round_.read(rounds.CHAMPION)
    assert until("evaluate").changed is False
    round_.write(rounds.CHAMPION, {**measured, "ensemble": "of somebody who was withdrawn"})
    until("publish")
    assert round_.read(rounds.CHAMPION)["ensemble"] == measured["ensemble"]
    assert round_.is_done("publish")


def test_unrecorded_choice_is_repeated_identically(few, center):
    """Cut off between the dataset and the record."""
    dataset, settings = few
    labeler = factory.oracle(dataset)
    result = run_round(dataset, 1, center, labeler, settings, plan=FIVE, until="choose")
    record = result.round.record()
    before = record["stages"].pop("choose")["summary"]
    result.round.write(rounds.RECORD, record)
    run_round(dataset, 1, center, labeler, settings, plan=FIVE, until="choose")
    assert result.round.record()["stages"]["choose"]["summary"] == before
    assert len(dataset.match_tags("round-01")) == 5


WORSE = [
    pytest.param({"upper": -0.1}, "start", id="shown to be worse"),
    pytest.param({"upper": 0.1}, "ensemble", id="not shown to be worse"),
    pytest.param({"upper": None}, "ensemble", id="no verdict"),
]


@pytest.mark.parametrize(("verdict", "begins_with"), WORSE)
def test_round_starts_from_newest_ensemble_not_known_to_be_worse(few, center, verdict, begins_with):
    dataset, settings = few
    before = rounds.get_round(settings.home, dataset.name, 1)
    center.save(before.start)
    center.with_calibration(replace(center.calibration, threshold=0.4)).save(before.ensemble)
    before.write(rounds.VERDICT, verdict)
    before.run_once("report", dict)
    labeler = factory.oracle(dataset)
    result = run_round(dataset, 2, center, labeler, settings, plan=FIVE, until="calibrate")
    expected = Ensemble.load(before.folder / begins_with)
    started = Ensemble.load(result.round.start)
    assert started.fingerprint("tiny_center") == expected.fingerprint("tiny_center")


def test_budget_is_as_requested_or_tenth_of_pool(few, dataset):
    import fiftyone as fo

    assert pipeline_round.resolve_budget(few[0], 7) == 7
    assert pipeline_round.resolve_budget(few[0], None) == 20
    dataset.add_samples([fo.Sample(filepath=f"/{i}.jpg") for i in range(305)], progress=False)
    assert pipeline_round.resolve_budget(dataset, None) == 30


def test_record_is_readable_json(first):
    path = first[0].round.folder / rounds.RECORD
    content = json.loads(path.read_text())
    assert content["started"].endswith("+00:00")
    assert content["failures"] == []
