"""Every operator on a dataset with samples, on an empty one, and with what cannot be meant."""

import time

import pytest

from curation.app.operators import job_forms
from curation.jobs.store import History
from curation.storage.database import mongod

LIST, ADD, RUN, PAUSE, REMOVE = (
    f"schedule_jobs/{name}"
    for name in ("list_jobs", "add_job", "run_job", "pause_job", "remove_job")
)


@pytest.fixture(params=["samples", "empty"])
def one(request, dataset):
    """Return a dataset with samples, and one without."""
    import fiftyone as fo

    if request.param == "samples":
        dataset.add_samples([fo.Sample(filepath=f"/{i}.jpg") for i in range(3)])
    return dataset


@pytest.fixture(autouse=True)
def record(database):
    """Return the record of jobs that the App works on, empty at first and afterwards."""
    kept = job_forms.history()

    def empty():
        for name in ("curation_jobs", "curation_job_runs"):
            kept.database[name].delete_many({})

    empty()
    yield kept
    empty()


@pytest.fixture
def nightly(record, dataset):
    job_forms.add({"name": "nightly", "when": "1d"}, dataset=dataset.name)
    return record


def done(outcome):
    assert outcome.error_message is None, outcome.error
    return outcome.result


def refused(execute, operator, dataset, **params):
    """Return what is said where a form cannot be sent."""
    from fiftyone.operators.executor import ExecutionError

    with pytest.raises(ExecutionError) as raised:
        execute(operator, dataset, **params)
    where, said = str(raised.value).split(" Reason: ", 1)
    assert where.startswith("Validation error. Path: ")
    return said


def problem_of(shown):
    """Return the input, or the note, that keeps a form from being sent."""
    return next(one for one in shown.values() if one.invalid)


def test_an_added_job_is_listed_with_its_next_time(execute, one, record):
    said = done(execute(ADD, one, name="site", when="30 2 * * *", zone="Europe/Berlin"))["summary"]
    assert said.startswith("site is due 30 2 * * * Europe/Berlin, next at ")
    shown = done(execute(LIST, one))
    (row,) = shown["jobs"]
    assert (row["job"], row["dataset"], row["kind"]) == ("site", one.name, "nightly")
    assert row["next"].endswith("02:30:00")
    assert shown["runs"] == []
    job = record.job("site")
    assert (job.options["labeler"], job.options["budget"], job.options["watch"]) == (
        "files", 100, None,
    )  # fmt: skip


def test_what_is_left_out_has_the_defaults_of_the_form(execute, form, one, record):
    shown = form(ADD, one)
    done(execute(ADD, one))
    job = record.job(shown["name"].default)
    assert job.cron == shown["when"].default
    assert job.options["dataset"] == shown["dataset"].default == one.name
    assert job.options["manifest"] == shown["manifest"].default
    assert "tiny" in [choice.value for choice in shown["manifest"].view.choices]


def test_nothing_is_listed_where_there_is_nothing(execute, one):
    shown = done(execute(LIST, one))
    assert (shown["jobs"], shown["runs"]) == ([], [])


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"name": "Not A Name"}, "lower case, digits and hyphens"),
        ({"when": "30 25 * * *"}, "must lie in 0 to 23, got '25'"),
        ({"when": "often"}, "like 90s, 15m, 6h or 1d, got 'often'"),
        ({"when": "0 0 31 2 *"}, "never comes"),
        ({"zone": "Europe/Berlinn"}, "No time zone is named 'Europe/Berlinn'"),
        ({"notify": "ada@example.org"}, "mailto:ada@example.org"),
        ({"manifest": "no_such"}, "no_such"),
    ],
)
def test_what_cannot_be_meant_is_said_in_the_form(execute, form, one, record, params, says):
    problem = problem_of(form(ADD, one, **params))
    assert says in problem.error_message
    assert "\n" not in problem.error_message
    assert says in refused(execute, ADD, one, **params)
    assert record.jobs() == []


def test_a_name_that_is_taken_is_said_in_the_form(execute, form, dataset, nightly):
    assert "already" in problem_of(form(ADD, dataset, name="nightly")).error_message
    said = refused(execute, ADD, dataset, name="nightly")
    assert "A job is named 'nightly' already" in said


@pytest.mark.parametrize("operator", [RUN, PAUSE, REMOVE])
def test_without_jobs_the_form_says_so(execute, form, one, operator):
    assert problem_of(form(operator, one)).error_message == "There is no job yet. Add one first."
    assert refused(execute, operator, one) == "There is no job yet. Add one first."


@pytest.mark.parametrize("operator", [RUN, PAUSE, REMOVE])
def test_a_name_that_nobody_bears_is_said_in_the_form(execute, form, one, nightly, operator):
    shown = problem_of(form(operator, one, name="nightli"))
    assert shown.error_message == "There is no job 'nightli'. Did you mean 'nightly'?"
    assert "nightli" in refused(execute, operator, one, name="nightli")


@pytest.mark.parametrize("operator", [RUN, PAUSE, REMOVE])
def test_the_form_offers_the_jobs(form, one, nightly, operator):
    asked = form(operator, one)["name"]
    assert [choice.value for choice in asked.view.choices] == ["nightly"]
    assert asked.default == "nightly"


def test_pausing_twice_resumes(execute, one, nightly):
    assert done(execute(PAUSE, one, name="nightly"))["summary"] == "nightly is paused."
    (row,) = done(execute(LIST, one))["jobs"]
    assert row["next"] == "paused"
    assert done(execute(PAUSE, one, name="nightly"))["summary"] == "nightly is due again."
    assert not nightly.job("nightly").paused


def test_a_removed_job_is_gone(execute, one, nightly):
    assert done(execute(REMOVE, one, name="nightly"))["summary"].startswith("nightly is removed.")
    assert nightly.jobs() == []


@pytest.mark.slow
def test_running_now_makes_a_run_in_a_process_of_its_own(execute, dataset, nightly, database):
    """The dataset is empty, so there is little to do."""
    said = done(execute(RUN, dataset, name="nightly"))["summary"]
    assert said.startswith("nightly runs.")
    ends = time.monotonic() + 300  # it loads all that models need
    with mongod.open_client(database) as client:
        kept = History(client["tests"])
        while (run := kept.runs("nightly")[0]).is_open and time.monotonic() < ends:
            time.sleep(0.5)
    assert not run.scheduled
    assert (run.state, len(run.attempts)) == ("done", 1), run.reason
    assert run.result["choose"] == "Nothing is left to choose: all of the pool was chosen before."
    rows = done(execute(LIST, dataset))["runs"]
    assert (rows[0]["job"], rows[0]["state"]) == ("nightly", "done")


def test_the_button_is_above_the_grid(database, monkeypatch):
    from pathlib import Path

    import fiftyone as fo
    from fiftyone.operators.registry import OperatorRegistry

    monkeypatch.setattr(fo.config, "plugins_dir", str(Path(__file__).parents[2] / "plugins"))
    operator = OperatorRegistry().get_operator(f"@curation/{LIST}")
    placement = operator.resolve_placement(None).to_json()
    assert placement["place"] == "samples-grid-secondary-actions"
    assert placement["view"]["label"] == "Scheduled jobs"
