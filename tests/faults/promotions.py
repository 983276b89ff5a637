"""Script of `test_promotion.py`: kill promotions or rollbacks in forked children, and inspect.

python promotions.py promote|rollback|race FOLDER MONGODB
"""

import json
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

# Imported before the first fork; a child never uses a connection of its parent.
import mlflow.pyfunc  # noqa: F401
import torch

from cascade import manifest
from cascade.ensemble import Ensemble
from cascade.inference.predictor import Predictor
from cascade.models.detection.center_point import CenterPoint
from curation.storage.database import lease, mongod  # noqa: F401
from curation.storage.database.lease import LeaseError
from curation.tracking import Registry
from curation.tracking.registry.promotion import Promotions, history

MODE, FOLDER, MONGODB = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
NAME = "demo"
MANIFEST = """
name: small
members:
  - {name: small, tier: detection, adapter: center_point, source: "FOLDER", license: Apache-2.0}
"""


def main():
    torch.set_num_threads(1)
    shutil.copy(FOLDER / "mlflow.db", FOLDER / "warm.db")
    warm = Registry(f"sqlite:///{FOLDER / 'warm.db'}", FOLDER / "warm")
    warm.versions(NAME)  # each child would otherwise repeat these imports
    in_child(set_up)
    shutil.copy(FOLDER / "mlflow.db", FOLDER / "before.db")
    actions = {"promote": promote, "rollback": rollback}
    result = race() if MODE == "race" else kill_after_each_step(actions[MODE])
    print(json.dumps(result))  # noqa: T201


def set_up(moving):
    """Register three ensembles, promote 1 and 2 in turn, and challenge with or promote 3."""
    for seed in range(3):
        folder = FOLDER / f"{seed}"
        CenterPoint(classes=("cone", "vehicle"), size=64, width=8, seed=seed).save(folder / "small")
        parsed = manifest.parse(MANIFEST.replace("FOLDER", str(folder / "small")))
        ensemble = Ensemble.from_manifest(parsed)
        moving.registry.register(
            ensemble.save(folder / "whole"), name=NAME, identity=ensemble.identity
        )
    for version in "12" if MODE != "rollback" else "123":
        moving.promote(NAME, version, by="Ada", why="in turn")
    if MODE == "promote":
        moving.registry.set_challenger(NAME, "3")


def promote(moving):
    return moving.promote(NAME, "3", by="Ada", why="better", judged_against="2")


def rollback(moving):
    return moving.rollback(NAME, by="Ada", why="worse")


def kill_after_each_step(action):
    """Kill `action` after its first step, its second, and so on, from the same initial state."""
    outcomes = []
    while True:
        shutil.copy(FOLDER / "before.db", FOLDER / "mlflow.db")
        (FOLDER / f"start-{len(outcomes)}").touch()
        step, number = kill(action, after=len(outcomes))
        if number is None:  # it completed: no step is left
            return outcomes
        outcomes.append(
            {"step": step, "signal": number, **in_child(lambda moving: inspect(moving, action))}
        )


def inspect(moving, repeat):
    champion = moving.registry.champion(NAME)
    between = {"champion": champion, "loaded": is_loadable(moving.registry, champion)}
    start_s = time.monotonic()
    repeat(moving)
    waited_s = time.monotonic() - start_s
    after = moving.registry.aliases(NAME)
    repeat(moving)
    return {
        "between": between,
        "after": after,
        "repeated": moving.registry.aliases(NAME),
        "waited_s": waited_s,
        "moves": len(history(moving.registry, NAME)),
    }


def is_loadable(registry, champion):
    """Return whether the champion's files are complete and its members can be built."""
    loaded = Ensemble.load(registry.download(NAME, "champion", FOLDER / "loaded"))
    Predictor(loaded, torch.device("cpu"))
    versions = {version.version: version for version in registry.versions(NAME)}
    return versions[champion].ensemble == loaded.identity


def kill(action, *, after):
    """Kill `action` in a child after step number `after`, from 0."""
    note = FOLDER / "step"
    count = iter(range(10**6))

    def at(step):
        if next(count) == after:
            note.write_text(step)
            os.kill(os.getpid(), signal.SIGKILL)

    status = wait(start(lambda: action(connect(at))))
    if os.WIFSIGNALED(status):
        return note.read_text(), os.WTERMSIG(status)
    assert os.WEXITSTATUS(status) == 0
    return None, None


def race():
    """Promote two versions in two concurrent processes; the lease holder works slowly."""
    go = FOLDER / "go"

    def run(version, name, out):
        def at(step):
            if step == "recorded":
                time.sleep(1)

        moving = connect(at)
        moving.registry.champion(NAME)  # connects first: both are then equally fast
        (FOLDER / f"ready-{name}").touch()
        until(go.exists)
        outcome = {"version": version, "name": name, "won": True, "message": ""}
        try:
            moving.promote(NAME, version, by=name, why="mine is better")
        except LeaseError as error:
            outcome |= {"won": False, "message": str(error)}
        out.write_text(json.dumps(outcome))

    attempts = [("1", "Ada"), ("3", "Bob")]
    files = [FOLDER / f"race-{name}.json" for _, name in attempts]
    children = [
        start(lambda v=version, n=name, o=out: run(v, n, o))
        for (version, name), out in zip(attempts, files, strict=True)
    ]
    until(lambda: all((FOLDER / f"ready-{name}").exists() for _, name in attempts))
    go.touch()
    assert [os.WEXITSTATUS(wait(child)) for child in children] == [0, 0]
    champion = in_child(lambda moving: moving.registry.champion(NAME))
    return {"attempts": [json.loads(file.read_text()) for file in files], "champion": champion}


def connect(at=lambda step: None):
    from pymongo import MongoClient

    registry = Registry(f"sqlite:///{FOLDER / 'mlflow.db'}", FOLDER / "mlartifacts")
    return Promotions(registry, MongoClient(MONGODB)[database()], on_step=at)


def database():
    """Return the name of the database, which is new for each initial state."""
    return f"{MODE}-{len(list(FOLDER.glob('start-*')))}"


def in_child(action):
    """Return the result of `action` in a new child process, passed as JSON."""
    out = FOLDER / "out.json"
    status = wait(start(lambda: out.write_text(json.dumps(action(connect())))))
    assert status == 0
    return json.loads(out.read_text())


def start(action):
    child = os.fork()
    if child:
        return child
    try:
        action()
    except BaseException:  # noqa: BLE001 - a child must never continue as its parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def wait(child):
    return os.waitpid(child, 0)[1]


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


main()
