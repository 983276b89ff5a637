"""Properties of every form: on an empty view, with bad parameters, and before confirmation.

The runs of the operators on a real dataset are tested in tests/app/test_operators_from_python.py.
"""

import json
from pathlib import Path

import pytest
import yaml

PLUGINS = Path(__file__).parents[2] / "plugins"
OTHERS = ("schedule_jobs",)  # tested in another file

ANY_ROUND = {"round_number": 0}, "at least 1, got 0"
UNKNOWN_MANIFEST = {"manifest": "tinny"}, "manifest"
BAD = {
    "adopt_dataset/adopt_dataset": [
        ({"taxonomy": "roadwrok"}, "taxonom"),
        ({"ground_truth": "yolp"}, "Unknown ground truth 'yolp'"),
        ({"split_from": "nowhere"}, "Unknown split 'nowhere'"),
        ({"hold_back": "yes"}, "must be true or false"),
    ],
    "compare_versions/compare_versions": [({"first": "1"}, "registered")],
    "embed_samples/embed_samples": [UNKNOWN_MANIFEST],
    "ingest_images/ingest_images": [
        ({"source": "/no/such/folder"}, "does not exist"),
        ({}, "Enter a folder"),
        ({"source": "/tmp", "fps": -1}, "above 0, got -1"),
        ({"source": "/tmp", "source_format": "tfrecord"}, "Unknown format 'tfrecord'"),
    ],
    "label_roundtrip/labeling_status": [({}, "adopt this dataset")],
    "label_roundtrip/pull_labels": [({}, "adopt this dataset")],
    "label_roundtrip/push_labels": [({}, "adopt this dataset")],
    "manage_runs/cancel_run": [({}, "No open run")],
    "manage_runs/rerun_run": [({"run": "7"}, "No finished run|Unknown run '7'")],
    "manage_runs/show_runs": [({"run": "7"}, "No run|Unknown run")],
    "predict_cascade/predict_cascade": [
        UNKNOWN_MANIFEST,
        ({"licence": "none"}, "Unknown license 'none'"),
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
        ({"members": ["absent"]}, "Unknown field 'absent'"),
        ({"members": "yolo"}, "must be a list"),
    ],
    "release_ensemble/promote_version": [({"version": "3"}, "registered")],
    "release_ensemble/publish_challenger": [({}, "adopt this dataset")],
    "release_ensemble/rollback_version": [({}, "registered")],
    "report_round/report_round": [ANY_ROUND],
    "retrain_ensemble/evaluate_ensemble": [({}, "adopt this dataset")],
    "retrain_ensemble/train_ensemble": [({}, "adopt this dataset")],
    "review_labels/review_labels": [({"limit": 0}, "at least 1, got 0"), ({}, "ground_truth")],
    "undo_stage/undo_stage": [({}, "No stage has written")],
    "undo_stage/withdraw_round": [ANY_ROUND, ({}, "nothing to withdraw")],
}
WITHOUT_SAMPLES = ("ingest_images/ingest_images", "manage_runs/")  # work on no dataset


def operators():
    return sorted(
        f"{file.parent.name}/{name}"
        for file in PLUGINS.glob("*/fiftyone.yml")
        if file.parent.name not in OTHERS
        for name in yaml.safe_load(file.read_text()).get("operators", [])
    )


def state_of(dataset):
    """Return the database's content of a dataset, without the time of the last load."""
    dataset.reload()
    document = {k: v for k, v in dataset._doc.to_dict().items() if k != "last_loaded_at"}
    samples = list(dataset._sample_collection.find())
    return json.dumps([document, samples], default=str, sort_keys=True)


def test_every_operator_is_tested():
    assert sorted(BAD) == operators()


@pytest.mark.parametrize(
    ("operator", "params", "message"),
    [
        pytest.param(name, params, message, id=f"{name.rpartition('/')[2]}-{params}")
        for name, cases in BAD.items()
        for params, message in cases
    ],
)
def test_bad_parameters_are_errors_of_the_form(execute, form, compared, operator, params, message):
    from fiftyone.operators.executor import ExecutionError

    before = state_of(compared)
    invalid = [prop for prop in form(operator, compared, **params).values() if prop.invalid]
    assert invalid, "the form accepts it"
    assert all(prop.error_message and "Traceback" not in prop.error_message for prop in invalid)
    with pytest.raises(ExecutionError, match=message) as raised:
        execute(operator, compared, **params)
    assert "\n" not in str(raised.value)
    assert state_of(compared) == before


@pytest.mark.parametrize("operator", [o for o in BAD if not o.startswith(WITHOUT_SAMPLES)])
def test_empty_dataset_is_an_error_of_the_form(form, dataset, operator):
    (prop,) = [prop for prop in form(operator, dataset).values() if prop.invalid]
    assert "no sample" in prop.error_message


@pytest.mark.parametrize("operator", sorted(BAD))
def test_opening_a_form_writes_nothing(form, compared, operator):
    before = state_of(compared)
    form(operator, compared)
    assert state_of(compared) == before


def test_empty_view_of_a_dataset_is_rejected(compared, monkeypatch):
    import fiftyone as fo
    import fiftyone.operators as foo
    from fiftyone.operators.executor import ExecutionError

    monkeypatch.setattr(fo.config, "plugins_dir", str(PLUGINS))
    with pytest.raises(ExecutionError, match="The current view has no samples"):
        foo.execute_operator(
            "@curation/rank_samples/score_hardness", view=compared.match({"filepath": "none"})
        )


def test_every_operator_has_a_prefix_and_an_icon(database, monkeypatch):
    import fiftyone as fo
    from fiftyone.operators.registry import OperatorRegistry

    monkeypatch.setattr(fo.config, "plugins_dir", str(PLUGINS))
    ours = [
        operator
        for operator in OperatorRegistry().list_operators(type="operator")
        if operator.uri.startswith("@curation/")
    ]
    assert [o.uri for o in ours if not o.config.label.startswith("Curation: ")] == []
    assert [o.uri for o in ours if not o.config.icon] == []
    labels = [operator.config.label for operator in ours]
    assert len(set(labels)) == len(labels)


def test_list_of_operators_is_in_the_order_of_a_round(database, monkeypatch):
    """The App sorts by the first character of the description, then by registration."""
    import fiftyone as fo
    from fiftyone.operators.registry import OperatorRegistry

    monkeypatch.setattr(fo.config, "plugins_dir", str(PLUGINS))
    operators = OperatorRegistry().list_operators(type="operator")
    ours = [operator.config for operator in operators if operator.uri.startswith("@curation/")]
    names = [config.name for config in sorted(ours, key=lambda config: config.description[0])]
    round_steps = [
        "predict_cascade", "embed_samples", "score_hardness", "choose_samples", "push_labels",
        "pull_labels", "train_ensemble", "evaluate_ensemble", "publish_challenger", "report_round",
    ]  # fmt: skip
    assert {"ingest_images", "adopt_dataset"} == set(names[:2])
    assert [name for name in names if name in round_steps] == round_steps
