import json
import re
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from cascade.ensemble import Ensemble
from curation.errors import PublishError
from curation.settings import Settings
from curation.stages.publish import publish
from curation.storage import rounds
from curation.storage.rounds import Round
from curation.tracking import Registry
from curation.tracking.registry.promotion import open_promotions


@pytest.fixture(scope="session", autouse=True)
def fiftyone_before_mlflow(database):
    """Imported after it, FiftyOne warns of its own metadata."""
    import fiftyone  # noqa: F401


@pytest.fixture(scope="module")
def ensembles(make_ensemble):
    return [make_ensemble(seed) for seed in range(3)]


@pytest.fixture
def home(tmp_path, tracking_uri, database):
    return Settings(home=tmp_path / "home", database_uri=None, tracking_uri=tracking_uri)


@pytest.fixture
def reads_from():
    """Have MLflow itself, as a user calls it, read from an address."""
    import mlflow

    yield mlflow.set_tracking_uri
    mlflow.set_tracking_uri(None)


@pytest.fixture
def evaluated(tmp_path, make_evaluation):
    """Return the maker of a round whose two evaluations are on disk."""

    def make(number, champion, challenger, *, right=(0.7, 0.95), **options):
        round_ = Round(number=number, folder=tmp_path / f"round-{number:02d}")
        round_.begin(dataset="demo", seed=0)
        round_.write(rounds.CHAMPION, make_evaluation(champion.identity, right[0], **options))
        round_.write(rounds.CHALLENGER, make_evaluation(challenger.identity, right[1], **options))
        return round_

    return make


def run(round_, champion, challenger, home, **options):
    return publish(
        round_,
        dataset_name="demo",
        champion=champion,
        challenger=challenger,
        settings=home,
        **options,
    )


def test_first_round_bootstraps_start_and_promotes_better_challenger(ensembles, evaluated, home):
    start, trained, _ = ensembles
    round_ = evaluated(1, start, trained)
    result = run(round_, start, trained, home)
    assert (result.bootstrapped, result.outcome) == (True, "promote")
    assert (result.champion, result.challenger, result.in_service) == ("1", "2", "2")
    assert result.sentence == "Version 2 is promoted: it replaces version 1."
    registry = Registry.from_settings(home)
    assert registry.aliases("demo") == {"champion": "2", "previous": "1"}
    first, second = registry.versions("demo")
    assert (first.tags["verdict"], second.tags["verdict"]) == ("bootstrap", "promote")
    assert (first.tags["role"], second.tags["round"]) == ("start", "1")
    assert round_.read(rounds.VERDICT)["outcome"] == "promote"


def test_publish_is_idempotent(ensembles, evaluated, home):
    start, trained, _ = ensembles
    round_ = evaluated(1, start, trained)
    run(round_, start, trained, home)
    verdict = (round_.folder / rounds.VERDICT).read_text()
    # As after a crash: the champion in service is the challenger already.
    again = run(round_, trained, trained, home)
    assert (again.champion, again.challenger, again.in_service) == ("1", "2", "2")
    assert again.outcome == "promote"
    assert (round_.folder / rounds.VERDICT).read_text() == verdict
    assert Registry.from_settings(home).aliases("demo") == {"champion": "2", "previous": "1"}
    assert len(Registry.from_settings(home).versions("demo")) == 2


def test_worse_challenger_is_not_promoted(ensembles, evaluated, home):
    start, trained, _ = ensembles
    result = run(evaluated(1, start, trained, right=(0.95, 0.7)), start, trained, home)
    assert (result.outcome, result.in_service) == ("keep", "1")
    assert Registry.from_settings(home).aliases("demo") == {"champion": "1", "challenger": "2"}
    assert Registry.from_settings(home).versions("demo")[1].tags["verdict"] == "keep"


def test_single_class_gives_no_verdict(ensembles, evaluated, home):
    start, trained, _ = ensembles
    round_ = evaluated(1, start, trained, truth=np.ones(400, int))
    result = run(round_, start, trained, home)
    assert (result.outcome, result.in_service) == ("no_verdict", "1")
    assert result.sentence.startswith("There is no verdict, so version 1 stays champion")
    assert round_.read(rounds.VERDICT)["needed"]


def test_slices_are_passed_to_gate(ensembles, evaluated, home):
    start, trained, _ = ensembles
    night = (np.arange(400) < 200).astype(int).tolist()
    round_ = evaluated(1, start, trained, slices={"time_of_day=night": night})
    run(round_, start, trained, home)
    names = [check["name"] for check in round_.read(rounds.VERDICT)["checks"]]
    assert any("time_of_day=night" in name for name in names)


def test_consecutive_rounds_are_published(ensembles, evaluated, home):
    start, second, third = ensembles
    run(evaluated(1, start, second), start, second, home)
    result = run(evaluated(2, second, third, right=(0.6, 0.9)), second, third, home)
    assert (result.bootstrapped, result.champion, result.in_service) == (False, "2", "3")
    assert Registry.from_settings(home).aliases("demo") == {"champion": "3", "previous": "2"}


def test_champion_without_evaluation_raises(ensembles, evaluated, home):
    start, second, third = ensembles
    run(evaluated(1, start, second), start, second, home)
    round_ = evaluated(2, start, third)
    with pytest.raises(PublishError, match=r"Version 2 of 'demo' is in service.*Evaluate again"):
        run(round_, start, third, home)


def test_evaluations_of_other_ensembles_raise(ensembles, evaluated, home):
    start, second, third = ensembles
    round_ = evaluated(1, start, second)
    with pytest.raises(PublishError, match="evaluation of the challenger in"):
        run(round_, start, third, home)
    with pytest.raises(PublishError, match="evaluation of the champion in"):
        run(round_, third, second, home)


def test_missing_evaluation_raises(ensembles, evaluated, home):
    start, second, _ = ensembles
    round_ = evaluated(1, start, second)
    (round_.folder / rounds.CHALLENGER).unlink()
    with pytest.raises(PublishError, match=r"evaluation_challenger\.json is missing"):
        run(round_, start, second, home)


def test_evaluations_of_different_images_raise(ensembles, evaluated, home):
    start, second, _ = ensembles
    round_ = evaluated(1, start, second)
    content = round_.read(rounds.CHALLENGER)
    content["samples"]["id"][0] = "another"
    round_.write(rounds.CHALLENGER, content)
    with pytest.raises(PublishError, match="cover different images"):
        run(round_, start, second, home)


def test_registered_version_predicts_image(ensembles, evaluated, home, tmp_path, reads_from):
    import mlflow
    import pandas as pd
    from PIL import Image

    from cascade.imaging.batches import read
    from cascade.inference.predictor import Predictor

    start, trained, _ = ensembles
    run(evaluated(1, start, trained), start, trained, home)
    path = tmp_path / "image.png"
    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    folder = Registry.from_settings(home).download("demo", "champion", tmp_path / "back")
    (expected,) = Predictor(type(trained).load(folder)).predict([read(path)])

    reads_from(home.tracking_uri)
    model = mlflow.pyfunc.load_model("models:/demo@champion")
    answer = model.predict(pd.DataFrame({"image": [str(path)] * 20})).to_dict("records")
    assert len(answer) == 20, "more than fit at a time"
    assert answer[0]["p"] == pytest.approx(expected.p)
    assert answer[0]["n_voters"] == 1
    boxes = json.loads(answer[0]["boxes"])
    assert [box["label"] for box in boxes] == expected.objects.labels
    assert type(trained).load(folder).identity == trained.identity


def test_unchanged_ensemble_is_not_registered_as_challenger(ensembles, evaluated, home):
    """Where no epoch was better than the start, the round ends with the ensemble in service."""
    start, trained, _ = ensembles
    run(evaluated(1, start, trained), start, trained, home)
    round_ = evaluated(2, trained, trained, right=(0.9, 0.9))
    result = run(round_, trained, trained, home)
    assert (result.champion, result.challenger, result.in_service) == ("2", "2", "2")
    assert result.outcome == "keep"
    assert Registry.from_settings(home).aliases("demo") == {"champion": "2", "previous": "1"}
    assert result.sentence == "Training changed nothing, so version 2 stays champion."


def test_sign_off_page_lists_facts(ensembles, evaluated, home):
    start, trained, _ = ensembles
    round_ = evaluated(1, start, trained)
    result = run(round_, start, trained, home, sign_off_needed=True)
    assert (result.outcome, result.in_service) == ("promote", "1")
    assert f"`curate promote demo {result.challenger} --by NAME --why TEXT`" in result.sentence
    page = (round_.folder / "verdict.html").read_text()
    registry = Registry.from_settings(home)
    tags = registry.versions("demo")[1].tags
    for expected in (tags["verdict_hash"], trained.identity, tags["evaluation_set"], "400 images"):
        assert expected in page
    assert (tags["judged_against"], tags["verdict"]) == ("1", "promote")
    run_id = registry.versions("demo")[1].run_id
    client = registry.connection.client
    assert "verdict.html" in {artifact.path for artifact in client.list_artifacts(run_id)}
    with open_promotions(home) as moving:
        moving.promote("demo", "2", by="Ada", why="read it", judged_against=tags["judged_against"])
    assert registry.champion("demo") == "2"


def test_rolled_back_version_is_not_promoted_automatically(ensembles, evaluated, home):
    start, trained, _ = ensembles
    round_ = evaluated(1, start, trained)
    run(round_, start, trained, home)
    with open_promotions(home) as moving:
        moving.rollback("demo", by="Ada", why="misses cones")
    result = run(round_, start, trained, home)
    assert (result.outcome, result.in_service) == ("promote", "1")
    assert "Version 2 was withdrawn before" in result.sentence


def test_promotion_by_gate_stores_reasons(ensembles, evaluated, home):
    start, trained, _ = ensembles
    run(evaluated(1, start, trained), start, trained, home)
    first, second = Registry.from_settings(home).versions("demo")
    assert first.tags["promoted_why"] == "The first champion: round 1 started with it."
    assert second.tags["promoted_by"] == "gate"
    assert re.match(r"MCC \d\.\d{3} → \d\.\d{3}, Δ \+", second.tags["promoted_why"])
    assert second.tags["licences"] == "Apache-2.0 (1)"


@pytest.fixture(scope="module")
def judged(database, settings, tmp_path_factory):
    """Two ensembles of two detectors, measured on the same scenes of 14 drives.

    They differ in one member: in the worse one its labels are shuffled, vehicles called cones.
    """
    import fiftyone as fo
    import torch
    from safetensors.numpy import load_file, save_file

    from cascade import manifest, taxonomy
    from curation.demo.dataset import write_dataset
    from curation.stages.evaluate import evaluate
    from curation.stages.ingest import ingest

    folder = tmp_path_factory.mktemp("judged")
    drives = {"train": 1, "val": 3, "test": 14}
    scenes = write_dataset(folder / "scenes", n_drives_by_split=drives, seed=4)
    ingest(scenes, name="judged", taxonomy=taxonomy.load("roadwork"), settings=settings)
    dataset = fo.load_dataset("judged")
    shipped = Path(str(resources.files("cascade"))) / "weights" / "tiny_center"
    shuffled = shutil.copytree(shipped, folder / "shuffled")
    tensors = load_file(shuffled / "weights.safetensors")
    tensors |= {name: np.roll(tensors[name], 3, axis=0) for name in ("heat.weight", "heat.bias")}
    save_file(tensors, shuffled / "weights.safetensors")
    made = {}
    for name, source in (("good", shipped), ("worse", shuffled)):
        text = f"""
            name: two
            members:
              - {{name: one, tier: detection, adapter: center_point, license: MIT,
                  source: "package:tiny_center"}}
              - {{name: two, tier: detection, adapter: center_point, license: MIT,
                  source: "{source}"}}
            """
        made[name] = Ensemble.from_manifest(manifest.parse(text))
    results = evaluate(dataset, made, device=torch.device("cpu"))
    yield made, results
    dataset.delete()


@pytest.mark.slow
def test_member_with_shuffled_labels_is_rejected_with_figures(judged, home, tmp_path):
    made, results = judged
    result, verdict = published(made, results, "good", "worse", home, tmp_path)
    assert (result.outcome, result.in_service) == ("keep", "1")
    assert verdict["upper"] < 0, "and surely worse"
    assert re.match(r"MCC 0\.\d{3} → .*, Δ .0\.\d{3}, lower 95 % bound .*", verdict["reasons"][0])
    tags = Registry.from_settings(home).versions("demo")[1].tags
    assert tags["reasons"].startswith(verdict["reasons"][0][:20])


@pytest.mark.slow
def test_better_challenger_is_promoted(judged, home, tmp_path):
    made, results = judged
    result, verdict = published(made, results, "worse", "good", home, tmp_path)
    assert (result.outcome, result.in_service) == ("promote", "2")
    assert verdict["lower"] > 0
    assert len(verdict["warnings"]) == 1, "the set is small, and that is said"


def published(made, results, champion, challenger, home, folder):
    round_ = Round(number=1, folder=folder / "round-01")
    round_.begin(dataset="demo", seed=0)
    slow = {"latency_ms": results[champion]["latency_ms"]}  # the same: it is not the point here
    round_.write(rounds.CHAMPION, results[champion])
    round_.write(rounds.CHALLENGER, results[challenger] | slow)
    result = run(round_, made[champion], made[challenger], home)
    return result, round_.read(rounds.VERDICT)
