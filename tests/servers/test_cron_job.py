"""The CronJob that `curate jobs export` writes, against the schema of Kubernetes itself."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from curation.jobs import exporters
from curation.jobs.models import Job

VENV = Path(__file__).parents[2] / ".kubernetes-validate"


@pytest.fixture(scope="module")
def validate():
    """Return `validate(text, folder)`: the exit code and what was said."""
    named = os.environ.get("KUBERNETES_VALIDATE") or VENV / "bin" / "kubernetes-validate"
    if not Path(named).is_file():
        pytest.skip("no schema here: run `make kubernetes-validate`, or set KUBERNETES_VALIDATE")

    def run(text, folder):
        path = folder / "cronjob.yaml"
        path.write_text(text)
        done = subprocess.run(
            [named, "--strict", "-k", "1.30.0", path], capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture(params=["cron", "interval"])
def text(request):
    times = {"cron": {"cron": "30 2 * * mon-fri", "zone": "Europe/Berlin"},
             "interval": {"every_s": 6 * 3600, "overlap": "skip"}}  # fmt: skip
    created = datetime(2026, 1, 1, tzinfo=UTC)
    return exporters.kubernetes(Job("nightly", "nightly", created, **times[request.param]), "i:1")


def test_manifest_matches_kubernetes_schema(validate, text, tmp_path):
    assert validate(text, tmp_path)[0] == 0, validate(text, tmp_path)[1]


def spoiled(manifest, path, value):
    *parents, last = path
    where = manifest
    for one in parents:
        where = where[one]
    where[last] = value
    return yaml.safe_dump(manifest)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "shedule"), "0 0 * * *"),
        (("spec", "startingDeadlineSeconds"), "soon"),
        (("spec", "jobTemplate", "spec", "template", "spec", "containers"), "curate"),
        (("spec", "jobTemplate", "spec", "backoffLimit"), "none"),
    ],
)
def test_schema_refuses_invalid_manifest(validate, text, tmp_path, path, value):
    code, said = validate(spoiled(yaml.safe_load(text), path, value), tmp_path)
    assert code != 0, said
