"""A night with 1 % new images on a large pool: what is looked at, and how long each step takes.

    python tests/benchmarks/bench_incremental.py --size 100000 --out build/bench

Predictions and vectors of the pool are made up and written as real ones are; the new images are
real files, which every member really looks at, and some of which look like others. Ends with 1
where another share than the new one was looked at or compared, where a rank or the choice differs
from that of a full re-ranking, or where re-ranking takes more than 60 s.
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

from own_database import own_database

os.environ.setdefault("HF_HUB_OFFLINE", "1")
MOST_S, BUDGET = 60.0, 100


def main() -> int:
    """Run it and return the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--size", type=int, default=100_000)
    arguments.add_argument("--out", type=Path, default=Path("build/bench"))
    arguments.add_argument("--index", action="store_true", help="With FiftyOne's index.")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="curation-bench-") as home:
        found = _measure(given.size, Path(home), indexing=given.index)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "incremental.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))  # noqa: T201
    return int(not found["ok"])


def _measure(size: int, home: Path, *, indexing: bool) -> dict[str, Any]:
    """Return seconds and counts; FiftyOne is imported in here, once our database runs."""
    with own_database(home) as (settings, uri):
        from curation.storage.database import mongod

        with mongod.open_client(uri) as client:
            return _night(size, home, settings, client.jobs, indexing=indexing)


def _night(size: int, home: Path, settings: Any, jobs: Any, *, indexing: bool) -> dict[str, Any]:
    import psutil
    import synthetic_pool
    import torch

    from curation.active_learning.selection import near_duplicates
    from curation.jobs.nightly.incremental_embeddings import embed_new, extend_index
    from curation.jobs.nightly.incremental_hardness import rerank
    from curation.stages.choose import choose
    from curation.stages.fuse import fuse
    from curation.stages.ingest import ingest
    from curation.stages.predict import predict
    from curation.stages.score import score
    from curation.storage import schema
    from curation.storage.database import mongod
    from curation.storage.embeddings import brain_runs

    new, cpu = size // 100, torch.device("cpu")
    ensemble = synthetic_pool.ensemble(home)
    seconds: dict[str, float] = {}
    cpu_seconds: dict[str, float] = {}  # of this process and the database: the machine may be busy
    processes = [psutil.Process(), psutil.Process(mongod.status(settings).pid)]

    def used_s() -> float:
        return float(sum(sum(one.cpu_times()[:2]) for one in processes))

    def timed(step: str, do: Callable[[], Any]) -> Any:
        began, before = time.monotonic(), used_s()
        found = do()
        seconds[step] = round(time.monotonic() - began, 2)
        cpu_seconds[step] = round(used_s() - before, 2)
        told = f"{step}: {seconds[step]} s, {cpu_seconds[step]} s of CPU"
        print(told, file=sys.stderr, flush=True)  # noqa: T201
        return found

    def pairs() -> Any:
        return brain_runs.near_duplicate_pairs(
            dataset, dataset.values("id"), near_duplicates.COSINE
        )

    def choose_batch() -> Any:
        return choose(dataset, round_number=1, budget=BUDGET)

    inbox = synthetic_pool.new_images(home / "inbox", new)
    like = synthetic_pool.embedded(sorted(inbox.iterdir()), ensemble)
    dataset = timed(
        "set-up", lambda: synthetic_pool.build("pool", size - new, ensemble, settings, like)
    )
    timed("first night: ranking", lambda: rerank(dataset, ensemble, jobs))
    timed("first night: pairs that look alike", pairs)
    if indexing:
        timed("first night: index", lambda: brain_runs.update_index(dataset, dataset.values("id")))

    added = timed(
        "ingest",
        lambda: ingest(inbox, name="pool", taxonomy=ensemble.taxonomy, settings=settings).added,
    )
    seen = timed("predict", lambda: predict(dataset, ensemble, device=cpu))
    fused = timed("fuse", lambda: fuse(dataset, ensemble))
    folder = settings.vectors("pool")
    embedded = timed("embed", lambda: embed_new(dataset, ensemble, folder=folder, device=cpu))
    ranked = timed("re-ranking", lambda: rerank(dataset, ensemble, jobs))
    known = timed("extend the pairs", pairs)
    chosen = timed("choose", choose_batch)
    if indexing:
        timed("extend the index", lambda: extend_index(dataset))
    before = _stored(dataset)

    _forget(dataset, folder)
    timed("in full: ranking", lambda: score(dataset, ensemble=ensemble))
    anew = timed("in full: pairs that look alike", pairs)
    timed("in full: choose", choose_batch)
    after = _stored(dataset)
    kept = timed("in full: each compared with the kept ones", lambda: _kept(dataset, None))

    counts = {
        "added": added, "predicted": seen.ran, "fused": fused.fused, "embedded": embedded.added,
        **asdict(ranked), "pairs": len(known.pairs), "duplicates": chosen.duplicates_dropped,
    }  # fmt: skip
    expected = {
        "added": new, "predicted": 2 * new, "fused": new, "embedded": new, "scored": new,
        "ranked": size,
    }  # fmt: skip
    differ = {
        "values": sum(
            a != b for name in before for a, b in zip(before[name], after[name], strict=True)
        ),
        "pairs": len(_set(known.pairs) ^ _set(anew.pairs)),
        "kept": int((kept != _kept(dataset, known)).sum()),
    }
    batch = sum(one is not None for one in before[schema.RANK])
    right = not any(differ.values()) and expected.items() <= counts.items() and batch == BUDGET
    return {
        "size": size, "new": new, "threads": torch.get_num_threads(), "seconds": seconds,
        "cpu_seconds": cpu_seconds, "load": os.getloadavg(), "counts": counts,
        "differ_from_full": differ,
        "ok": right and seconds["re-ranking"] <= MOST_S,
    }  # fmt: skip


def _stored(dataset: Any) -> dict[str, Any]:
    """Return all that ranking and choosing write, by field."""
    from curation.storage import reader, schema

    ranking = [schema.HARDNESS, *schema.HARDNESS_PARTS, schema.N_VOTERS, schema.EXPECTED_BOXES]
    return reader.read_columns(dataset, [*ranking, schema.RANK, schema.CHOSEN_BECAUSE, "tags"])


def _forget(dataset: Any, folder: Path) -> None:
    """Take back all that ranking and choosing wrote, and what they know."""
    from curation.storage import schema

    stored = [one for one in _stored(dataset) if one not in ("id", "tags")]
    dataset.clear_sample_fields(stored)
    dataset.untag_samples([one for one in dataset.distinct("tags") if one != schema.DUPLICATE])
    about = dict(dataset.info[schema.INFO])
    del about["chosen round-01"]
    dataset.info[schema.INFO] = about
    dataset.save()
    (pairs,) = folder.glob("alike-*")
    pairs.unlink()


def _kept(dataset: Any, known: Any) -> Any:
    """Return which samples are left without near-duplicates, the hardest visited first."""
    import numpy as np

    from curation.active_learning.selection import near_duplicates
    from curation.storage import reader, schema
    from curation.storage.embeddings import brain_runs

    found = reader.read_columns(dataset, [schema.HARDNESS, schema.DRIVE, schema.TIME_S])
    order = np.argsort(-np.array(found[schema.HARDNESS], float), kind="stable")
    return near_duplicates.deduplicate(
        brain_runs.read_vectors(dataset, found["id"]),
        order,
        drives=found[schema.DRIVE],
        times_s=np.array(found[schema.TIME_S], float),
        pairs=known,
    ).retained


def _set(pairs: Any) -> set[tuple[int, int]]:
    return {(min(one), max(one)) for one in pairs.tolist()}


if __name__ == "__main__":
    sys.exit(main())
