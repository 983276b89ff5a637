"""Writing what members said, beside label objects and beside pymongo alone; and resuming.

    python tests/benchmarks/bench_store.py --size 10000 --out build/bench

Label objects are written with `set_values`, field by field, for a tenth of the samples. Pymongo
writes documents, and bytes, that were built beforehand; every way starts from empty fields.
Ends with 1 where a target is missed: a tenth of the CPU of label objects, and 1.5 x the time of
pymongo with the same documents.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import describe, table, timed
from own_database import own_database

os.environ.setdefault("HF_HUB_OFFLINE", "1")
MEMBERS = tuple(f"member_{one}" for one in "abcde")
BOXES = 20.0


def main() -> int:
    """Run it and return the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--size", type=int, default=10_000)
    arguments.add_argument("--times", type=int, default=5)
    arguments.add_argument("--out", type=Path, default=Path("build/bench"))
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="curation-bench-") as home:
        found = _measure(given.size, given.times, Path(home))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "store.json").write_text(json.dumps(found, indent=1))
    print(f"{found['machine']}\n{_page(found)}")  # noqa: T201
    return int(not found["ok"])


def _measure(size: int, times: int, home: Path) -> dict[str, Any]:
    with own_database(home):
        return _compare(size, times, home)


def _compare(size: int, times: int, home: Path) -> dict[str, Any]:
    import synthetic_boxes

    from curation.storage import collection, writer

    made = synthetic_boxes.ensemble(home, MEMBERS)
    dataset = synthetic_boxes.dataset("bench", size, made, 0.0)
    ids, _ = collection.ids_and_paths(dataset)
    said = _said(ids, made)
    prints = {name: made.fingerprint(name) for name in MEMBERS}
    how = {"taxonomy": made.taxonomy, "fingerprints": prints, "calibration": made.calibration}

    def ours() -> Any:
        return writer.write_members(dataset, said, **how)

    boxes = ours().boxes
    documents, raw = _prebuilt(dataset), _prebuilt(dataset, as_bytes=True)
    seconds: dict[str, list[tuple[float, float]]] = {}
    for _ in range(times):
        _run("store.write_members", ours, dataset, seconds)
        _run("pymongo, documents", lambda: _write(dataset, documents), dataset, seconds)
        _run("pymongo, bytes", lambda: _write(dataset, raw), dataset, seconds)
    few = {one: said[one] for one in ids[: size // 10]}
    _run("label objects (a tenth)", lambda: _as_objects(dataset, few), dataset, seconds)
    median = {
        name: [statistics.median(column) for column in zip(*runs, strict=True)]
        for name, runs in seconds.items()
    }
    ours()
    mine, theirs = median["store.write_members"], median["label objects (a tenth)"]
    ratios = {
        "CPU of label objects over ours": 10 * theirs[1] / mine[1],
        "ours over pymongo, documents": mine[0] / median["pymongo, documents"][0],
        "ours over pymongo, bytes": mine[0] / median["pymongo, bytes"][0],
    }
    return {
        "machine": describe(), "size": size, "times": times, "boxes": boxes, "seconds": median,
        "ratios": ratios, "resume": _resume(dataset, prints[MEMBERS[0]], times),
        "ok": ratios["CPU of label objects over ours"] >= 10
        and ratios["ours over pymongo, documents"] <= 1.5,
    }  # fmt: skip


def _said(ids: list[str], made: Any) -> dict[str, dict[str, Any]]:
    """Return what every member says of every sample, as the engine hands it over."""
    import numpy as np
    import synthetic_boxes

    from cascade.predictions import Detections

    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(ids), synthetic_boxes.CHUNK):
        part = ids[start : start + synthetic_boxes.CHUNK]
        votes = synthetic_boxes.chunk(start, MEMBERS, made.taxonomy.names, BOXES, len(part))
        key = votes.image * len(MEMBERS) + votes.member
        ends = np.searchsorted(key, np.arange(len(part) * len(MEMBERS) + 1))
        for i, one in enumerate(part):
            found[one] = {}
            for m, name in enumerate(MEMBERS):
                rows = slice(*ends[i * len(MEMBERS) + m : i * len(MEMBERS) + m + 2])
                found[one][name] = Detections(
                    boxes_xyxy=votes.boxes_xyxy[rows].astype(np.float32),
                    scores=votes.p[rows].astype(np.float32),
                    class_ids=votes.class_id[rows],
                    classes=votes.classes,
                )
    return found


def _run(
    name: str, do: Callable[[], Any], dataset: Any, seconds: dict[str, list[tuple[float, float]]]
) -> None:
    dataset._sample_collection.update_many({}, {"$set": dict.fromkeys(MEMBERS)})
    taken, cpu, _ = timed(do)
    seconds.setdefault(name, []).append((taken, cpu))
    print(f"{name}: {taken:.2f} s, CPU {cpu:.2f} s", file=sys.stderr, flush=True)  # noqa: T201


def _prebuilt(dataset: Any, *, as_bytes: bool = False) -> list[Any]:
    """Return what is stored of every sample's members, as pymongo takes it."""
    from bson.codec_options import CodecOptions
    from bson.raw_bson import RawBSONDocument
    from pymongo import UpdateOne

    stored = dataset._sample_collection
    if as_bytes:
        stored = stored.with_options(CodecOptions(document_class=RawBSONDocument))
    rows = stored.find({}, dict.fromkeys(MEMBERS, 1))
    return [UpdateOne({"_id": one["_id"]}, {"$set": {m: one[m] for m in MEMBERS}}) for one in rows]


def _write(dataset: Any, updates: list[Any]) -> None:
    for start in range(0, len(updates), 1000):
        dataset._sample_collection.bulk_write(updates[start : start + 1000], ordered=False)


def _as_objects(dataset: Any, said: dict[str, dict[str, Any]]) -> None:
    import fiftyone as fo

    from curation.storage import conversions

    for name in MEMBERS:
        values = {}
        for one, members in said.items():
            found = members[name]
            corners = conversions.xyxy_to_xywh(found.boxes_xyxy).tolist()
            values[one] = fo.Detections(
                detections=[
                    fo.Detection(label=label, bounding_box=box, confidence=score, score=score)
                    for label, box, score in zip(
                        found.labels, corners, found.scores.tolist(), strict=True
                    )
                ]
            )
        dataset.set_values(name, values, key_field="id")


def _resume(dataset: Any, fingerprint: str, times: int) -> dict[str, float]:
    """Return how long it takes to see that nothing is missing, with the ledger and without."""
    from curation.storage import collection, schema

    path = f"{MEMBERS[0]}.{schema.FINGERPRINT}"
    stored = dataset._sample_collection
    chosen, nothing = {path: {"$ne": fingerprint}}, {"_id": 1}
    asked = [
        timed(lambda: collection.missing_ids(dataset, MEMBERS[0], fingerprint))
        for _ in range(times)
    ]
    scanned = [
        timed(lambda: list(stored.find(chosen, nothing).hint([("$natural", 1)])))
        for _ in range(times)
    ]
    assert all(not one[2] for one in (*asked, *scanned))
    return {
        "ledger": statistics.median(one[0] for one in asked),
        "scan": statistics.median(one[0] for one in scanned),
    }


def _page(found: dict[str, Any]) -> str:
    rows = [[name, *one] for name, one in found["seconds"].items()]
    resume = found["resume"]
    lines = [
        f"{found['size']:,} samples x {len(MEMBERS)} members, {found['boxes']:,} boxes, "
        f"medians of {found['times']}",
        table(["way", "seconds", "CPU seconds"], rows),
        *(f"{name}: {ratio:.2f}" for name, ratio in found["ratios"].items()),
        f"nothing is missing: {1000 * resume['ledger']:.1f} ms by the ledger, "
        f"{1000 * resume['scan']:.1f} ms by a scan",
        f"ok: {found['ok']}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
