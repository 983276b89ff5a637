"""Every operator on a dataset with samples, on an empty samples, and with invalid parameters."""

import time

import pytest

from curation.app.operators import job_forms
from curation.jobs.store import JobStore
from curation.storage.database import mongod

LIST, ADD, RUN, PAUSE, REMOVE = (
    f"schedule_jobs/{name}"
    for name in ("list_jobs", "add_job", "run_job", "pause_job", "remove_job")
)


@pytest.fixture(params=["samples", "empty"])
def samples(request, dataset):
    """A dataset with samples, and one without."""
    import fiftyone as fo

    if request.param == "samples":
        dataset.add_samples([fo.Sample(filepath=f"/{i}.jpg") for i in range(3)])
    return dataset


@pytest.fixture(autouse=True)
def store(database):
    """The App's store of jobs, emptied before and after."""
    history = job_forms.history()

    def clear():
        for name in ("curation_jobs", "curation_job_runs"):
            history.database[name].delete_many({})

    clear()
    yield history
    clear()


@pytest.fixture
def nightly(store, dataset):
    job_forms.add({"name": "nightly", "when": "1d"}, dataset=dataset.name)
    return store


def result_of(outcome):
    assert outcome.error_message is None, outcome.error
    return outcome.result


def error_of(execute, operator, dataset, **params):
    """Return the error of a form that cannot be submitted."""
    from fiftyone.operators.executor import ExecutionError

    with pytest.raises(ExecutionError) as raised:
        execute(operator, dataset, **params)
    prefix, error = str(raised.value).split(" Reason: ", 1)
    assert prefix.startswith("Validation error. Path: ")
    return error


def invalid_property(shown):
    """Return the input or the note that keeps a form from being submitted."""
    return next(prop for prop in shown.values() if prop.invalid)


def test_added_job_is_listed_with_its_next_run(execute, samples, store):
    message = result_of(
        execute(ADD, samples, name="site", when="30 2 * * *", zone="Europe/Berlin")
    )["summary"]
    assert message.startswith("site is due 30 2 * * * Europe/Berlin, next at ")
    shown = result_of(execute(LIST, samples))
    (row,) = shown["jobs"]
    assert (row["job"], row["dataset"], row["kind"]) == ("site", samples.name, "nightly")
    assert row["next"].endswith("02:30:00")
    assert shown["runs"] == []
    job = store.job("site")
    assert (job.options["labeler"], job.options["budget"], job.options["watch"]) == (
        "files", 100, None,
    )  # fmt: skip


def test_missing_parameters_have_the_defaults_of_the_form(execute, form, samples, store):
    shown = form(ADD, samples)
    result_of(execute(ADD, samples))
    job = store.job(shown["name"].default)
    assert job.cron == shown["when"].default
    assert job.options["dataset"] == shown["dataset"].default == samples.name
    assert job.options["manifest"] == shown["manifest"].default
    assert "tiny" in [choice.value for choice in shown["manifest"].view.choices]


def test_empty_list(execute, samples):
    shown = result_of(execute(LIST, samples))
    assert (shown["jobs"], shown["runs"]) == ([], [])


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"name": "Not A Name"}, "lower-case letters, digits and hyphens"),
        ({"when": "30 25 * * *"}, "must be 0 to 23, got '25'"),
        ({"when": "often"}, "like 90s, 15m, 6h or 1d, got 'often'"),
        ({"when": "0 0 31 2 *"}, "never comes"),
        ({"zone": "Europe/Berlinn"}, "Unknown time zone 'Europe/Berlinn'"),
        ({"notify": "ada@example.org"}, "mailto:ada@example.org"),
        ({"manifest": "no_such"}, "no_such"),
    ],
)
def test_invalid_parameter_is_an_error_of_the_form(execute, form, samples, store, params, error):
    prop = invalid_property(form(ADD, samples, **params))
    assert error in prop.error_message
    assert "\n" not in prop.error_message
    assert error in error_of(execute, ADD, samples, **params)
    assert store.jobs() == []


def test_duplicate_name_is_an_error_of_the_form(execute, form, dataset, nightly):
    assert "already" in invalid_property(form(ADD, dataset, name="nightly")).error_message
    message = error_of(execute, ADD, dataset, name="nightly")
    assert "A job is named 'nightly' already" in message


@pytest.mark.parametrize("operator", [RUN, PAUSE, REMOVE])
def test_form_without_jobs(execute, form, samples, operator):
    assert (
        invalid_property(form(operator, samples)).error_message
        == "No job exists yet. Add one first."
    )
    assert error_of(execute, operator, samples) == "No job exists yet. Add one first."


@pytest.mark.parametrize("operator", [RUN, PAUSE, REMOVE])
def test_unknown_name_is_an_error_of_the_form(execute, form, samples, nightly, operator):
    shown = invalid_property(form(operator, samples, name="nightli"))
    assert shown.error_message == "Unknown job 'nightli'. Did you mean 'nightly'?"
    assert "nightli" in error_of(execute, operator, samples, name="nightli")


@pytest.mark.parametrize("operator", [RUN, PAUSE, REMOVE])
def test_form_offers_the_jobs(form, samples, nightly, operator):
    prop = form(operator, samples)["name"]
    assert [choice.value for choice in prop.view.choices] == ["nightly"]
    assert prop.default == "nightly"


def test_pausing_twice_resumes(execute, samples, nightly):
    assert result_of(execute(PAUSE, samples, name="nightly"))["summary"] == "nightly is paused."
    (row,) = result_of(execute(LIST, samples))["jobs"]
    assert row["next"] == "paused"
    assert result_of(execute(PAUSE, samples, name="nightly"))["summary"] == "nightly is resumed."
    assert not nightly.job("nightly").paused


def test_removed_job_is_deleted(execute, samples, nightly):
    assert result_of(execute(REMOVE, samples, name="nightly"))["summary"].startswith(
        "nightly is removed."
    )
    assert nightly.jobs() == []


@pytest.mark.slow
def test_run_now_starts_a_process(execute, dataset, nightly, database):
    """The dataset is empty, so there is little to do."""
    message = result_of(execute(RUN, dataset, name="nightly"))["summary"]
    assert message.startswith("nightly is running.")
    ends = time.monotonic() + 300  # it loads all that models need
    with mongod.open_client(database) as client:
        history = JobStore(client["tests"])
        while (run := history.runs("nightly")[0]).is_open and time.monotonic() < ends:
            time.sleep(0.5)
    assert not run.scheduled
    assert (run.state, len(run.attempts)) == ("done", 1), run.reason
    assert run.result["choose"] == "All samples of the pool have already been chosen."
    rows = result_of(execute(LIST, dataset))["runs"]
    assert (rows[0]["job"], rows[0]["state"]) == ("nightly", "done")


def test_button_is_above_the_grid(database, monkeypatch):
    from pathlib import Path

    import fiftyone as fo
    from fiftyone.operators.registry import OperatorRegistry

    monkeypatch.setattr(fo.config, "plugins_dir", str(Path(__file__).parents[2] / "plugins"))
    operator = OperatorRegistry().get_operator(f"@curation/{LIST}")
    placement = operator.resolve_placement(None).to_json()
    assert placement["place"] == "samples-grid-secondary-actions"
    assert placement["view"]["label"] == "Scheduled jobs"
