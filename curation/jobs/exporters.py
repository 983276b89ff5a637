"""The same job for other schedulers: cron, systemd, Kubernetes, Airflow, Prefect.

All of them run `curate jobs run NAME --owed`, which looks up what the schedule owes and does
that, once, whoever calls and however often. So a scheduler that fires twice, or late, does no
harm; what this machine's scheduler cannot express is said in a comment. Addresses are exported, no
secret is, nor an address with a password in it.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from curation.jobs import schedule
from curation.jobs.models import Job, JobError

VARIABLES = (
    "CURATION_HOME", "FIFTYONE_DATABASE_URI", "FIFTYONE_DATABASE_NAME", "MLFLOW_TRACKING_URI",
    "LABEL_STUDIO_URL", "CVAT_URL", "CURATION_SMTP", "CURATION_SECRETS_DIR", "VAULT_ADDR",
    "CURATION_VAULT_MOUNT", "CURATION_VAULT_PATH",
)  # fmt: skip
SECRETS = ("LABEL_STUDIO_API_KEY", "CVAT_TOKEN", "SMTP_PASSWORD", "VAULT_TOKEN")
_PASSWORD = re.compile(r"//[^/@]*:[^/@]*@")
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_GRACE_S = 300  # beyond all attempts, before another scheduler ends the process
_SECRET = "curation"  # noqa: S105 - the name of the Kubernetes secret that holds the variables


def here(variables: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the variables of `VARIABLES` that may be written down, and the names of the others.

    Args:
        variables: The environment.
    """
    known = {one: variables[one] for one in VARIABLES if variables.get(one)}
    left_out = tuple(one for one, value in known.items() if _PASSWORD.search(value))
    left_out += tuple(one for one in SECRETS if variables.get(one))
    return {one: value for one, value in known.items() if one not in left_out}, left_out


def cron(job: Job, command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return a line for crontab(5), with the variables that a job needs before it.

    Args:
        job: The job.
        command: How `curate` is called: absolute, for cron has almost no PATH.
        environment: Variables of `VARIABLES` that are set here.
    """
    line = " ".join([_crontab(job), _shell([*command, *_words(job)]).replace("%", "\\%")])
    remark = (
        "" if job.cron is None else
        f"# The times are of {job.zone}. A cron that does not know CRON_TZ, such as Debian's,\n"
        "# takes them for its own zone's, and the job is run up to a day late, or is missed where\n"
        "# it is not to be caught up. There, write `0 * * * *`: to ask more often does no harm.\n"
        f"CRON_TZ={job.zone}\n"
    )  # fmt: skip
    variables = "".join(f"{name}={value}\n" for name, value in environment.items())
    return f"{variables}{remark}{line}\n"


def systemd(job: Job, command: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the unit files of a service and its timer, by file name.

    Args:
        job: The job.
        command: How `curate` is called: absolute.
        environment: Variables of `VARIABLES` that are set here.
    """
    _refuse_strict(job)
    name = f"curation-{job.name}"
    variables = "".join(
        f"Environment={_quoted(f'{key}={value}')}\n" for key, value in environment.items()
    )
    words = " ".join(_quoted(word) for word in [*command, *_words(job)])
    service = (
        f"[Unit]\nDescription=Curation job {job.name}\n"
        "Wants=network-online.target\nAfter=network-online.target\n\n"
        f"[Service]\nType=oneshot\n{variables}ExecStart={words}\n"
        f"TimeoutStartSec={_longest_s(job)}\n"
    )
    when = (
        f"OnCalendar={_calendar(job)}\nPersistent=true\n" if job.cron is not None else
        f"OnActiveSec=1\nOnUnitActiveSec={job.every_s}\n"
    )  # fmt: skip
    timer = (
        f"[Unit]\nDescription=When the curation job {job.name} is due\n\n"
        f"[Timer]\n{when}AccuracySec=1s\n\n[Install]\nWantedBy=timers.target\n"
    )
    return {f"{name}.service": service, f"{name}.timer": timer}


def kubernetes(job: Job, image: str) -> str:
    """Return a CronJob. Its variables come from a secret named `curation`.

    Args:
        job: The job.
        image: The container image that has `curate`.
    """
    keys = {name: name.lower().replace("_", "-") for name in (*VARIABLES, *SECRETS)}
    container = {
        "name": "curate",
        "image": image,
        "command": ["curate"],
        "args": _words(job),
        "env": [
            {
                "name": name,
                "valueFrom": {
                    "secretKeyRef": {
                        "name": _SECRET, "key": key, "optional": name != "FIFTYONE_DATABASE_URI",
                    }
                },
            }
            for name, key in keys.items()
        ],
    }  # fmt: skip
    manifest: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": f"curation-{job.name}"},
        "spec": {
            "schedule": _crontab(job),
            "timeZone": _zone_of(job),
            "concurrencyPolicy": "Forbid" if job.overlap == "skip" else "Allow",
            "startingDeadlineSeconds": 3600,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 0,  # it tries again by itself
                    "activeDeadlineSeconds": _longest_s(job),
                    "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
                }
            },
        },
    }
    return yaml.safe_dump(manifest, sort_keys=False)


def airflow(job: Job) -> str:
    """Return an Airflow DAG (2.4 or later) that calls the job."""
    return (
        f'"""Curation job {job.name}: what it owes is looked up by `curate` itself."""\n\n'
        "from datetime import timedelta\n\n"
        "import pendulum\nfrom airflow import DAG\n"
        "from airflow.operators.bash import BashOperator\n\n"
        f"with DAG(\n    dag_id={_text(f'curation-{job.name}')},\n"
        f"    schedule={_text(_crontab(job))},\n"
        f"    start_date=pendulum.datetime({job.created.year}, {job.created.month}, "
        f"{job.created.day}, tz={_text(_zone_of(job))}),\n"
        "    catchup=False,  # `curate` catches up by itself\n"
        "    max_active_runs=1,\n):\n"
        f'    BashOperator(\n        task_id="run",\n'
        f"        bash_command={_text(_shell(['curate', *_words(job)]))},\n"
        "        append_env=True,\n"
        f"        execution_timeout=timedelta(seconds={_longest_s(job)}),\n    )\n"
    )


def prefect(job: Job) -> str:
    """Return a Prefect flow (3 or later) that calls the job; running the file serves it."""
    words = ", ".join(_text(word) for word in ["curate", *_words(job)])
    return (
        f'"""Curation job {job.name}: what it owes is looked up by `curate` itself."""\n\n'
        "import subprocess\n\nfrom prefect import flow\nfrom prefect.schedules import Cron\n\n\n"
        f"@flow(name={_text(f'curation-{job.name}')}, timeout_seconds={_longest_s(job)})\n"
        f"def run() -> None:\n    subprocess.run([{words}], check=True)\n\n\n"
        'if __name__ == "__main__":\n'
        f"    run.serve(schedule=Cron({_text(_crontab(job))}, timezone={_text(_zone_of(job))}))\n"
    )


def _words(job: Job) -> list[str]:
    return ["jobs", "run", job.name, "--owed"]


def _longest_s(job: Job) -> int:
    waits = sum(schedule.backoff_s(job, i) for i in range(1, job.retries + 1))
    return int((job.retries + 1) * job.timeout_s + waits + job.jitter_s + _GRACE_S)


def _zone_of(job: Job) -> str:
    return "Etc/UTC" if job.cron is None or job.zone == "UTC" else job.zone


def _crontab(job: Job) -> str:
    """Return the five fields; an interval as the line that looks as often.

    Raises:
        JobError: Cron cannot look so often, or at such times.
    """
    _refuse_strict(job)
    if job.cron is not None:
        values = schedule.cron_values(job.cron)
        return " ".join("*" if one is None else ",".join(map(str, one)) for one in values)
    minutes, rest = divmod(job.every_s or 0, 60)
    if not rest and minutes < 60 and 60 % minutes == 0:
        return f"*/{minutes} * * * *" if minutes > 1 else "* * * * *"
    if not rest and minutes % 60 == 0 and 24 % (minutes // 60) == 0:
        return f"0 */{minutes // 60} * * *" if minutes < 1440 else "0 0 * * *"
    raise JobError(
        f"cron cannot say every {job.every_s} s. Choose a part of an hour or of a day, or run "
        "`curate jobs serve`."
    )


def _refuse_strict(job: Job) -> None:
    """Refuse an interval of which nothing is caught up: another clock never meets its times."""
    if job.cron is None and job.catch_up == "none":
        raise JobError(
            f"Job {job.name} counts from when it was made, and catches nothing up; another "
            "scheduler's clock would miss every time. Let it catch up (`--catch-up latest`), give "
            "it `--cron`, or run `curate jobs serve`."
        )


def _calendar(job: Job) -> str:
    minute, hour, day, month, weekday = schedule.cron_values(job.cron or "")
    days = "" if weekday is None else ",".join(_DAYS[i] for i in weekday) + " "
    return f"{days}*-{_two(month)}-{_two(day)} {_two(hour)}:{_two(minute)}:00 {job.zone}"


def _two(values: Sequence[int] | None) -> str:
    return "*" if values is None else ",".join(f"{one:02d}" for one in values)


def _shell(words: Sequence[str]) -> str:
    return shlex.join(words)


def _text(value: str) -> str:
    return json.dumps(value)


def _quoted(word: str) -> str:
    """Return a word as systemd reads it: no variables, no specifiers."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or " " in word else word


SNIPPETS: Mapping[str, Callable[[Job], str]] = {"airflow": airflow, "prefect": prefect}
