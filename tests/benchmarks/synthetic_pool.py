"""A pool of any size whose predictions and vectors are made up, with a few real new images.

Predictions go through `storage.writer` and vectors through `storage.embeddings.table`, as of real
members do, so that whatever reads the pool afterwards cannot tell the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cascade import manifest
from cascade.ensemble import Ensemble
from cascade.fusion.calibration import Calibration
from cascade.models.detection.center_point import CenterPoint
from cascade.predictions import Detections
from curation.settings import Settings
from curation.stages.fuse import fuse
from curation.storage import collection, schema, writer
from curation.storage.embeddings import brain_runs
from curation.storage.embeddings.table import VectorTable

ALIKE = 0.1  # share of the pool that looks like another sample, or nearly does
BOXES = 3.0  # of each member on an image, on average
DIMENSIONS = 1280  # of the packaged embedder's vectors
PER_DRIVE = 50
_CHUNK = 5000
_MANIFEST = """
name: synthetic
members:
  - {{name: mobilenet, tier: embedding, adapter: mobilenet, license: MIT, batch_size: 32}}
  - {{name: one, tier: detection, adapter: center_point, source: {folder}/one, license: MIT}}
  - {{name: two, tier: detection, adapter: center_point, source: {folder}/two, license: MIT}}
"""


def ensemble(folder: Path) -> Ensemble:
    """Return two small detectors of random weights, calibrated by hand, and the embedder."""
    for seed, name in enumerate(("one", "two")):
        CenterPoint(classes=("cone", "vehicle"), size=64, width=8, seed=seed).save(folder / name)
    made = Ensemble.from_manifest(manifest.parse(_MANIFEST.format(folder=folder)))
    return made.with_calibration(
        Calibration(
            scaling={name: {"*": (1.1, -0.2)} for name in made.detectors},
            silence=dict.fromkeys(made.detectors, 0.1),
            relevance=dict.fromkeys(made.taxonomy.deciding, 1.0),
            quality=dict.fromkeys(made.taxonomy.names, 0.6),
            threshold=0.5,
        )
    )


def build(
    name: str,
    size: int,
    made: Ensemble,
    settings: Settings,
    like: NDArray[np.float32] | None = None,
) -> Any:
    """Return a dataset of `size` pool samples that an ensemble is through with; no file exists.

    Some vectors are near those of others, on both sides of where near-duplicates begin; half of
    these are near rows of `like`, where it is given: the vectors of images that are to come.
    """
    import fiftyone as fo

    dataset = fo.Dataset(name, persistent=True)
    schema.declare(dataset, made.taxonomy, made.detectors)

    dataset.info[schema.INFO] = {"taxonomy": made.taxonomy.to_yaml()}
    dataset.save()
    rng = np.random.default_rng(0)
    fingerprints = {one: made.fingerprint(one) for one in made.detectors}
    table = VectorTable(settings.vectors(name), made.fingerprint(made.embedder))
    brain_runs.record_embedder(
        dataset, settings.vectors(name), made.embedder, made.fingerprint(made.embedder)
    )
    for start in range(0, size, _CHUNK):
        rows = range(start, min(start + _CHUNK, size))
        dataset.add_samples([_sample(i) for i in rows], progress=False)
        ids, _ = collection.ids_and_paths(dataset.skip(start))
        said = {i: _said(made, rng) for i in ids}
        writer.write_members(
            dataset, said, taxonomy=made.taxonomy, fingerprints=fingerprints,
            calibration=made.calibration,
        )  # fmt: skip
        table.add(ids, _vectors(rng, len(ids), like))
    fuse(dataset, made)
    return dataset


def embedded(paths: Sequence[Path], made: Ensemble) -> NDArray[np.float32]:
    """Return the vectors of pictures, as a night will find them."""
    import torch

    from cascade.engine.run import run
    from cascade.engine.sinks import MemorySink

    memory, name, cpu = MemorySink(), made.embedder, torch.device("cpu")
    files = [str(one) for one in paths]
    members = {name: made.manifest.member(name)}
    run({name: made.build(name, cpu)}, members, files, files, memory, device=cpu)
    return np.array([memory.results[one][name].vector for one in files], np.float32)


def new_images(folder: Path, number: int) -> Path:
    """Write small pictures that are all different, and return their folder."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for i in range(number):
        coarse = rng.integers(0, 255, (6, 8, 3), np.uint8)
        Image.fromarray(coarse).resize((96, 72)).save(folder / f"new_{i:06d}.png")
    return folder


def _sample(i: int) -> Any:
    import fiftyone as fo

    drive, frame = divmod(i, PER_DRIVE)
    return fo.Sample(
        filepath=f"/pool/drive{drive:05d}_{frame:03d}.jpg",
        metadata=fo.ImageMetadata(width=96, height=72),
        **{
            schema.SPLIT: "train", schema.DRIVE: f"drive{drive:05d}", schema.TIME_S: 2.0 * frame,
            schema.CONTENT_HASH: f"{i:064x}", schema.LUMA: 0.5,
        },
    )  # fmt: skip


def _said(made: Ensemble, rng: np.random.Generator) -> dict[str, Detections]:
    """Return what every detector says of one image: boxes near common objects."""
    objects = _boxes(rng, int(rng.poisson(BOXES)))
    return {name: _seen(objects, made.taxonomy.names[:2], rng) for name in made.detectors}


def _boxes(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    corner, size = rng.uniform(0, 0.7, (n, 2)), rng.uniform(0.05, 0.3, (n, 2))
    return np.hstack([corner, corner + size])


def _seen(
    objects: NDArray[np.float64], classes: Sequence[str], rng: np.random.Generator
) -> Detections:
    found = objects[rng.random(len(objects)) < 0.8]
    moved = np.clip(found + rng.normal(0, 0.01, found.shape), 0, 1).astype(np.float32)
    return Detections(
        boxes_xyxy=np.hstack([np.minimum(moved[:, :2], moved[:, 2:]),
                              np.maximum(moved[:, :2], moved[:, 2:])]),
        scores=rng.uniform(0.05, 1.0, len(moved)).astype(np.float32),
        class_ids=rng.integers(0, len(classes), len(moved)),
        classes=tuple(classes),
    )  # fmt: skip


def _vectors(
    rng: np.random.Generator, n: int, like: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Return vectors of length 1, of which `ALIKE` have a cosine of .96 to .99 with another."""
    vectors = _unit(rng, n)
    number = int(ALIKE * n)
    near, models = rng.permutation(n)[: 2 * number].reshape(2, number)
    target = vectors[models]
    if like is not None:
        target[::2] = like[rng.integers(len(like), size=len(target[::2]))]
    cosine = rng.uniform(0.96, 0.99, (number, 1))
    noise = vectors[near] - (vectors[near] * target).sum(axis=1, keepdims=True) * target
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    vectors[near] = cosine * target + np.sqrt(1 - cosine**2) * noise
    return vectors


def _unit(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    vectors = rng.normal(size=(n, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
