"""The registry over REST: two rounds, promotion, rollback, loading, and what the pages show."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cascade import manifest
from cascade.ensemble import Ensemble
from cascade.imaging.batches import read
from cascade.inference.predictor import Predictor
from cascade.models.detection.center_point import CenterPoint
from curation.errors import PublishError
from curation.settings import Settings
from curation.stages.publish import publish
from curation.storage import rounds
from curation.storage.rounds import Round
from curation.tracking import Registry
from curation.tracking.registry.promotion import history, open_promotions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
NAME = "site"


def make_ensemble(folder, seed):
    """Return an ensemble of one network that was never trained, yet sees things everywhere."""
    network = CenterPoint(classes=("cone", "vehicle"), size=64, width=8, seed=seed)
    network.module.heat.weight.data *= 100
    network.save(folder / "small")
    text = f"""
        name: small
        members:
          - {{name: small, tier: detection, adapter: center_point, source: "{folder / "small"}",
              license: Apache-2.0}}
        """
    return Ensemble.from_manifest(manifest.parse(text))


def evaluation(ensemble, right, n=400):
    """Return the evaluation of an ensemble that is right on a share of the images."""
    truth = np.arange(n) % 2
    says = np.where(np.random.default_rng(0).random(n) < right, truth, 1 - truth)
    return {
        "ensemble": ensemble.identity, "split": "test", "n_images": n, "n_positive": n // 2,
        "threshold": 0.5, "mcc": 2 * right - 1, "map50": 0.6, "ece": 0.1,
        "latency_ms": {"mean": 10.0, "p50": 9.0, "p99": 20.0},
        "slices": {"time_of_day=night": {"n": 200, "n_positive": 100, "mcc": 0.5, "map50": 0.5}},
        "samples": {
            "id": [f"id{i}" for i in range(n)], "drive": [f"drive{i // 4}" for i in range(n)],
            "truth": truth.tolist(), "p": np.where(says, 0.9, 0.1).tolist(),
        },
    }  # fmt: skip


def publish_round(folder, settings, number, before, after, right):
    this = Round(number=number, folder=folder / f"round-{number:02d}")
    this.begin(dataset=NAME, manifest="small", seed=0)
    fit = {
        "epochs": 3,
        "best_epoch": 2,
        "train_loss": [3.0, 2.0, 1.5],
        "val_map50": [0.1, 0.2, 0.3],
    }
    this.run_once("label", lambda: {"dataset_hash": f"{number:016x}"})
    this.run_once("train", lambda: {"examples": 40 * number, "members": {"small": fit}})
    this.write(rounds.CHAMPION, evaluation(before, right[0]))
    this.write(rounds.CHALLENGER, evaluation(after, right[1]))
    return publish(this, dataset_name=NAME, champion=before, challenger=after, settings=settings)


@pytest.fixture(scope="module")
def published(mlflow_server, database, tmp_path_factory):
    """Two rounds on the server, each of which was promoted: versions 1 (the start), 2 and 3."""
    folder = tmp_path_factory.mktemp("rounds")
    settings = Settings(home=folder / "home", database_uri=None, tracking_uri=mlflow_server)
    made = []
    for seed in range(3):
        (folder / str(seed)).mkdir()
        made.append(make_ensemble(folder / str(seed), seed))
    first = publish_round(folder, settings, 1, made[0], made[1], (0.70, 0.85))
    second = publish_round(folder, settings, 2, made[1], made[2], (0.70, 0.95))
    return settings, made, (first, second)


def test_each_round_registers_version(published):
    settings, made, results = published
    assert [one.outcome for one in results] == ["promote", "promote"]
    versions = Registry.from_settings(settings).versions(NAME)
    assert [(one.version, one.aliases, one.ensemble) for one in versions] == [
        ("1", (), made[0].identity),
        ("2", ("previous",), made[1].identity),
        ("3", ("champion",), made[2].identity),
    ]
    assert versions[2].tags["evaluation_set"] == versions[1].tags["evaluation_set"]


def test_rest_prediction_equals_local_prediction(published, tmp_path):
    settings, made, _ = published
    path = tmp_path / "image.png"
    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    folder = Registry.from_settings(settings).download(NAME, "champion", tmp_path / "champion")
    here = Ensemble.load(folder)
    (expected,) = Predictor(here).predict([read(path)])
    assert here.identity == made[2].identity

    import mlflow

    mlflow.set_tracking_uri(settings.tracking_uri)
    try:
        model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    finally:
        mlflow.set_tracking_uri(None)
    by_path = model.predict(pd.DataFrame({"image": [str(path)]}))
    by_content = model.predict(pd.DataFrame({"content": [path.read_bytes()]}))
    for answer in (by_path, by_content):
        assert answer["p"][0] == expected.p
        assert answer["n_voters"][0] == 1
    assert by_path["boxes"][0] == by_content["boxes"][0]


def test_rollback_and_promotion(published):
    settings, _, _ = published
    with open_promotions(settings) as moving:
        assert moving.rollback(NAME, by="Ada", why="misses cones").champion == "2"
        assert moving.rollback(NAME, by="Ada", why="said twice").changed is False
        with pytest.raises(PublishError, match="judged against version 1"):
            moving.promote(NAME, "3", by="Ada", why="late", judged_against="1")
        moving.promote(NAME, "3", by="Ada", why="it did not", judged_against="2")
    events = [
        (one.kind, one.after, one.by) for one in history(Registry.from_settings(settings), NAME)
    ]
    assert events[-2:] == [("rollback", "2", "Ada"), ("promote", "3", "Ada")]
    assert len(events) == 5


@pytest.mark.skipif(CHROMIUM is None, reason="There is no chromium here.")
def test_ui_shows_both_versions(published, tmp_path):
    """`CURATION_SCREENSHOTS` names a folder for the pictures, to look at them."""
    from playwright.sync_api import sync_playwright

    settings, _, _ = published
    versions = Registry.from_settings(settings).versions(NAME)
    pictures = Path(os.environ.get("CURATION_SCREENSHOTS") or tmp_path)
    pages = {
        "model": (f"/#/models/{NAME}", ["Version 3", "Version 2", "@ champion", "@ previous"]),
        "version": (f"/#/models/{NAME}/versions/3", ["promoted_by", "gate", "licences"]),
        "run": (
            f"/#/experiments/1/runs/{versions[2].run_id}",
            ["mcc", "small/train_loss", "threshold"],
        ),
    }
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 1100})
        for name, (place, words) in pages.items():
            page.goto(settings.tracking_uri + place, wait_until="domcontentloaded")
            for word in words:
                page.get_by_text(word, exact=False).first.wait_for(timeout=120_000)
            page.screenshot(path=pictures / f"mlflow_{name}.png")
        browser.close()


@pytest.fixture(params=["here", "fresh"])
def python(request):
    """An interpreter: ours, or that of a fresh venv, named by `CURATION_FRESH_PYTHON`."""
    if request.param == "here":
        return sys.executable
    if "CURATION_FRESH_PYTHON" not in os.environ:
        pytest.skip("CURATION_FRESH_PYTHON is not set: run `make fresh-venv`.")
    return os.environ["CURATION_FRESH_PYTHON"]


def photographs(folder):
    """Write two images, and return their paths."""
    paths = [folder / f"{seed}.png" for seed in (2, 3)]
    for seed, path in enumerate(paths):
        noise = np.random.default_rng(seed).integers(0, 255, (480, 640, 3), np.uint8)
        Image.fromarray(noise).save(path)
    return paths


def answers_here(settings, folder, paths):
    """Return what the champion says when this process loads it as an ensemble."""
    ensemble = Ensemble.load(
        Registry.from_settings(settings).download(NAME, "champion", folder / "loaded")
    )
    said = Predictor(ensemble).predict([read(path) for path in paths])
    return [
        {
            "p": one.p,
            "yes": one.yes,
            "n_voters": one.n_voters,
            "boxes": [
                {"label": label, "score": float(score), "box": [float(x) for x in box]}
                for label, score, box in zip(
                    one.objects.labels, one.objects.scores, one.objects.boxes_xyxy, strict=True
                )
            ],
        }
        for one in said
    ]


def said_by(python, words, *, settings, folder):
    """Run MLflow there, away from this repository, and return what it printed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "FIFTYONE"))}
    done = subprocess.run(
        [python, *words], cwd=folder, capture_output=True, text=True, check=False,
        env=kept | {"MLFLOW_TRACKING_URI": settings.tracking_uri},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("given", ["image", "content"])
def test_mlflow_command_equals_local_prediction(published, tmp_path, python, given):
    """`mlflow models predict`, from the registry over REST: paths, or bytes as base64."""
    settings, _, _ = published
    paths = photographs(tmp_path)
    values = {"image": str, "content": lambda one: base64.b64encode(one.read_bytes()).decode()}
    table = {"columns": [given], "data": [[values[given](one)] for one in paths]}
    (tmp_path / "in.json").write_text(json.dumps({"dataframe_split": table}))
    words = [
        "-m",
        "mlflow",
        "models",
        "predict",
        "--model-uri",
        f"models:/{NAME}@champion",
        "--env-manager",
        "local",
        "--content-type",
        "json",
        "-i",
        "in.json",
        "-o",
        "out.json",
    ]
    said_by(python, words, settings=settings, folder=tmp_path)
    rows = json.loads((tmp_path / "out.json").read_text())["predictions"]
    expected = answers_here(settings, tmp_path, paths)
    assert len(rows) == len(expected) == 2
    for row, one in zip(rows, expected, strict=True):
        assert (row["p"], row["yes"], row["n_voters"]) == (one["p"], one["yes"], one["n_voters"])
        assert json.loads(row["boxes"]) == one["boxes"]
    assert all(json.loads(row["boxes"]) for row in rows), "it has something to say"
    assert rows[0]["p"] != rows[1]["p"]


def test_model_loads_in_fresh_environment(published, tmp_path, python):
    settings, _, _ = published
    paths = photographs(tmp_path)
    code = (
        "import sys, mlflow, pandas as pd; import curation; "
        "m = mlflow.pyfunc.load_model(f'models:/{sys.argv[1]}@champion'); "
        "a = m.predict(pd.DataFrame({'image': sys.argv[2:]})); "
        "print(curation.__file__); print(a['p'].to_json(double_precision=15))"
    )
    words = ["-c", code, NAME, *map(str, paths)]
    *_, where, p = said_by(python, words, settings=settings, folder=tmp_path).splitlines()
    expected = [one["p"] for one in answers_here(settings, tmp_path, paths)]
    assert list(json.loads(p).values()) == pytest.approx(expected, abs=1e-12)
    if python != sys.executable:
        assert Path(where).is_relative_to(Path(python).parent.parent), "its own copy of the package"
