from dataclasses import replace
from datetime import UTC, datetime

import pytest

from curation.active_learning.gate.live_monitor import LiveCheck, append_check
from curation.jobs.catch_up import Entry
from curation.jobs.execution import runner
from curation.jobs.nightly import monitors
from curation.tracking.registry.promotion import open_promotions


@pytest.fixture(scope="session", autouse=True)
def fiftyone_before_mlflow(database):
    """Imported after it, FiftyOne warns of its own metadata."""
    import fiftyone  # noqa: F401


@pytest.fixture
def served(settings, tmp_path, tracking_uri, request):
    """Return settings under which two versions were promoted in turn."""
    mine = replace(settings, home=tmp_path / "home", tracking_uri=tracking_uri)
    with open_promotions(mine) as moving:
        for content in "ab":
            folder = tmp_path / content
            folder.mkdir()
            (folder / "manifest.yaml").write_text(content)
            version = moving.registry.register(folder, name="demo", identity=content)
            moving.promote("demo", version, by="Ada", why="in turn")
    return mine


def test_low_metric_rolls_back_and_refuses_run(served, store, clock, make_job, tmp_path):
    live = tmp_path / "live.jsonl"
    job = make_job(kind="metric", options={"dataset": "demo", "live": str(live), "floor": 0.9})

    def look(value):
        append_check(live, LiveCheck(datetime.now(UTC).isoformat(), "2", value, 100))
        clock.forward(hours=1)
        store.record("nightly", [Entry(clock(), "due")])
        return runner.attempt(
            job,
            clock(),
            lambda context: monitors.monitor_metric(context, served),
            store,
            clock=clock,
        )

    assert look(0.95).result["rolled_back"] is False
    assert [look(value).state for value in (0.8, 0.7)] == ["done", "done"]
    last = look(0.6)
    assert (last.state, last.reason[:27]) == ("refused", "Rolled back to version 1. T")
    with open_promotions(served) as moving:
        assert moving.registry.champion("demo") == "1"
