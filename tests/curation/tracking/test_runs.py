import json

import pytest
from matplotlib.figure import Figure

from curation.errors import PublishError
from curation.tracking.client import Connection
from curation.tracking.run_contents import DataInput, RunContents
from curation.tracking.runs import Runs


@pytest.fixture
def connection(tmp_path, tracking_uri):
    return Connection(tracking_uri, tmp_path / "home" / "mlartifacts")


@pytest.fixture
def runs(connection):
    return Runs(connection)


def test_a_run_keeps_all_of_it(runs, connection, tmp_path):
    file = tmp_path / "record.json"
    file.write_text("{}")
    about = RunContents(
        params={f"p{i}": i for i in range(120)},  # more than MLflow takes at once
        metrics={"mcc": 0.9, "map50": None},
        curves={"tiny/train_loss": [3.0, None, 1.0]},
        inputs=[DataInput("site", "round-02", "0123456789abcdef", "training", 2, 40)],
        figures={"confusion": Figure()},
        tables={"verdict": {"outcome": "keep"}},
        pages={"verdict.html": "<p>no</p>"},
        files={"round": file},
    )
    with runs.open("demo", run_name="fit", tags={"round": "2"}) as run_id:
        runs.log(run_id, about)
    client = connection.client
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert (run.info.run_name, run.data.tags["round"]) == ("fit", "2")
    assert (len(run.data.params), run.data.params["p119"]) == (120, "119")
    assert run.data.metrics["mcc"] == 0.9
    assert "map50" not in run.data.metrics
    curve = client.get_metric_history(run_id, "tiny/train_loss")
    assert [(one.step, one.value) for one in curve] == [(1, 3.0), (3, 1.0)]
    names = {one.path for folder in ("", "plots", "tables", "round")
             for one in client.list_artifacts(run_id, folder)}  # fmt: skip
    assert {"plots/confusion.png", "tables/verdict.json", "verdict.html", "round/record.json"} <= (
        names
    )


def test_data_is_found_again_by_dataset_view_and_hash(runs, connection):
    from curation.tracking.dataset_source import FiftyOneSource  # MLflow comes with it

    given = DataInput("site", "round-02", "0123456789abcdef", "training", 2, 40)
    with runs.open("demo") as run_id:
        runs.log(run_id, RunContents(inputs=[given]))
    (found,) = connection.client.get_run(run_id).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("site", "0123456789abcdef")
    assert found.dataset.source_type == "fiftyone"
    source = json.loads(found.dataset.source)
    assert source == {
        "dataset": "site", "view": "match_tags('round-02')", "tag": "round-02", "round": 2,
    }  # fmt: skip
    assert FiftyOneSource.from_dict(source).to_dict() == source
    tags = {one.key: one.value for one in found.tags}
    assert tags == {
        "mlflow.data.context": "training",
        "round": "2",
        "snapshot": "0123456789abcdef",
        "images": "40",
    }


def test_the_machine_is_watched_meanwhile(runs, connection):
    with runs.open("demo") as run_id:
        pass
    metrics = connection.client.get_run(run_id).data.metrics
    assert "system/cpu_utilization_percentage" in metrics
    assert "system/system_memory_usage_megabytes" in metrics


def test_a_run_goes_on_where_it_was(runs, connection):
    with runs.open("demo") as run_id:
        runs.log(run_id, RunContents(params={"a": 1}))
    with runs.open("demo", run_id=run_id) as same:
        assert same == run_id
        runs.log(run_id, RunContents(params={"b": 2}))
    run = connection.client.get_run(run_id)
    assert (run.info.status, run.data.params) == ("FINISHED", {"a": "1", "b": "2"})


def test_interrupted_run_is_failed(runs, connection):
    opened = runs.open("demo")
    run_id = opened.__enter__()
    assert opened.__exit__(ZeroDivisionError, ZeroDivisionError(), None) is False
    assert connection.client.get_run(run_id).info.status == "FAILED"


def test_unknown_run_is_reported(runs):
    with (
        pytest.raises(PublishError, match="Cannot track the run"),
        runs.open("demo", run_id="0" * 32),
    ):
        pass
