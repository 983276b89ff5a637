"""What holds for every operator with a form: on an empty view, with bad parameters, before a yes.

That each of them does its work on a real dataset is shown in tests/app/test_operators.py.
"""

import json
from pathlib import Path

import pytest
import yaml

PLUGINS = Path(__file__).parents[2] / "plugins"
OF_OTHERS = ("schedule_jobs",)  # tested in a file of its own

ANY_ROUND = {"round_number": 0}, "at least 1, got 0"
UNKNOWN_MANIFEST = {"manifest": "tinny"}, "manifest"
BAD = {
    "adopt_dataset/adopt_dataset": [
        ({"taxonomy": "roadwrok"}, "taxonom"),
        ({"ground_truth": "yolp"}, "no ground truth 'yolp'"),
        ({"split_from": "nowhere"}, "no split 'nowhere'"),
        ({"hold_back": "yes"}, "must be true or false"),
    ],
    "compare_versions/compare_versions": [({"first": "1"}, "registered")],
    "embed_samples/embed_samples": [UNKNOWN_MANIFEST],
    "ingest_images/ingest_images": [
        ({"source": "/no/such/folder"}, "Nothing is at"),
        ({}, "Name a folder"),
        ({"source": "/tmp", "fps": -1}, "above 0, got -1"),
        ({"source": "/tmp", "source_format": "tfrecord"}, "no format 'tfrecord'"),
    ],
    "label_roundtrip/labeling_status": [({}, "adopt this dataset")],
    "label_roundtrip/pull_labels": [({}, "adopt this dataset")],
    "label_roundtrip/push_labels": [({}, "adopt this dataset")],
    "manage_runs/cancel_run": [({}, "No run is in such a state")],
    "manage_runs/rerun_run": [({"run": "7"}, "No run is in such a state|no run '7'")],
    "manage_runs/show_runs": [({"run": "7"}, "no such run|no run '7'")],
    "predict_cascade/predict_cascade": [
        UNKNOWN_MANIFEST,
        ({"licence": "none"}, "no licences 'none'"),
    ],
    "rank_samples/choose_samples": [
        ({"budget": 0}, "at least 1 and at most 3, got 0"),
        ({"budget": 4}, "at most 3, got 4"),
        ({"budget": "many"}, "whole number"),
        ANY_ROUND,
        ({"seed": -1}, "at least 0, got -1"),
        ({}, "score hardness"),
    ],
    "rank_samples/score_hardness": [
        ({"members": ["nobody"]}, "no field 'nobody'"),
        ({"members": "yolo"}, "must be a list"),
    ],
    "release_ensemble/promote_version": [({"version": "3"}, "registered")],
    "release_ensemble/publish_challenger": [({}, "adopt this dataset")],
    "release_ensemble/rollback_version": [({}, "registered")],
    "report_round/report_round": [ANY_ROUND],
    "retrain_ensemble/evaluate_ensemble": [({}, "adopt this dataset")],
    "retrain_ensemble/train_ensemble": [({}, "adopt this dataset")],
    "review_labels/review_labels": [({"limit": 0}, "at least 1, got 0"), ({}, "ground_truth")],
    "undo_stage/undo_stage": [({}, "No stage left anything")],
    "undo_stage/withdraw_round": [ANY_ROUND, ({}, "nothing of round 1")],
}
WITHOUT_SAMPLES = ("ingest_images/ingest_images", "manage_runs/")  # work on no dataset


def operators():
    return sorted(
        f"{file.parent.name}/{one}"
        for file in PLUGINS.glob("*/fiftyone.yml")
        if file.parent.name not in OF_OTHERS
        for one in yaml.safe_load(file.read_text()).get("operators", [])
    )


def state_of(dataset):
    """Return all that the database holds of a dataset, but when it was looked at."""
    dataset.reload()
    document = {k: v for k, v in dataset._doc.to_dict().items() if k != "last_loaded_at"}
    samples = list(dataset._sample_collection.find())
    return json.dumps([document, samples], default=str, sort_keys=True)


def test_every_operator_is_here():
    assert sorted(BAD) == operators()


@pytest.mark.parametrize(
    ("operator", "params", "message"),
    [
        pytest.param(name, params, message, id=f"{name.rpartition('/')[2]}-{params}")
        for name, cases in BAD.items()
        for params, message in cases
    ],
)
def test_bad_parameters_are_refused_in_the_form(execute, form, compared, operator, params, message):
    from fiftyone.operators.executor import ExecutionError

    before = state_of(compared)
    refused = [one for one in form(operator, compared, **params).values() if one.invalid]
    assert refused, "the form lets it pass"
    assert all(one.error_message and "Traceback" not in one.error_message for one in refused)
    with pytest.raises(ExecutionError, match=message) as told:
        execute(operator, compared, **params)
    assert "\n" not in str(told.value)
    assert state_of(compared) == before


@pytest.mark.parametrize("operator", [o for o in BAD if not o.startswith(WITHOUT_SAMPLES)])
def test_an_empty_view_is_refused_in_the_form(form, dataset, operator):
    (problem,) = [one for one in form(operator, dataset).values() if one.invalid]
    assert "no sample" in problem.error_message


@pytest.mark.parametrize("operator", sorted(BAD))
def test_opening_a_form_writes_nothing(form, compared, operator):
    before = state_of(compared)
    form(operator, compared)
    assert state_of(compared) == before


def test_a_view_without_samples_is_refused_where_the_dataset_has_some(compared, monkeypatch):
    import fiftyone as fo
    import fiftyone.operators as foo
    from fiftyone.operators.executor import ExecutionError

    monkeypatch.setattr(fo.config, "plugins_dir", str(PLUGINS))
    with pytest.raises(ExecutionError, match="no sample in what is shown"):
        foo.execute_operator(
            "@curation/rank_samples/score_hardness", view=compared.match({"filepath": "none"})
        )


def test_every_operator_is_found_by_one_word_and_has_an_icon(database, monkeypatch):
    import fiftyone as fo
    from fiftyone.operators.registry import OperatorRegistry

    monkeypatch.setattr(fo.config, "plugins_dir", str(PLUGINS))
    ours = [
        one
        for one in OperatorRegistry().list_operators(type="operator")
        if one.uri.startswith("@curation/")
    ]
    assert [one.uri for one in ours if not one.config.label.startswith("Curation: ")] == []
    assert [one.uri for one in ours if not one.config.icon] == []
    labels = [one.config.label for one in ours]
    assert len(set(labels)) == len(labels)
