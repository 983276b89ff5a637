"""The verbs as a user runs them, on a registry of two small ensembles."""

import json
import shutil
import time
from datetime import UTC, datetime

import pytest

from cascade import manifest
from cascade.ensemble import Ensemble
from cascade.models.detection.center_point import CenterPoint
from curation.tracking import Registry

pytestmark = pytest.mark.slow

COLD_S = 15  # a rollback, from the shell, on a machine that is not busy with others


@pytest.fixture
def site(home, empty_store):
    """A home with three registered ensembles, 1 and 2 promoted in turn, 3 judged against 2."""
    home.folder.mkdir()
    shutil.copy(empty_store, home.folder)
    registry = Registry.from_settings(home.settings)
    for seed in range(3):
        folder = home.user / f"{seed}"
        CenterPoint(classes=("cone", "vehicle"), size=64, width=8, seed=seed).save(folder / "small")
        text = (
            "{name: small, members: [{name: small, tier: detection, adapter: center_point, "
            f'source: "{folder / "small"}", license: Apache-2.0}}]}}'
        )
        made = Ensemble.from_manifest(manifest.parse(text))
        registry.register(made.save(folder / "whole"), name="site", identity=made.identity)
    registry.set_tags("site", "3", verdict="keep", judged_against="2", reasons="MCC fell.")
    home.curate("promote", "site", 1, "--by", "Ada", "--why", "first", "--against-the-gate")
    home.curate("promote", "site", 2, "--by", "Ada", "--why", "good", "--against-the-gate")
    registry.set_challenger("site", "3")
    return home, registry


def test_promote_rollback_and_history(site):
    home, registry = site
    words = ("promote", "site", "--by", "Ada L.", "--why", "verdict read")
    refused = home.curate(*words, code=1)
    assert "verdict on version 3 is keep: MCC fell." in refused.err
    home.curate(*words, "--against-the-gate")
    assert registry.aliases("site") == {"champion": "3", "previous": "2"}

    began = time.monotonic()
    back = home.curate("rollback", "site", "--by", "Bob", "--why", "misses cones")
    seconds = time.monotonic() - began
    assert back.out == "Version 2 is champion again; version 3 is withdrawn.\n"
    assert seconds < 10 * COLD_S, "ten times what is promised, for a machine that is busy"
    again = home.curate("rollback", "site")
    assert "was already restored by Bob" in again.out
    assert registry.champion("site") == "2"

    shown = " ".join(home.curate("history", "site", COLUMNS=200).out.split())
    for expected in ("promote 2 → 3 Ada L. Against the gate: verdict read",
                     "rollback 3 → 2 Bob misses cones", "withdrawn", "champion"):  # fmt: skip
        assert expected in shown
    wrong = home.curate("promote", "site", 9, "--by", "a", "--why", "b", code=1)
    assert "'site' has no version '9'. Registered versions: 1 previous, 2 champion, 3." in wrong.err


def test_guard_rolls_back_and_writes_event(site):
    home, registry = site
    live = home.user / "live.jsonl"
    rows = [{"at": datetime.now(UTC).isoformat(), "version": "2", "value": 0.5, "n": 80}] * 3
    live.write_text("".join(json.dumps(one) + "\n" for one in rows))
    words = ("guard", "site", "--floor", 0.9, "--live", live)
    assert "Version 1 is restored." in home.curate(*words).out
    assert registry.champion("site") == "1"
    assert "No check of version 1" in home.curate(*words).out
    (event,) = (home.folder / "datasets" / "site" / "events.jsonl").read_text().splitlines()
    assert json.loads(event)["rolled_back"] is True


def test_history_without_versions_advises_publish(home):
    assert "No ensemble of 'nowhere' is registered" in home.curate("history", "nowhere").out
