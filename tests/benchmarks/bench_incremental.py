"""A night with 1 % new images on a large pool: what is looked at, and how long each step takes.

    python tests/benchmarks/bench_incremental.py --size 100000 --out build/bench

Predictions and vectors of the pool are made up and written as real ones are; the new images are
real files, which every member really looks at. Ends with 1 where another share than the new one
was looked at, where a rank differs from that of a full re-ranking, or where re-ranking takes
more than 60 s.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
MOST_S = 60.0


def main() -> int:
    """Run it and return the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--size", type=int, default=100_000)
    arguments.add_argument("--out", type=Path, default=Path("build/bench"))
    arguments.add_argument("--choose", action="store_true", help="Choose a batch, too.")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="curation-bench-") as home:
        found = _measure(given.size, Path(home), choosing=given.choose)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "incremental.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))  # noqa: T201
    return int(not found["ok"])


def _measure(size: int, home: Path, *, choosing: bool) -> dict[str, Any]:
    """Return seconds and counts; FiftyOne is imported in here, once our database runs."""
    for name in [one for one in os.environ if one.startswith("FIFTYONE_")]:
        del os.environ[name]
    os.environ |= {"CURATION_HOME": str(home), "FIFTYONE_CONFIG_PATH": str(home / "none.json")}
    from curation import database, mongod
    from curation.settings import from_environment

    settings = from_environment()
    uri = database.connect(settings).uri
    try:
        with mongod.client_of(uri) as client:
            return _night(size, home, settings, client.jobs, choosing=choosing)
    finally:
        mongod.stop(settings)


def _night(size: int, home: Path, settings: Any, jobs: Any, *, choosing: bool) -> dict[str, Any]:
    import synthetic_pool
    import torch

    from curation import fields, store
    from curation.jobs.embedding import embed_new
    from curation.jobs.reranking import rerank
    from curation.stages.choose import choose
    from curation.stages.fuse import fuse
    from curation.stages.ingest import ingest
    from curation.stages.predict import predict
    from curation.stages.score import score

    new, cpu = size // 100, torch.device("cpu")
    ensemble = synthetic_pool.ensemble(home)
    seconds: dict[str, float] = {}

    def timed(step: str, do: Callable[[], Any]) -> Any:
        began = time.monotonic()
        found = do()
        seconds[step] = round(time.monotonic() - began, 2)
        print(f"{step}: {seconds[step]} s", file=sys.stderr, flush=True)  # noqa: T201
        return found

    dataset = timed("set-up", lambda: synthetic_pool.build("pool", size - new, ensemble, settings))
    timed("first night's ranking", lambda: rerank(dataset, ensemble, jobs))
    inbox = synthetic_pool.new_images(home / "inbox", new)
    added = timed(
        "ingest",
        lambda: ingest(inbox, name="pool", taxonomy=ensemble.taxonomy, settings=settings).added,
    )
    seen = timed("predict", lambda: predict(dataset, ensemble, device=cpu))
    fused = timed("fuse", lambda: fuse(dataset, ensemble))
    folder = settings.vectors("pool")
    embedded = timed("embed", lambda: embed_new(dataset, ensemble, folder=folder, device=cpu))
    ranked = timed("re-ranking", lambda: rerank(dataset, ensemble, jobs))
    if choosing:
        timed("choose", lambda: choose(dataset, round_number=1, budget=100))
    names = [fields.HARDNESS, *fields.HARDNESS_PARTS, fields.N_VOTERS, fields.EXPECTED_BOXES]
    before = store.read_columns(dataset, names)
    dataset.clear_sample_fields(names)
    timed("full ranking, to compare", lambda: score(dataset, ensemble=ensemble))
    after = store.read_columns(dataset, names)
    counts = {
        "added": added, "predicted": seen.ran, "fused": fused.fused, "embedded": embedded.added,
        **asdict(ranked),
    }  # fmt: skip
    differ = sum(a != b for name in names for a, b in zip(before[name], after[name], strict=True))
    expected = {
        "added": new, "predicted": 2 * new, "fused": new, "embedded": new, "scored": new,
        "ranked": size,
    }  # fmt: skip
    right = differ == 0 and expected.items() <= counts.items()
    return {
        "size": size, "new": new, "seconds": seconds, "counts": counts,
        "values_that_differ": differ,
        "ok": right and seconds["re-ranking"] <= MOST_S,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
