"""Export of a job to other schedulers: cron, systemd, Kubernetes, Airflow, Prefect.

All of them call `curate jobs run NAME --owed`, which runs the times that are due, each once,
however often it is called. A scheduler that fires twice or late therefore does no harm. Exports
contain addresses, but neither secrets nor addresses with a password.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from curation.jobs import schedule
from curation.jobs.models import Job, JobError

Target = Literal["cron", "systemd", "kubernetes", "airflow", "prefect"]

VARIABLES = (
    "CURATION_HOME", "FIFTYONE_DATABASE_URI", "FIFTYONE_DATABASE_NAME", "MLFLOW_TRACKING_URI",
    "LABEL_STUDIO_URL", "CVAT_URL", "CURATION_SMTP", "CURATION_SECRETS_DIR", "VAULT_ADDR",
    "CURATION_VAULT_MOUNT", "CURATION_VAULT_PATH",
)  # fmt: skip
SECRETS = ("LABEL_STUDIO_API_KEY", "CVAT_TOKEN", "SMTP_PASSWORD", "VAULT_TOKEN")
_PASSWORD = re.compile(r"//[^/@]*:[^/@]*@")
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_GRACE_S = 300  # beyond all attempts, before another scheduler ends the process
_SECRET = "curation"  # noqa: S105 - name of the Kubernetes secret with the variables


def exportable_variables(variables: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the variables of `VARIABLES` without secrets, and the names of the secret ones.

    Args:
        variables: Environment variables.
    """
    present = {name: variables[name] for name in VARIABLES if variables.get(name)}
    secret = tuple(name for name, value in present.items() if _PASSWORD.search(value))
    secret += tuple(name for name in SECRETS if variables.get(name))
    return {name: value for name, value in present.items() if name not in secret}, secret


def export(
    job: Job, target: Target, command: Sequence[str], environment: Mapping[str, str], *, image: str
) -> dict[str, str]:
    """Return the files for another scheduler, by name.

    Args:
        job: The job.
        target: The scheduler.
        command: Absolute command that starts `curate` on this machine.
        environment: Values of `VARIABLES` on this machine.
        image: Container image with `curate`, for Kubernetes.

    Raises:
        JobError: The scheduler cannot express the job's times.
    """
    snippet = f"curation_{job.name.replace('-', '_')}_{target}.py"
    match target:
        case "cron":
            return {f"curation-{job.name}.cron": cron(job, command, environment)}
        case "systemd":
            return systemd(job, command, environment)
        case "kubernetes":
            return {f"curation-{job.name}.yaml": kubernetes(job, image)}
        case "airflow":
            return {snippet: airflow(job)}
        case "prefect":
            return {snippet: prefect(job)}


def cron(job: Job, command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return a line for crontab(5), preceded by the variables that the job needs.

    Args:
        job: The job.
        command: Absolute command that starts `curate`; cron has almost no PATH.
        environment: Values of `VARIABLES` on this machine.
    """
    return _render(
        "crontab.j2", job=job, environment=environment, schedule=_crontab(job),
        command=shlex.join([*command, *_arguments(job)]).replace("%", "\\%"),
    )  # fmt: skip


def systemd(job: Job, command: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the unit files of a service and its timer, by file name.

    Args:
        job: The job.
        command: Absolute command that starts `curate`.
        environment: Values of `VARIABLES` on this machine.
    """
    _require_catch_up(job)
    name = f"curation-{job.name}"
    calendar = None if job.cron is None else _calendar(job)
    return {
        f"{name}.service": _render(
            "systemd.service.j2", job=job, environment=environment,
            words=[*command, *_arguments(job)], longest_s=_longest_s(job),
        ),
        f"{name}.timer": _render("systemd.timer.j2", job=job, calendar=calendar),
    }  # fmt: skip


def kubernetes(job: Job, image: str) -> str:
    """Return a CronJob, whose variables come from a secret named `curation`.

    Args:
        job: The job.
        image: Container image with `curate`.
    """
    variables = [
        {
            "name": name,
            "valueFrom": {
                "secretKeyRef": {
                    "name": _SECRET,
                    "key": name.lower().replace("_", "-"),
                    "optional": name != "FIFTYONE_DATABASE_URI",
                }
            },
        }
        for name in (*VARIABLES, *SECRETS)
    ]
    container = {
        "name": "curate", "image": image, "command": ["curate"], "args": _arguments(job),
        "env": variables,
    }  # fmt: skip
    manifest: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": f"curation-{job.name}"},
        "spec": {
            "schedule": _crontab(job),
            "timeZone": _zone(job),
            "concurrencyPolicy": "Forbid" if job.overlap == "skip" else "Allow",
            "startingDeadlineSeconds": 3600,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 0,  # `curate` retries by itself
                    "activeDeadlineSeconds": _longest_s(job),
                    "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
                }
            },
        },
    }
    return yaml.safe_dump(manifest, sort_keys=False)


def airflow(job: Job) -> str:
    """Return an Airflow DAG (2.4 or later) that calls the job."""
    return _render(
        "airflow.py.j2", job=job, schedule=_crontab(job), zone=_zone(job),
        command=shlex.join(["curate", *_arguments(job)]), longest_s=_longest_s(job),
    )  # fmt: skip


def prefect(job: Job) -> str:
    """Return a Prefect flow (3 or later) that calls the job; running the file serves it."""
    return _render(
        "prefect.py.j2", job=job, schedule=_crontab(job), zone=_zone(job),
        words=["curate", *_arguments(job)], longest_s=_longest_s(job),
    )  # fmt: skip


@cache
def _templates() -> Environment:
    templates = Environment(  # noqa: S701 - the files are not HTML
        loader=PackageLoader("curation.jobs"), undefined=StrictUndefined, trim_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    templates.filters |= {"literal": json.dumps, "systemd_quote": _systemd_quote}
    return templates


def _render(template: str, **values: Any) -> str:
    return _templates().get_template(template).render(values)


def _arguments(job: Job) -> list[str]:
    return ["jobs", "run", job.name, "--owed"]


def _longest_s(job: Job) -> int:
    """Return the maximum duration of a run with all its attempts, in seconds."""
    waits = sum(schedule.backoff_s(job, i) for i in range(1, job.retries + 1))
    return int((job.retries + 1) * job.timeout_s + waits + job.jitter_s + _GRACE_S)


def _zone(job: Job) -> str:
    return "Etc/UTC" if job.cron is None or job.zone == "UTC" else job.zone


def _crontab(job: Job) -> str:
    """Return the five fields; for an interval, an expression that fires as often.

    Raises:
        JobError: Cron cannot express the interval.
    """
    _require_catch_up(job)
    if job.cron is not None:
        values = schedule.cron_values(job.cron)
        return " ".join("*" if field is None else ",".join(map(str, field)) for field in values)
    minutes, seconds = divmod(job.every_s or 0, 60)
    if not seconds and minutes < 60 and 60 % minutes == 0:
        return f"*/{minutes} * * * *" if minutes > 1 else "* * * * *"
    if not seconds and minutes % 60 == 0 and 24 % (minutes // 60) == 0:
        return f"0 */{minutes // 60} * * *" if minutes < 1440 else "0 0 * * *"
    raise JobError(
        f"cron cannot express every {job.every_s} s. Choose a divisor of an hour or of a day, or "
        "run `curate jobs serve`."
    )


def _require_catch_up(job: Job) -> None:
    """Refuse an interval without catch-up: another scheduler would miss all of its times."""
    if job.cron is None and job.catch_up == "none":
        raise JobError(
            f"The interval of job {job.name} counts from its creation, so another scheduler would "
            "miss every due time without catch-up. Use `--catch-up latest` or `--cron`, or run "
            "`curate jobs serve`."
        )


def _calendar(job: Job) -> str:
    """Return the times as a systemd calendar event."""
    minute, hour, day, month, weekday = schedule.cron_values(job.cron or "")
    days = "" if weekday is None else ",".join(_DAYS[i] for i in weekday) + " "
    return f"{days}*-{_two(month)}-{_two(day)} {_two(hour)}:{_two(minute)}:00 {job.zone}"


def _two(values: Sequence[int] | None) -> str:
    return "*" if values is None else ",".join(f"{value:02d}" for value in values)


def _systemd_quote(word: str) -> str:
    """Return a word quoted for systemd, without variables and specifiers."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or " " in word else word
