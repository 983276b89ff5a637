"""Runs a job on two actors of a Ray that lives in this process alone, and prints what was done.

    python ray_run.py JOB

Ray leaves threads and children behind that a test process had better not have. JOB is a JSON file:
`manifest`, `ids`, `paths`, `todo`, and the `folder` that the actors write into.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import folder_sink

from cascade import manifest
from cascade.engine import ray_engine
from cascade.engine.ray_engine import ClusterError
from cascade.engine.worker_process import Job
from cascade.ensemble import Ensemble

ACTORS = 2
ATTEMPTS = 4  # Ray gives a machine that is busy with others 30 seconds to start


def main() -> None:
    """Run the job that the first argument names."""
    given = json.loads(Path(sys.argv[1]).read_text())
    ensemble = Ensemble.from_manifest(manifest.parse(given["manifest"]))
    members = {name: ensemble.manifest.member(name) for name in ensemble.detectors}
    sink = partial(folder_sink.opened, Path(given["folder"]), company=ACTORS)
    job = Job(ensemble.build, members, sink, threads=1)
    told: list[tuple[int, int]] = []
    for attempt in range(ATTEMPTS):
        try:
            done = ray_engine.run(
                job,
                given["ids"],
                given["paths"],
                actors=ACTORS,
                todo={name: set(rest) for name, rest in given["todo"].items()},
                batches_a_shard=1,
                progress=lambda *at: told.append(at),
            )
        except ClusterError:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            break
    sys.stdout.write("\n" + json.dumps({"tally": asdict(done), "told": told}) + "\n")


if __name__ == "__main__":
    main()
