"""Operators called from Python on a real dataset: a complete round."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

PLUGINS = Path(__file__).parents[2] / "plugins"
OTHERS = ("schedule_jobs",)

SMALL = """
name: small
taxonomy: roadwork_core
members:
  - {name: mobilenet, tier: embedding, adapter: mobilenet, license: MIT, batch_size: 32}
  - {name: tiny_center, tier: detection, adapter: center_point,
     source: "package:tiny_center", license: Apache-2.0}
"""


@pytest.fixture
def run(scenes, monkeypatch):
    """Return `run(operator, **params)`, which runs an operator and returns its result."""
    import fiftyone as fo
    import fiftyone.operators as foo

    monkeypatch.setattr(fo.config, "plugins_dir", str(PLUGINS))
    monkeypatch.setattr(fo.config, "plugins_cache_enabled", True)
    operators = set()

    def execute(operator, dataset=scenes, **params):
        operators.add(operator)
        result = foo.get_operator(f"@curation/{operator}")(dataset, **params)
        assert result.error is None, result.error
        scenes.reload()
        return result.result

    execute.operators = operators
    return execute


def listed():
    return {
        f"{file.parent.name}/{name}"
        for file in PLUGINS.glob("*/fiftyone.yml")
        if file.parent.name not in OTHERS
        for name in yaml.safe_load(file.read_text()).get("operators", [])
    }


def test_every_operator_in_a_complete_round(run, scenes, tmp_path):
    """Every listed operator runs and returns its result."""
    import fiftyone as fo
    import fiftyone.operators as foo

    from curation.demo.dataset import write_dataset
    from curation.presentation import error_analysis
    from curation.worker import run_history

    folder = write_dataset(
        tmp_path / "more", n_drives_by_split={"train": 1, "val": 0, "test": 0}, seed=7
    )
    ingested = run("ingest_images/ingest_images", source=str(folder), name="more", hold_back=True)
    assert ingested["added"] == len(fo.load_dataset("more")) > 0
    fo.delete_dataset("more")

    manifest = tmp_path / "small.yaml"
    manifest.write_text(SMALL)
    small = {"manifest": str(manifest)}
    predicted = run("predict_cascade/predict_cascade", **small)
    assert predicted["ran"] == len(scenes)
    assert "predictions" in predicted["summary"]
    assert run("embed_samples/embed_samples", **small)["added"] == len(scenes)
    scored = run("rank_samples/score_hardness", members=["tiny_center"])
    assert scored["scored"] > 0
    chosen = run("rank_samples/choose_samples", budget=10, seed=1)
    assert chosen["chosen"] == 10 == len(scenes.match_tags("round-01"))

    pushed = run("label_roundtrip/push_labels", labeler="files")
    assert pushed["pushed"] == 10
    status = run("label_roundtrip/labeling_status", labeler="files")
    assert (status["tasks"], status["submitted"]) == (10, 0)
    pulled = run("label_roundtrip/pull_labels", labeler="oracle")
    assert (pulled["new"], pulled["waiting"]) == (10, 0)
    assert run("review_labels/review_labels", limit=5, **small)["looked_at"] > 0

    trained = run(
        "retrain_ensemble/train_ensemble", epochs=1, focus=True, labeler="oracle", **small
    )
    assert set(trained["members"]) == {"tiny_center"}
    measured = run("retrain_ensemble/evaluate_ensemble", labeler="oracle", **small)
    assert measured["champion"]["n_images"] == measured["challenger"]["n_images"] > 0
    published = run("release_ensemble/publish_challenger", labeler="oracle", sign_off=True, **small)
    assert (published["challenger"], published["in_service"]) == ("2", "1")
    assert error_analysis.read_cells(scenes) is not None, "the failures panel is filled"
    page = run("report_round/report_round")["page"]
    assert scenes.name in Path(page).read_text()

    signed = {"by": "Ada", "why": "a test", "confirmed": True}
    moved = run("release_ensemble/promote_version", version="2", against_the_gate=True, **signed)
    assert moved["champion"] == "2"
    assert run("release_ensemble/rollback_version", **signed)["champion"] == "1"
    few = scenes.limit(4)
    compared = run("compare_versions/compare_versions", few, first="1", second="2")
    assert compared["samples"] == 4
    assert scenes.has_field("consensus__v2")

    operator = foo.get_operator("@curation/rank_samples/score_hardness")
    queued = str(operator(scenes, delegate=True, members=["tiny_center"]).result["id"])
    assert run("manage_runs/cancel_run", None, run=queued)["run"]["state"] == "cancelled"
    new = run("manage_runs/rerun_run", None, run=queued)["run"]["id"]
    assert run_history.get_run(new).state == "queued"
    assert run("manage_runs/show_runs", None, run=new)["run"]["state"] == "queued"
    run_history.cancel(new)

    for stage, field in (("score", "hardness"), ("compare", "consensus__v2"), ("review", "review")):
        assert scenes.has_field(field)
        run("undo_stage/undo_stage", stage=stage, confirmed=True)
        assert not scenes.has_field(field)
    withdrawn = run("undo_stage/withdraw_round", round_number=1, confirmed=True)
    assert withdrawn["extent"]["chosen"] == 10
    assert len(scenes.match_tags("round-01")) == 0

    theirs = fo.Dataset("theirs")
    theirs.add_samples(
        [
            fo.Sample(filepath=s.filepath, people=s.ground_truth, tags=[s.split])
            for s in scenes.match({"split": {"$ne": "train"}})
        ]
    )
    adopted = run("adopt_dataset/adopt_dataset", theirs, ground_truth="people", split_from="tags")
    assert adopted["labeled"] == len(theirs)
    theirs.delete()
    assert run.operators == listed()


def test_call_is_awaited_in_notebook(scenes, monkeypatch):
    import fiftyone as fo
    import fiftyone.operators as foo

    monkeypatch.setattr(fo.config, "plugins_dir", str(PLUGINS))
    operator = foo.get_operator("@curation/predict_cascade/predict_cascade")

    async def cell():
        return await operator(scenes.limit(2), manifest="tiny")

    assert asyncio.run(cell()).result["samples"] == 2
