"""The verbs of jobs, by real commands in a home of their own."""

import os
import re
import shlex
import signal
import subprocess
import time

import numpy as np
import pytest
import yaml
from PIL import Image

from curation.storage.database import mongod

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inbox(tmp_path_factory):
    """Return a folder of small pictures."""
    folder = tmp_path_factory.mktemp("inbox")
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 255, (6, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((96, 72)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def shared_home(new_home, tmp_path_factory):
    """Return a home that the tests of this file share."""
    with new_home(tmp_path_factory.mktemp("home") / "user") as home:
        yield home


def add(home, name, inbox, *more):
    words = (name, f"of-{name}", "--watch", inbox, "--labeler", "files", "--budget", 3)
    return home.curate("jobs", "add", *words, *more)


def pushed(home, name):
    """Return the names of the images that were handed over, over all rounds."""
    root = home.folder / "datasets" / f"of-{name}" / "labeling"
    lists = sorted(root.glob("round-*/tasks.csv"))
    return [row.split(",")[1] for path in lists for row in path.read_text().splitlines()[1:]]


def minimal(line):
    """Run a crontab as cron does: its variables, /bin/sh, and almost no environment."""
    *rows, last = [row for row in line.splitlines() if not row.startswith("#")]
    variables = dict(row.split("=", 1) for row in rows)
    command = " ".join(last.split()[5:]).replace("\\%", "%")
    base = {"HOME": variables.pop("HOME", "/"), "LOGNAME": "user", "SHELL": "/bin/sh"}
    done = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, cwd="/",
        env={**base, "PATH": "/usr/bin:/bin", **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_exported_schedules_run_each_due_time_once(shared_home, inbox):
    add(shared_home, "nightly", inbox, "--every", "1d", "--notify", "mailto:ada@example.org")
    uri = mongod.status(shared_home.settings).uri
    line = shared_home.curate("jobs", "export", "nightly").out
    units = shared_home.user / "units"
    shared_home.curate("jobs", "export", "nightly", "--as", "systemd", "--into", units)
    text = shared_home.curate("jobs", "export", "nightly", "--as", "kubernetes").out
    assert "CURATION_HOME" in line

    assert "No run of nightly is due" in minimal(line)
    a_day_passes(uri, "nightly")
    assert re.search(r"nightly .* UTC: done", minimal(line))
    first = pushed(shared_home, "nightly")
    assert len(first) == len(set(first)) == 3
    assert "No run of nightly is due" in minimal(line)  # cron fires twice

    a_day_passes(uri, "nightly")
    service = (units / "curation-nightly.service").read_text()
    variables = re.findall(r'^Environment="?(.*?)"?$', service, re.M)
    words = shlex.split(re.search(r"^ExecStart=(.*)$", service, re.M)[1])
    env = {"PATH": "/usr/bin:/bin", **dict(one.split("=", 1) for one in variables)}
    done = subprocess.run(words, capture_output=True, text=True, env=env, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "UTC: done" in done.stdout
    assert len(set(pushed(shared_home, "nightly"))) == 6

    a_day_passes(uri, "nightly")
    spec = yaml.safe_load(text)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    done = shared_home.curate(*container["args"])
    assert "UTC: done" in done.out
    assert len(pushed(shared_home, "nightly")) == 6  # all of the pool was chosen before

    shown = shared_home.curate("jobs", "history", "nightly", COLUMNS=200).out
    assert len(re.findall(r"\bdone\b.*\b1\b", shown)) == 3
    assert "predict" not in shown
    assert "nightly" in shared_home.curate("jobs", "list", COLUMNS=200).out


def test_serve_runs_due_jobs_until_sigterm(shared_home, inbox):
    add(shared_home, "often", inbox, "--every", "3s", "--catch-up", "none")
    served = shared_home.start("curate", "jobs", "serve")
    until(
        lambda: re.search(r"\bdone\b", shared_home.curate("jobs", "history", "often").out), served
    )
    os.kill(served.process.pid, signal.SIGTERM)
    assert served.wait() == 0
    assert "Stopping." in served.err
    assert len(set(pushed(shared_home, "often"))) == len(pushed(shared_home, "often")) >= 3
    shared_home.curate("jobs", "remove", "often")
    assert "often" not in shared_home.curate("jobs", "list").out
    assert "often" in shared_home.curate("jobs", "history", "often").out


def test_paused_job_skips_due_times(shared_home, inbox):
    add(shared_home, "resting", inbox, "--every", "1d")
    uri = mongod.status(shared_home.settings).uri
    shared_home.curate("jobs", "pause", "resting")
    assert "paused" in shared_home.curate("jobs", "list", COLUMNS=200).out
    a_day_passes(uri, "resting")
    assert "No run of resting is due" in shared_home.curate("jobs", "run", "resting", "--owed").out
    shared_home.curate("jobs", "resume", "resting")
    shown = shared_home.curate("jobs", "history", "resting", COLUMNS=200).out
    assert re.search(r"skipped.*The job was paused\.", shown)
    assert pushed(shared_home, "resting") == []
    shared_home.curate("jobs", "remove", "resting")


def test_invalid_job_is_one_line(shared_home, inbox):
    for more, said in (
        (("--every", "1d", "--cron", "0 2 * * *"), "either `--cron"),
        (("--cron", "0 25 * * *"), "hour .* 0 to 23, got '25'"),
        (("--cron", "0 2 * * *", "--notify", "ada@example.org"), "mailto:ada@example.org"),
    ):
        words = ("odd", "of-odd", "--watch", inbox, *more)
        line = shared_home.curate("jobs", "add", *words, code=1).err
        assert re.search(said, line)
        assert line.count("\n") == 1
    assert "Unknown job 'odd'" in shared_home.curate("jobs", "run", "odd", code=1).err


def test_debian_cron_runs_exported_line(shared_home, inbox):
    """The line in a crontab of its own, and Debian's cron for two minutes."""
    cron = os.environ.get("CRON_TO_TRY")
    if cron is None or os.geteuid() != 0:
        pytest.skip("CRON_TO_TRY names no cron that may be started here, as root.")
    add(shared_home, "minutely", inbox, "--every", "60s")
    path = "/var/spool/cron/crontabs/root"
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    assert not os.path.exists(path), "there is a crontab of root already"
    with open(path, "w") as file:
        file.write(shared_home.curate("jobs", "export", "minutely").out)
    os.chmod(path, 0o600)
    running = subprocess.Popen([cron, "-f"])
    try:
        shows = ("jobs", "history", "minutely")
        until(lambda: re.search(r"\bdone\b", shared_home.curate(*shows).out), None, seconds=200)
    finally:
        running.terminate()
        running.wait()
        os.unlink(path)
    assert len(set(pushed(shared_home, "minutely"))) >= 3


def a_day_passes(uri, job):
    """Put a job's creation, and all that is on record of it, a day back."""
    with mongod.open_client(uri) as client:
        database = client.fiftyone
        day = 24 * 3600 * 1000
        database.curation_jobs.update_one(
            {"_id": job}, [{"$set": {"created": {"$subtract": ["$created", day]}}}]
        )
        for run in list(database.curation_job_runs.find({"job": job}).sort("due", 1)):
            before = run["_id"]
            run["due"] = run["due"] - np.timedelta64(1, "D").astype("timedelta64[us]").item()
            run["_id"] = f"{job}@{run['due']:%Y-%m-%dT%H:%M:%S}+00:00"
            database.curation_job_runs.delete_one({"_id": before})
            database.curation_job_runs.insert_one(run)


def until(came, served, *, seconds=240):
    ends = time.monotonic() + seconds
    while not came():
        assert time.monotonic() < ends, served and served.err
        assert served is None or served.is_running, served.err
        time.sleep(0.5)
