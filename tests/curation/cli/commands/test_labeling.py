"""The verbs push, pull, status and sync, with a real server behind them."""

import sys
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[3] / "labeling_server"))

from labeling_fixtures import label_studio  # noqa: F401 - is looked up here

from curation.cli import app
from curation.cli.commands.labeling import _address
from curation.storage import schema, writer


def curate(*words, code=0):
    done = CliRunner().invoke(app, ["labeling", *map(str, words)])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


@pytest.fixture
def site(scenes, label_studio, monkeypatch):  # noqa: F811
    """Return a dataset whose first round chose two samples."""
    monkeypatch.setenv("LABEL_STUDIO_URL", label_studio.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", label_studio.token)
    scenes.name = f"verbs-{scenes.name}"
    schema.declare_choice(scenes)
    chosen = scenes.match({schema.SPLIT: "train"}).limit(2).values("id")
    writer.add_tags(scenes, {one: ["round-01", "arm:hard"] for one in chosen})
    writer.write_columns(scenes, chosen, {schema.RANK: [1, 2]})
    scenes.persistent = True
    yield scenes
    scenes.persistent = False


def tasks_of(server):
    project = server.ask("GET", "/api/projects/?page_size=1000")["results"][0]["id"]
    return [one["id"] for one in server.ask("GET", f"/api/tasks/?project={project}")["tasks"]]


def test_push_status_pull_and_watch(site, label_studio):  # noqa: F811
    assert "pushed: 2" in curate("push", site.name)
    assert "existing: 2" in curate("push", site.name)
    assert "waiting: 2" in curate("status", site.name)
    one, two = tasks_of(label_studio)
    label_studio.ask("POST", f"/api/tasks/{one}/annotations/", {"result": []})
    assert "labeled: 1" in curate("pull", site.name)

    def later():
        time.sleep(4)
        label_studio.ask("POST", f"/api/tasks/{two}/annotations/", {"result": []})

    thread = threading.Thread(target=later)
    thread.start()
    began = time.monotonic()
    out = curate("sync", site.name, "--watch", "--interval", 120)
    thread.join()
    assert "Waiting for webhook calls." in out
    assert "All samples of the round are labeled." in out
    assert time.monotonic() - began < 60, "it did not wait for the clock"
    site.reload()
    assert len(site.match_tags("round-01").exists(schema.LABELED_ROUND)) == 2


@pytest.mark.parametrize("text", ["127.0.0.1", ":80", "127.0.0.1:x"])
def test_listen_address_needs_host_and_port(text):
    with pytest.raises(Exception, match="HOST:PORT"):
        _address(text)
    assert _address("127.0.0.1:80") == ("127.0.0.1", 80)
