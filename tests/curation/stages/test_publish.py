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
from curation.tracking.registry.promotion import promotions


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
        this = Round(number=number, folder=tmp_path / f"round-{number:02d}")
        this.begin(dataset="demo", seed=0)
        this.write(rounds.CHAMPION, make_evaluation(champion.identity, right[0], **options))
        this.write(rounds.CHALLENGER, make_evaluation(challenger.identity, right[1], **options))
        return this

    return make


def run(this, champion, challenger, home, **options):
    return publish(
        this,
        dataset_name="demo",
        champion=champion,
        challenger=challenger,
        settings=home,
        **options,
    )


def test_the_first_round_puts_its_start_into_service_and_a_better_one_in_its_place(
    ensembles, evaluated, home
):
    start, trained, _ = ensembles
    this = evaluated(1, start, trained)
    result = run(this, start, trained, home)
    assert (result.bootstrapped, result.outcome) == (True, "promote")
    assert (result.champion, result.challenger, result.in_service) == ("1", "2", "2")
    assert result.sentence == "Version 2 is promoted: it replaces version 1."
    registry = Registry.of(home)
    assert registry.aliases("demo") == {"champion": "2", "previous": "1"}
    first, second = registry.versions("demo")
    assert (first.tags["verdict"], second.tags["verdict"]) == ("bootstrap", "promote")
    assert (first.tags["role"], second.tags["round"]) == ("start", "1")
    assert this.read(rounds.VERDICT)["outcome"] == "promote"


def test_publishing_twice_is_publishing_once(ensembles, evaluated, home):
    start, trained, _ = ensembles
    this = evaluated(1, start, trained)
    run(this, start, trained, home)
    verdict = (this.folder / rounds.VERDICT).read_text()
    # As after a crash: the champion in service is the challenger already.
    again = run(this, trained, trained, home)
    assert (again.champion, again.challenger, again.in_service) == ("1", "2", "2")
    assert again.outcome == "promote"
    assert (this.folder / rounds.VERDICT).read_text() == verdict
    assert Registry.of(home).aliases("demo") == {"champion": "2", "previous": "1"}
    assert len(Registry.of(home).versions("demo")) == 2


def test_a_worse_challenger_stays_one(ensembles, evaluated, home):
    start, trained, _ = ensembles
    result = run(evaluated(1, start, trained, right=(0.95, 0.7)), start, trained, home)
    assert (result.outcome, result.in_service) == ("keep", "1")
    assert Registry.of(home).aliases("demo") == {"champion": "1", "challenger": "2"}
    assert Registry.of(home).versions("demo")[1].tags["verdict"] == "keep"


def test_one_class_gives_no_verdict_and_says_so(ensembles, evaluated, home):
    start, trained, _ = ensembles
    this = evaluated(1, start, trained, truth=np.ones(400, int))
    result = run(this, start, trained, home)
    assert (result.outcome, result.in_service) == ("no_verdict", "1")
    assert result.sentence.startswith("There is no verdict, so version 1 stays champion")
    assert this.read(rounds.VERDICT)["needed"]


def test_slices_reach_the_gate(ensembles, evaluated, home):
    start, trained, _ = ensembles
    night = (np.arange(400) < 200).astype(int).tolist()
    this = evaluated(1, start, trained, slices={"time_of_day=night": night})
    run(this, start, trained, home)
    names = [one["name"] for one in this.read(rounds.VERDICT)["checks"]]
    assert any("time_of_day=night" in name for name in names)


def test_rounds_follow_one_another(ensembles, evaluated, home):
    start, second, third = ensembles
    run(evaluated(1, start, second), start, second, home)
    result = run(evaluated(2, second, third, right=(0.6, 0.9)), second, third, home)
    assert (result.bootstrapped, result.champion, result.in_service) == (False, "2", "3")
    assert Registry.of(home).aliases("demo") == {"champion": "3", "previous": "2"}


def test_a_champion_that_was_not_evaluated_is_refused(ensembles, evaluated, home):
    start, second, third = ensembles
    run(evaluated(1, start, second), start, second, home)
    this = evaluated(2, start, third)
    with pytest.raises(PublishError, match=r"Version 2 of 'demo' is in service.*Evaluate again"):
        run(this, start, third, home)


def test_evaluations_of_other_ensembles_are_refused(ensembles, evaluated, home):
    start, second, third = ensembles
    this = evaluated(1, start, second)
    with pytest.raises(PublishError, match="evaluation of the challenger in"):
        run(this, start, third, home)
    with pytest.raises(PublishError, match="evaluation of the champion in"):
        run(this, third, second, home)


def test_a_missing_evaluation_is_named(ensembles, evaluated, home):
    start, second, _ = ensembles
    this = evaluated(1, start, second)
    (this.folder / rounds.CHALLENGER).unlink()
    with pytest.raises(PublishError, match=r"evaluation_challenger\.json is missing"):
        run(this, start, second, home)


def test_evaluations_of_different_images_are_refused(ensembles, evaluated, home):
    start, second, _ = ensembles
    this = evaluated(1, start, second)
    content = this.read(rounds.CHALLENGER)
    content["samples"]["id"][0] = "another"
    this.write(rounds.CHALLENGER, content)
    with pytest.raises(PublishError, match="are of different images"):
        run(this, start, second, home)


def test_the_registered_version_answers_for_an_image(
    ensembles, evaluated, home, tmp_path, reads_from
):
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
    folder = Registry.of(home).download("demo", "champion", tmp_path / "back")
    (expected,) = Predictor(type(trained).load(folder)).predict([read(path)])

    reads_from(home.tracking_uri)
    model = mlflow.pyfunc.load_model("models:/demo@champion")
    answer = model.predict(pd.DataFrame({"image": [str(path)] * 20})).to_dict("records")
    assert len(answer) == 20, "more than fit at a time"
    assert answer[0]["p"] == pytest.approx(expected.p)
    assert answer[0]["n_voters"] == 1
    boxes = json.loads(answer[0]["boxes"])
    assert [one["label"] for one in boxes] == expected.objects.labels
    assert type(trained).load(folder).identity == trained.identity


def test_a_fit_that_changed_nothing_is_no_challenger(ensembles, evaluated, home):
    """Where no epoch was better than the start, the round ends with the ensemble in service."""
    start, trained, _ = ensembles
    run(evaluated(1, start, trained), start, trained, home)
    this = evaluated(2, trained, trained, right=(0.9, 0.9))
    result = run(this, trained, trained, home)
    assert (result.champion, result.challenger, result.in_service) == ("2", "2", "2")
    assert result.outcome == "keep"
    assert Registry.of(home).aliases("demo") == {"champion": "2", "previous": "1"}
    assert result.sentence == "Training changed nothing, so version 2 stays champion."


def test_the_page_to_sign_tells_what_is_signed_for(ensembles, evaluated, home):
    start, trained, _ = ensembles
    this = evaluated(1, start, trained)
    result = run(this, start, trained, home, sign_off_needed=True)
    assert (result.outcome, result.in_service) == ("promote", "1")
    assert f"`curate promote demo {result.challenger} --by NAME --why TEXT`" in result.sentence
    page = (this.folder / "verdict.html").read_text()
    registry = Registry.of(home)
    tags = registry.versions("demo")[1].tags
    for expected in (tags["verdict_hash"], trained.identity, tags["evaluation_set"], "400 images"):
        assert expected in page
    assert (tags["judged_against"], tags["verdict"]) == ("1", "promote")
    run_id = registry.versions("demo")[1].run_id
    client = registry.connection.client
    assert "verdict.html" in {one.path for one in client.list_artifacts(run_id)}
    with promotions(home) as moving:
        moving.promote("demo", "2", by="Ada", why="read it", over=tags["judged_against"])
    assert registry.champion("demo") == "2"


def test_what_was_rolled_back_is_not_promoted_again_by_itself(ensembles, evaluated, home):
    start, trained, _ = ensembles
    this = evaluated(1, start, trained)
    run(this, start, trained, home)
    with promotions(home) as moving:
        moving.rollback("demo", by="Ada", why="misses cones")
    result = run(this, start, trained, home)
    assert (result.outcome, result.in_service) == ("promote", "1")
    assert "Version 2 was withdrawn before" in result.sentence


def test_the_gate_signs_with_its_reasons(ensembles, evaluated, home):
    start, trained, _ = ensembles
    run(evaluated(1, start, trained), start, trained, home)
    first, second = Registry.of(home).versions("demo")
    assert first.tags["promoted_why"] == "The first champion: round 1 began with it."
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
    tensors |= {one: np.roll(tensors[one], 3, axis=0) for one in ("heat.weight", "heat.bias")}
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
def test_labels_shuffled_for_one_member_are_refused_in_numbers(judged, home, tmp_path):
    made, results = judged
    result, verdict = published(made, results, "good", "worse", home, tmp_path)
    assert (result.outcome, result.in_service) == ("keep", "1")
    assert verdict["upper"] < 0, "and surely worse"
    assert re.match(r"MCC 0\.\d{3} → .*, Δ .0\.\d{3}, lower 95 % bound .*", verdict["reasons"][0])
    tags = Registry.of(home).versions("demo")[1].tags
    assert tags["reasons"].startswith(verdict["reasons"][0][:20])


@pytest.mark.slow
def test_a_better_one_is_promoted(judged, home, tmp_path):
    made, results = judged
    result, verdict = published(made, results, "worse", "good", home, tmp_path)
    assert (result.outcome, result.in_service) == ("promote", "2")
    assert verdict["lower"] > 0
    assert len(verdict["warnings"]) == 1, "the set is small, and that is said"


def published(made, results, champion, challenger, home, folder):
    this = Round(number=1, folder=folder / "round-01")
    this.begin(dataset="demo", seed=0)
    slow = {"latency_ms": results[champion]["latency_ms"]}  # the same: it is not the point here
    this.write(rounds.CHAMPION, results[champion])
    this.write(rounds.CHALLENGER, results[challenger] | slow)
    result = run(this, made[champion], made[challenger], home)
    return result, this.read(rounds.VERDICT)
