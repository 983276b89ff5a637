"""Run a job on two actors of a Ray local to this process, and print the result.

    python ray_run.py JOB

Ray leaves threads and child processes, which do not belong in a test process. JOB is a JSON file:
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
ATTEMPTS = 4  # a busy machine may exceed Ray's 30 seconds for a start


def main() -> None:
    """Run the job of the first argument."""
    options = json.loads(Path(sys.argv[1]).read_text())
    ensemble = Ensemble.from_manifest(manifest.parse(options["manifest"]))
    members = {name: ensemble.manifest.member(name) for name in ensemble.detectors}
    sink = partial(folder_sink.open_sink, Path(options["folder"]), company=ACTORS)
    job = Job(ensemble.build, members, sink, threads=1)
    progress: list[tuple[int, int]] = []
    for attempt in range(ATTEMPTS):
        try:
            done = ray_engine.run(
                job,
                options["ids"],
                options["paths"],
                actors=ACTORS,
                todo={name: set(indices) for name, indices in options["todo"].items()},
                batches_a_shard=1,
                progress=lambda *counts: progress.append(counts),
            )
        except ClusterError:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            break
    sys.stdout.write("\n" + json.dumps({"tally": asdict(done), "progress": progress}) + "\n")


if __name__ == "__main__":
    main()
