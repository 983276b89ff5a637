import ast
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime

import pytest
import yaml

from curation.jobs import exporters
from curation.jobs.models import Job, JobError

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
HOME = {"CURATION_HOME": "/var/lib/my curation"}


def job(**more):
    given = {"name": "nightly", "kind": "nightly", "created": CREATED, "zone": "Europe/Berlin"}
    return Job(**given | ({"cron": "30 2 * * mon-fri"} if "every_s" not in more else {}) | more)


def line_of(text):
    return next(line for line in text.splitlines() if "jobs run" in line)


def test_cron_line_uses_numbers():
    text = exporters.cron(job(), ["/opt/curate"], HOME)
    assert line_of(text) == "30 2 * * 1,2,3,4,5 /opt/curate jobs run nightly --owed"
    assert "CRON_TZ=Europe/Berlin" in text
    assert "CURATION_HOME=/var/lib/my curation" in text


def test_percent_sign_is_escaped_for_cron():
    assert r"/opt/100\%/curate" in exporters.cron(job(), ["/opt/100%/curate"], {})


@pytest.mark.parametrize(
    ("seconds", "fields"),
    [(60, "* * * * *"), (900, "*/15 * * * *"), (6 * 3600, "0 */6 * * *"), (86400, "0 0 * * *")],
)
def test_interval_becomes_cron_line(seconds, fields):
    assert line_of(exporters.cron(job(every_s=seconds), ["curate"], {})).startswith(
        f"{fields} curate"
    )


def test_interval_that_cron_cannot_express_is_refused():
    with pytest.raises(JobError, match="cron cannot express every 90 s"):
        exporters.cron(job(every_s=90), ["curate"], {})


@pytest.mark.parametrize(
    "made", [job(), job(cron="*/20 0-6 1,15 jan *"), job(every_s=5400)], ids=lambda one: one.when
)
def test_systemd_accepts_units(made, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here.")
    files = exporters.systemd(made, [sys.executable, "-m", "it's 100% $HOME"], HOME)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *(tmp_path / name for name in files)],
        capture_output=True, text=True, env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )  # fmt: skip
    ours = [row for row in done.stderr.splitlines() if "curation-" in row]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_systemd_calendar_matches():
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here.")
    timer = exporters.systemd(job(), ["/opt/curate"], {})["curation-nightly.timer"]
    when = next(row.partition("=")[2] for row in timer.splitlines() if "OnCalendar" in row)
    assert when == "Mon,Tue,Wed,Thu,Fri *-*-* 02:30:00 Europe/Berlin"
    output = subprocess.run(
        ["systemd-analyze", "calendar", "--base-time=2027-03-27 12:00:00 UTC", when],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "2027-03-29 00:30:00 UTC" in output or "2027-03-29 02:30:00 CEST" in output


def test_kubernetes_manifest():
    found = yaml.safe_load(exporters.kubernetes(job(overlap="skip"), "registry.example/curation:1"))
    assert (found["apiVersion"], found["kind"]) == ("batch/v1", "CronJob")
    spec = found["spec"]
    assert spec["schedule"] == "30 2 * * 1,2,3,4,5"
    assert spec["timeZone"] == "Europe/Berlin"
    assert spec["concurrencyPolicy"] == "Forbid"
    work = spec["jobTemplate"]["spec"]
    assert work["backoffLimit"] == 0
    assert work["activeDeadlineSeconds"] > 6 * 3600
    (container,) = work["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/curation:1"
    assert container["args"] == ["jobs", "run", "nightly", "--owed"]
    assert all("secretKeyRef" in one["valueFrom"] for one in container["env"])


def literals(text):
    return {one.value for one in ast.walk(ast.parse(text)) if isinstance(one, ast.Constant)}


def test_airflow_snippet_calls_job():
    text = exporters.airflow(job())
    assert {"30 2 * * 1,2,3,4,5", "Europe/Berlin", "curate jobs run nightly --owed"} <= literals(
        text
    )
    calls = {
        ast.unparse(one.func) for one in ast.walk(ast.parse(text)) if isinstance(one, ast.Call)
    }
    assert {"DAG", "BashOperator", "pendulum.datetime"} <= calls


def test_prefect_snippet_runs_job(tmp_path, monkeypatch):
    """Run with a stand-in for `prefect` that calls the flow instead of waiting for its time."""
    text = exporters.prefect(job())
    assert {"30 2 * * 1,2,3,4,5", "Europe/Berlin"} <= literals(text)
    package = tmp_path / "prefect"
    package.mkdir()
    (package / "__init__.py").write_text(
        "def flow(**options):\n"
        "    def made(run):\n"
        "        run.serve = lambda schedule: run()\n"
        "        return run\n"
        "    return made\n"
    )
    (package / "schedules.py").write_text("def Cron(line, timezone): return line, timezone\n")
    called = tmp_path / "curate"
    called.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n')
    called.chmod(0o755)
    (tmp_path / "flow.py").write_text(text)
    subprocess.run(
        [sys.executable, "flow.py"], cwd=tmp_path, check=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert (tmp_path / "called").read_text().split() == ["jobs", "run", "nightly", "--owed"]


def test_snippets_are_valid_for_intervals():
    odd = job(cron=None, every_s=60)
    for text in (exporters.airflow(odd), exporters.prefect(odd)):
        ast.parse(text)
    assert json.loads(json.dumps(yaml.safe_load(exporters.kubernetes(odd, 'a"b'))))


def test_addresses_are_exported_and_secrets_named():
    found, left_out = exporters.exportable_variables({
        "LABEL_STUDIO_URL": "https://labels.example", "LABEL_STUDIO_API_KEY": "k3y",
        "FIFTYONE_DATABASE_URI": "mongodb://ada:s3cr3t@db.example", "PATH": "/bin",
        "CURATION_SMTP": "smtps://ada@mail.example:465",
    })  # fmt: skip
    assert found == {
        "LABEL_STUDIO_URL": "https://labels.example",
        "CURATION_SMTP": "smtps://ada@mail.example:465",
    }
    assert left_out == ("FIFTYONE_DATABASE_URI", "LABEL_STUDIO_API_KEY")


def test_utc_is_named():
    assert "CRON_TZ=UTC" in exporters.cron(job(zone="UTC"), ["curate"], {})


@pytest.mark.parametrize(
    "form", [exporters.airflow, lambda job: exporters.systemd(job, ["curate"], {})]
)
def test_interval_without_catch_up_is_refused(form):
    with pytest.raises(JobError, match="--catch-up latest"):
        form(job(every_s=3600, catch_up="none"))
