"""Run by `test_promotion.py`: kill a promotion or a rollback in forked children, and look after.

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

# Imported before the first fork; no child uses a connection that is older than itself.
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

WHAT, FOLDER, MONGODB = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
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
    warm.versions(NAME)  # imports what each child would import anew
    in_child(set_up)
    shutil.copy(FOLDER / "mlflow.db", FOLDER / "before.db")
    works = {"promote": promote, "rollback": rollback}
    found = race() if WHAT == "race" else killed_everywhere(works[WHAT])
    print(json.dumps(found))  # noqa: T201


def set_up(moving):
    """Register three ensembles, promote 1 and 2 in turn, and judge or promote 3."""
    for seed in range(3):
        folder = FOLDER / f"{seed}"
        CenterPoint(classes=("cone", "vehicle"), size=64, width=8, seed=seed).save(folder / "small")
        parsed = manifest.parse(MANIFEST.replace("FOLDER", str(folder / "small")))
        made = Ensemble.from_manifest(parsed)
        moving.registry.register(made.save(folder / "whole"), name=NAME, identity=made.identity)
    for version in "12" if WHAT != "rollback" else "123":
        moving.promote(NAME, version, by="Ada", why="in turn")
    if WHAT == "promote":
        moving.registry.challenge(NAME, "3")


def promote(moving):
    return moving.promote(NAME, "3", by="Ada", why="better", over="2")


def rollback(moving):
    return moving.rollback(NAME, by="Ada", why="worse")


def killed_everywhere(work):
    """Kill `work` after its first step, its second, and so on, each time from the same start."""
    seen = []
    while True:
        shutil.copy(FOLDER / "before.db", FOLDER / "mlflow.db")
        (FOLDER / f"start-{len(seen)}").touch()
        step, number = killed(work, after=len(seen))
        if number is None:  # it ran through: there are no more steps
            return seen
        seen.append({"step": step, "signal": number, **in_child(lambda m: look(m, work))})


def look(moving, again):
    champion = moving.registry.champion(NAME)
    between = {"champion": champion, "loaded": is_loadable(moving.registry, champion)}
    began = time.monotonic()
    again(moving)
    waited_s = time.monotonic() - began
    after = moving.registry.aliases(NAME)
    again(moving)
    return {
        "between": between,
        "after": after,
        "once_more": moving.registry.aliases(NAME),
        "waited_s": waited_s,
        "moves": len(history(moving.registry, NAME)),
    }


def is_loadable(registry, champion):
    """Return whether the champion's files are whole, and its members can be built."""
    loaded = Ensemble.load(registry.download(NAME, "champion", FOLDER / "loaded"))
    Predictor(loaded, torch.device("cpu"))
    versions = {one.version: one for one in registry.versions(NAME)}
    return versions[champion].ensemble == loaded.identity


def killed(work, *, after):
    """Kill `work` in a child once so many steps more than `after` are done."""
    note = FOLDER / "step"
    count = iter(range(10**6))

    def at(step):
        if next(count) == after:
            note.write_text(step)
            os.kill(os.getpid(), signal.SIGKILL)

    status = wait(start(lambda: work(connect(at))))
    if os.WIFSIGNALED(status):
        return note.read_text(), os.WTERMSIG(status)
    assert os.WEXITSTATUS(status) == 0
    return None, None


def race():
    """Promote two versions from two processes at once; the one that is in takes its time."""
    go = FOLDER / "go"

    def run(version, who, out):
        def at(step):
            if step == "recorded":
                time.sleep(1)

        moving = connect(at)
        moving.registry.champion(NAME)  # connected, so that both are equally quick
        (FOLDER / f"ready-{who}").touch()
        until(go.exists)
        said = {"version": version, "who": who, "won": True, "said": ""}
        try:
            moving.promote(NAME, version, by=who, why="mine is better")
        except LeaseError as error:
            said |= {"won": False, "said": str(error)}
        out.write_text(json.dumps(said))

    both = [("1", "Ada"), ("3", "Bob")]
    files = [FOLDER / f"race-{who}.json" for _, who in both]
    children = [
        start(lambda v=version, w=who, o=out: run(v, w, o))
        for (version, who), out in zip(both, files, strict=True)
    ]
    until(lambda: all((FOLDER / f"ready-{who}").exists() for _, who in both))
    go.touch()
    assert [os.WEXITSTATUS(wait(one)) for one in children] == [0, 0]
    champion = in_child(lambda moving: moving.registry.champion(NAME))
    return {"both": [json.loads(one.read_text()) for one in files], "champion": champion}


def connect(at=lambda step: None):
    from pymongo import MongoClient

    registry = Registry(f"sqlite:///{FOLDER / 'mlflow.db'}", FOLDER / "mlartifacts")
    return Promotions(registry, MongoClient(MONGODB)[database()], at=at)


def database():
    """Return the name of the database of records: a new one from each start."""
    return f"{WHAT}-{len(list(FOLDER.glob('start-*')))}"


def in_child(work):
    """Return what `work` returns, as JSON, from a child of its own."""
    out = FOLDER / "out.json"
    status = wait(start(lambda: out.write_text(json.dumps(work(connect())))))
    assert status == 0
    return json.loads(out.read_text())


def start(work):
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:  # noqa: BLE001 - a child must never go on as its parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def wait(child):
    return os.waitpid(child, 0)[1]


def until(condition):
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.005)


main()
