"""The registry over REST: two rounds, promotion, rollback, loading, and what the pages show."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cascade import manifest as manifests
from cascade.ensemble import Ensemble
from cascade.images import read
from cascade.models.center_point import CenterPoint
from cascade.predictor import Predictor
from curation import rounds
from curation.errors import PublishError
from curation.rounds import Round
from curation.settings import Settings
from curation.stages.publish import publish
from curation.tracking import Registry
from curation.tracking.promotion import history, promotions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
NAME = "site"


def make_ensemble(folder, seed):
    CenterPoint(classes=("cone", "vehicle"), size=64, width=8, seed=seed).save(folder / "small")
    text = f"""
        name: small
        members:
          - {{name: small, tier: detection, adapter: center_point, source: "{folder / "small"}",
              licence: Apache-2.0}}
        """
    return Ensemble.from_manifest(manifests.parse(text))


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
    this.do("label", lambda: {"dataset_hash": f"{number:016x}"})
    this.do("train", lambda: {"examples": 40 * number, "members": {"small": fit}})
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


def test_two_rounds_are_two_versions(published):
    settings, made, results = published
    assert [one.outcome for one in results] == ["promote", "promote"]
    versions = Registry.of(settings).versions(NAME)
    assert [(one.version, one.aliases, one.ensemble) for one in versions] == [
        ("1", (), made[0].identity),
        ("2", ("previous",), made[1].identity),
        ("3", ("champion",), made[2].identity),
    ]
    assert versions[2].tags["evaluation_set"] == versions[1].tags["evaluation_set"]


def test_over_rest_an_image_gets_the_answer_that_it_gets_here(published, tmp_path):
    settings, made, _ = published
    path = tmp_path / "image.png"
    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    folder = Registry.of(settings).download(NAME, "champion", tmp_path / "champion")
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


def test_rollback_and_back_again(published):
    settings, _, _ = published
    with promotions(settings) as moving:
        assert moving.rollback(NAME, by="Ada", why="misses cones").champion == "2"
        assert moving.rollback(NAME, by="Ada", why="said twice").changed is False
        with pytest.raises(PublishError, match="judged against version 1"):
            moving.promote(NAME, "3", by="Ada", why="late", over="1")
        moving.promote(NAME, "3", by="Ada", why="it did not", over="2")
    events = [(one.kind, one.after, one.by) for one in history(Registry.of(settings), NAME)]
    assert events[-2:] == [("rollback", "2", "Ada"), ("promote", "3", "Ada")]
    assert len(events) == 5


@pytest.mark.skipif(CHROMIUM is None, reason="There is no chromium here.")
def test_the_pages_show_both_versions(published, tmp_path):
    """`CURATION_SCREENSHOTS` names a folder for the pictures, to look at them."""
    from playwright.sync_api import sync_playwright

    settings, _, _ = published
    versions = Registry.of(settings).versions(NAME)
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


def test_a_fresh_environment_gives_the_same_answer(published, tmp_path):
    """`CURATION_FRESH_PYTHON` names its interpreter: `make fresh-venv`."""
    python = os.environ.get("CURATION_FRESH_PYTHON")
    if python is None:
        pytest.skip("CURATION_FRESH_PYTHON is not set: run `make fresh-venv`.")
    settings, _, _ = published
    path = tmp_path / "image.png"
    noise = np.random.default_rng(2).integers(0, 255, (480, 640, 3), np.uint8)
    Image.fromarray(noise).save(path)
    code = (
        "import sys, mlflow, pandas as pd; mlflow.set_tracking_uri(sys.argv[1]); "
        "m = mlflow.pyfunc.load_model(f'models:/{sys.argv[2]}@champion'); "
        "a = m.predict(pd.DataFrame({'content': [open(sys.argv[3], 'rb').read()]})); "
        "print(a.drop(columns='image').to_json())"
    )
    words = ["-c", code, settings.tracking_uri, NAME, str(path)]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "FIFTYONE"))}
    answers = [
        subprocess.run(
            [one, *words], cwd=tmp_path, env=kept, capture_output=True, text=True, check=True
        ).stdout.splitlines()[-1]
        for one in (sys.executable, python)
    ]
    assert answers[0] == answers[1]
