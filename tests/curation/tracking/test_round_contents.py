import numpy as np
import pytest

from curation.tracking import round_contents

EVALUATION = {
    "ensemble": "abc",
    "split": "test",
    "n_images": 6,
    "n_positive": 3,
    "threshold": 0.5,
    "mcc": 0.33,
    "map50": None,
    "latency_ms": {"mean": 10.0, "p99": 20.0},
    "classes": {"cone": {"ap50": 0.5, "n": 3}},
    "slices": {"time_of_day=night": {"n": 2, "n_positive": 1, "mcc": 0.1, "map50": None}},
    "members": {"tiny": {"map50": 0.4}},
    "samples": {
        "id": list("abcdef"),
        "drive": ["1", "1", "2", "2", "3", "3"],
        "truth": [1, 1, 1, 0, 0, 0],
        "p": [0.9, 0.5, 0.1, 0.2, 0.8, None],
    },
}
RECORD = {
    "round": 2,
    "manifest": "tiny",
    "seed": 7,
    "stages": {
        "label": {"summary": {"dataset_hash": "0123456789abcdef"}},
        "train": {
            "summary": {
                "examples": 40,
                "members": {
                    "tiny": {
                        "epochs": 2,
                        "best_epoch": 1,
                        "train_loss": [2.0, 1.5],
                        "val_map50": [None, 0.3],
                    }
                },
            }
        },
    },
}


def of_round(**changes):
    given = {"dataset": "site", "tag": "round-02", "trained": True, **changes}
    return round_contents.from_round(RECORD, EVALUATION, **given)


def test_confusion_counts_no_probability_as_a_no():
    truth, p = np.array([1, 1, 1, 0, 0, 0], bool), np.array([0.9, 0.5, 0.1, 0.2, 0.8, np.nan])
    assert round_contents.confusion(truth, p, 0.5) == {
        "true_positive": 2,
        "false_positive": 1,
        "false_negative": 1,
        "true_negative": 2,
    }


def test_figures_have_names_that_mlflow_takes():
    about = of_round()
    assert about.metrics["mcc"] == 0.33
    assert about.metrics["latency_p99_ms"] == 20.0
    assert about.metrics["class/cone/ap50"] == 0.5
    assert about.metrics["slice/time_of_day-night/mcc"] == 0.1
    assert about.metrics["map50"] is None


def test_the_run_of_what_was_trained_tells_how():
    about = of_round()
    assert about.params["tiny/best_epoch"] == 1
    assert (about.params["round"], about.params["seed"], about.params["examples"]) == (2, 7, 40)
    assert about.curves == {"tiny/train_loss": [2.0, 1.5], "tiny/val_map50": [None, 0.3]}
    training, judged = about.inputs
    assert (training.context, training.digest, training.tag) == (
        "training", "0123456789abcdef", "round-02",
    )  # fmt: skip
    assert (judged.context, judged.n_images) == ("evaluation", 6)
    assert set(about.figures) == {"calibration", "confusion", "slices", "training"}
    assert set(about.tables) == {"confusion", "slices", "classes", "members"}


def test_what_a_round_began_with_was_not_trained_in_it():
    about = of_round(trained=False)
    assert about.curves == {}
    assert [one.context for one in about.inputs] == ["evaluation"]
    assert "training" not in about.figures
    assert "examples" not in about.params


def test_another_truth_is_another_evaluation_set():
    other = {**EVALUATION, "samples": {**EVALUATION["samples"], "truth": [1, 1, 1, 1, 0, 0]}}
    assert round_contents.evaluation_set_hash(other) != round_contents.evaluation_set_hash(
        EVALUATION
    )
    assert len(round_contents.evaluation_set_hash(other)) == 16


def test_licences_are_counted_and_the_strictest_is_named(center):
    tags = round_contents.version_tags(center, EVALUATION)
    assert tags["licences"] == "Apache-2.0 (1), MIT (1)"
    assert tags["strictest_licence"] == "permissive"
    assert tags["members"] == "mobilenet, tiny_center"
    assert tags["evaluation_set"] == round_contents.evaluation_set_hash(EVALUATION)


@pytest.mark.parametrize("key", ["manifest", "taxonomy", "calibration"])
def test_what_it_is_made_of_is_noted_by_its_hash(center, key):
    assert round_contents.version_tags(center, EVALUATION)[key] == getattr(center, key).identity
