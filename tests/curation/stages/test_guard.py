import json
from datetime import UTC, datetime

import pytest

from cascade import taxonomy as taxonomies
from curation.active_learning.gate.live_monitor import LiveCheck, RollbackPolicy, append_check
from curation.errors import StageError
from curation.stages.guard import guard, measure_live_mcc
from curation.storage.database import mongod
from curation.tracking import Registry
from curation.tracking.registry.promotion import Promotions, history

FLOOR = RollbackPolicy(floor=0.9, checks=2, min_samples=10)


@pytest.fixture(scope="session", autouse=True)
def fiftyone_before_mlflow(database):
    """Imported after it, FiftyOne warns of its own metadata."""
    import fiftyone  # noqa: F401


@pytest.fixture
def moving(tmp_path, tracking_uri, database):
    registry = Registry(tracking_uri, tmp_path / "home" / "mlartifacts")
    with mongod.open_client(database) as client:
        made = Promotions(registry, client.watched)
        for content in "ab":
            folder = tmp_path / content
            folder.mkdir()
            (folder / "manifest.yaml").write_text(content)
            version = registry.register(folder, name="demo", identity=content)
            made.promote("demo", version, by="Ada", why="in turn")
        yield made
        client.drop_database("watched")


def test_drop_rolls_back_once_and_writes_event(moving, tmp_path):
    live, events = tmp_path / "live.jsonl", tmp_path / "events.jsonl"

    def look(value):
        champion = moving.registry.champion("demo")
        append_check(live, LiveCheck(datetime.now(UTC).isoformat(), champion, value, 100))
        return guard(moving, "demo", live=live, policy=FLOOR, events=events)

    assert look(0.95).rolled_back is False
    assert look(0.80).rolled_back is False
    last = look(0.70)
    assert (last.rolled_back, last.version, last.in_service) == (True, "2", "1")
    assert last.reason.endswith("below 0.9 in 2 checks in a row: 0.8000, 0.7000.")
    (event,) = [json.loads(line) for line in events.read_text().splitlines()]
    assert (event["event"], event["version"], event["in_service"]) == ("rollback", "2", "1")
    trail = history(moving.registry, "demo")[-1]
    assert (trail.kind, trail.by, trail.why) == ("rollback", "guard", last.reason)
    assert look(0.70).rolled_back is False, "of the version that is back, one check so far"


def test_checks_of_earlier_service_period_are_ignored(moving, tmp_path):
    live = tmp_path / "live.jsonl"
    for value in (0.5, 0.6):
        append_check(live, LiveCheck("2026-01-01", "1", value, 100))
    for value in (0.5, 0.6):
        append_check(live, LiveCheck(datetime.now(UTC).isoformat(), "2", value, 100))
    assert guard(moving, "demo", live=live, policy=FLOOR).in_service == "1"
    again = guard(moving, "demo", live=live, policy=FLOOR)
    assert (again.rolled_back, again.in_service) == (False, "1")
    assert "No check of version 1" in again.reason


def test_missing_champion_raises(moving, tmp_path):
    with pytest.raises(StageError, match="No version of 'other' is in service"):
        guard(moving, "other", live=tmp_path / "live.jsonl", policy=FLOOR)


@pytest.fixture
def live(dataset):
    """Return six samples that people labeled, decided on by the ensemble `abc`."""
    import fiftyone as fo

    from curation.storage import schema

    taxonomy = taxonomies.load("roadwork")
    schema.declare(dataset, taxonomy)
    decision = taxonomy.decision.name
    box = fo.Detection(label=taxonomy.deciding[0], bounding_box=[0.1, 0.1, 0.2, 0.2])
    labels = ["yes", "yes", "no", "no", "no", "yes"]
    truth = [True, True, True, False, False, False]
    rows = [
        fo.Sample(
            filepath=f"/{i}.png",
            **{
                schema.GROUND_TRUTH: fo.Detections(detections=[box.copy()] if yes else []),
                decision: fo.Classification(label=label, fingerprint="abc"),
            },
        )
        for i, (yes, label) in enumerate(zip(truth, labels, strict=True))
    ]
    rows.append(fo.Sample(filepath="/unlabeled.png"))
    dataset.add_samples(rows, progress=False)
    return dataset, taxonomy


def test_live_metric_is_mcc_of_champion_decisions(live):
    dataset, taxonomy = live
    check = measure_live_mcc(dataset, taxonomy, version="2", ensemble="abc")
    assert (check.version, check.n) == ("2", 6)
    assert check.value == pytest.approx(1 / 3)  # tp 2, tn 2, fp 1, fn 1


def test_decisions_of_other_ensemble_are_ignored(live):
    dataset, taxonomy = live
    with pytest.raises(StageError, match="0 labeled live samples carry a decision of version 3"):
        measure_live_mcc(dataset, taxonomy, version="3", ensemble="xyz")
