"""Where results go: nowhere, into FiftyOne's database, or into a file where there is none."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade.ensemble import Ensemble
from cascade.predictions import Detections

logger = logging.getLogger("bench_engine")

MOST_BOXES = 20


@dataclass
class Nowhere:
    """Takes results and forgets them."""

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Forget `results`."""


@dataclass
class Stored:
    """Writes as the stages do: label fields, depth maps as files, vectors."""

    dataset: Any
    ensemble: Ensemble
    folder: Path
    seconds: float = 0.0
    boxes: int = 0

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Store `results`."""
        from fiftyone.core.utils import serialize_numpy_array

        from curation.storage import collection, documents, writer
        from curation.storage.artifacts import ArtifactFolder

        began = time.perf_counter()
        detectors = self.ensemble.detectors
        kept = {i: {m: capped(row[m]) for m in detectors} for i, row in results.items()}
        written = writer.write_members(
            self.dataset, kept,
            fingerprints={name: self.ensemble.fingerprint(name) for name in detectors},
            taxonomy=self.ensemble.taxonomy, calibration=self.ensemble.calibration,
        )  # fmt: skip
        self.boxes += written.boxes
        further: dict[str, dict[str, Any]] = {}
        vectors, (depth,) = self.ensemble.embedder, self.ensemble.available("geometry")
        shelf = ArtifactFolder(self.folder, depth, self.ensemble.fingerprint(depth))
        with ThreadPoolExecutor() as pool:  # PNG is compressed outside of Python
            kept_depth = pool.map(lambda i: shelf.write_depth(i, results[i][depth]), results)
            placed = dict(zip(results, kept_depth, strict=True))
        for i, row in results.items():
            path, step = placed[i]
            further[i] = {
                vectors: serialize_numpy_array(row[vectors].vector),
                depth: documents.depth_field(
                    str(path), step=step, unit=row[depth].unit, fingerprint=shelf.fingerprint
                ),
            }
        collection.write_documents(self.dataset, further)
        self.seconds += time.perf_counter() - began


@dataclass
class Encoded:
    """Makes the same documents and appends them to a file, where there is no database."""

    ensemble: Ensemble
    folder: Path
    seconds: float = 0.0
    boxes: int = 0
    _fingerprints: dict[str, str] = field(default_factory=dict)

    def write(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Encode `results`."""
        import bson

        from curation.storage import documents
        from curation.storage.artifacts import ArtifactFolder

        began = time.perf_counter()
        rows: dict[str, dict[str, Any]] = {one: {} for one in results}
        for one in self.ensemble.manifest.members:
            name, fingerprint = one.name, self.ensemble.fingerprint(one.name)
            said = {i: row[name] for i, row in results.items()}
            if one.tier == "detection":
                made, *_ = documents.member_fields(
                    {i: capped(found) for i, found in said.items()}, member=name,
                    fingerprint=fingerprint, taxonomy=self.ensemble.taxonomy,
                    calibrate=self.ensemble.calibration.calibrate_scores,
                )  # fmt: skip
                self.boxes += sum(len(found["detections"]) for found in made.values())
            elif one.tier == "geometry":
                shelf = ArtifactFolder(self.folder, name, fingerprint)
                with ThreadPoolExecutor() as pool:
                    placed = list(pool.map(shelf.write_depth, said, said.values()))
                made = {
                    i: documents.depth_field(
                        str(path), step=step, unit=depth.unit, fingerprint=fingerprint
                    )
                    for (i, depth), (path, step) in zip(said.items(), placed, strict=True)
                }
            else:
                made = {i: {"vector": found.vector.tobytes()} for i, found in said.items()}
            for i, document in made.items():
                rows[i][name] = document
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "documents.bson").open("ab") as file:
            for i, row in rows.items():
                file.write(bson.encode({"_id": i, **row}))
        self.seconds += time.perf_counter() - began


def capped(found: Any) -> Any:
    """Return the surest boxes of an image: as many as are kept."""
    return found[:MOST_BOXES] if isinstance(found, Detections) else found


def dataset_of(ensemble: Ensemble, paths: Sequence[Path], name: str) -> tuple[Any, list[str]]:
    """Return a new dataset of the images, declared, and its ids in the order of `paths`."""
    import fiftyone as fo

    from curation.storage import schema

    dataset = fo.Dataset(name)
    dataset.add_samples([fo.Sample(filepath=str(path)) for path in paths], progress=False)
    schema.declare(dataset, ensemble.taxonomy, ensemble.detectors)
    geometry = tuple(one.name for one in ensemble.manifest.members if one.tier == "geometry")
    closer = {"geometry": geometry, "segmentation": (), "language": ()}
    schema.declare_deep_tiers(dataset, ensemble.taxonomy, ensemble.detectors, closer)
    dataset.add_sample_field(ensemble.embedder, fo.VectorField)
    at = dict(zip(*dataset.values(["filepath", "id"]), strict=True))
    return dataset, [at[str(path)] for path in paths]


def sinks(
    ensemble: Ensemble, paths: Sequence[Path], folder: Path
) -> tuple[str, Callable[[int], tuple[Any, list[str]]]]:
    """Return where results go, and what makes a sink for one run and the names of its images."""
    try:
        import fiftyone as fo

        fo.list_datasets()
    except Exception as error:  # noqa: BLE001 - FiftyOne raises many things where it has no database
        logger.warning("no FiftyOne here, so labels go to a file: %s", error)
        ids = [str(i) for i in range(len(paths))]
        return "a file", lambda number: (Encoded(ensemble, folder / f"out {number}"), ids)

    def make(number: int) -> tuple[Any, list[str]]:
        dataset, ids = dataset_of(ensemble, paths, f"ours {number}")
        return Stored(dataset, ensemble, folder / f"out {number}"), ids

    return "FiftyOne's database", make
