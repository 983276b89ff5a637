"""Made-up boxes of several members that see about the same objects, as columns, and a dataset.

The columns of a chunk of images depend on its number alone, so a dataset of any size is made a
thousand images at a time, and made again to compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cascade import manifest
from cascade.ensemble import Ensemble
from cascade.fusion.calibration import Calibration
from cascade.fusion.votes import Votes
from cascade.models.detection.center_point import CenterPoint
from curation.storage import collection, conversions, schema
from curation.storage.bson import box_documents
from curation.storage.bson.box_documents import Boxes, Numbers, Words

CHUNK = 1000
SIZE_PX = (720, 1280)
_SEEN = 0.83  # of the objects in an image, by each member
_MEMBER = "  - {{name: {0}, tier: detection, adapter: center_point, source: {1}, license: MIT}}"


def chunk(
    number: int, members: Sequence[str], classes: Sequence[str], boxes: float, images: int = CHUNK
) -> Votes:
    """Return what members say of a chunk of images, `boxes` each on average."""
    rng = np.random.default_rng(number)
    of_image = np.repeat(np.arange(images), rng.poisson(boxes / _SEEN, images))
    n = len(of_image)
    corner, size = rng.uniform(0, 0.7, (n, 2)), rng.uniform(0.02, 0.3, (n, 2))
    kind = rng.integers(0, len(classes), n)
    parts = []
    for m in range(len(members)):
        seen = np.flatnonzero(rng.random(n) < _SEEN)
        moved = np.hstack([corner, corner + size])[seen] + rng.normal(0, 0.01, (len(seen), 4))
        low, high = np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])
        said = np.where(rng.random(len(seen)) < 0.9, kind[seen], rng.integers(0, len(classes)))
        p = rng.uniform(0.06, 1.0, len(seen))
        parts.append((of_image[seen], np.full(len(seen), m), said, p, np.hstack([low, high])))
    columns = [np.concatenate(one) for one in zip(*parts, strict=True)]
    order = np.lexsort((columns[1], columns[0]))
    image, member, class_id, p, corners = (one[order] for one in columns)
    return Votes(
        image=image, member=member, class_id=class_id, p=p,
        boxes_xyxy=np.clip(corners, 0.0, 1.0), ran=np.ones((images, len(members)), bool),
        members=tuple(members), classes=tuple(classes),
    )  # fmt: skip


def ensemble(folder: Path, members: Sequence[str]) -> Ensemble:
    """Return detectors of random weights, which nobody runs, calibrated by hand."""
    for seed, name in enumerate(members):
        CenterPoint(classes=("cone", "vehicle"), size=64, width=8, seed=seed).save(folder / name)
    rows = "\n".join(_MEMBER.format(name, folder / name) for name in members)
    made = Ensemble.from_manifest(manifest.parse(f"name: synthetic\nmembers:\n{rows}\n"))
    return made.with_calibration(
        Calibration(
            scaling={name: {"*": (1.1, -0.2)} for name in made.detectors},
            silence=dict.fromkeys(made.detectors, 0.1),
            relevance=dict.fromkeys(made.taxonomy.deciding, 0.9),
            quality=dict.fromkeys(made.taxonomy.names, 0.6),
            threshold=0.5,
        )
    )


def label_fields(votes: Votes, made: Ensemble) -> dict[str, list[Any]]:
    """Return the label fields of every member, one for each image of a chunk."""
    xywh = conversions.xyxy_to_xywh(votes.boxes_xyxy)
    confidence = made.calibration.calibrate_votes(votes).p
    found = {}
    for m, name in enumerate(votes.members):
        mine = np.flatnonzero(votes.member == m)
        label = Words(votes.class_id[mine], votes.classes)
        boxes = Boxes(
            n=votes.n_images, owner=votes.image[mine], label=label, boxes_xywh=xywh[mine],
            attributes={
                "confidence": Numbers(confidence[mine]), "score": Numbers(votes.p[mine]),
                "raw_label": label,
            },
        )  # fmt: skip
        found[name] = box_documents.label_fields(boxes, made.fingerprint(name))
    return found


def dataset(name: str, size: int, made: Ensemble, boxes: float, media: Path | None = None) -> Any:
    """Return a dataset with the boxes of all members; `media` is a folder of JPEGs, if any."""
    import fiftyone as fo

    found = fo.Dataset(name, persistent=True)
    schema.declare(found, made.taxonomy, made.detectors)
    files = sorted(media.glob("*.jpg")) if media else []
    for start in range(0, size, CHUNK):
        rows = range(start, min(start + CHUNK, size))
        found.add_samples([_sample(i, files) for i in rows], progress=False)
    ids, _ = collection.ids_and_paths(found)
    for number, part in enumerate(_parts(ids)):
        votes = chunk(number, made.detectors, made.taxonomy.names, boxes, len(part))
        written = label_fields(votes, made)
        collection.write_documents(
            found,
            {one: {m: written[m][i] for m in made.detectors} for i, one in enumerate(part)},
        )
    return found


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]


def _sample(i: int, files: Sequence[Path]) -> Any:
    import fiftyone as fo

    path = str(files[i % len(files)]) if files else f"/pool/{i:07d}.jpg"
    return fo.Sample(
        filepath=path,
        metadata=fo.ImageMetadata(height=SIZE_PX[0], width=SIZE_PX[1]),
        **{schema.SPLIT: "train", schema.DRIVE: f"drive{i // 50:06d}"},
    )
