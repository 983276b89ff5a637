"""Settle doubtful samples with a language model that inspects the doubtful regions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from bson import ObjectId

from cascade.adjudication.adjudicate import adjudicate as settle
from cascade.adjudication.case import Case, case_from_consensus
from cascade.adjudication.limits import Bounds
from cascade.adjudication.openai_backend import ServedPlanner, ServedVisionModel
from cascade.adjudication.protocols import Planner, VisionModel
from cascade.adjudication.result import Result
from cascade.ensemble import Ensemble
from cascade.errors import ImageError
from cascade.fusion import routing
from cascade.imaging.batches import Image, read
from cascade.runtime.progress import Progress
from curation.inference.fusion import FusedPredictions, fuse_predictions
from curation.storage import collection, queries, reader, schema
from curation.storage.collection import dataset_of
from curation.storage.documents import Document

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

logger = logging.getLogger(__name__)

_CHUNK = 64  # samples whose pixels are in memory at a time


@dataclass(frozen=True)
class AdjudicateResult:
    """Outcome of a call of `adjudicate`.

    Attributes:
        doubtful: Samples in doubt without a verdict before this call.
        settled: Samples that got a verdict.
        fell_back: Samples that keep the ensemble's weighted mean; each has a reason.
    """

    doubtful: int
    settled: int
    fell_back: int


def adjudicate(
    samples: SampleCollection,
    ensemble: Ensemble,
    *,
    planner: Planner | None = None,
    vision_model: VisionModel | None = None,
    bounds: Bounds = Bounds(),  # noqa: B008 - frozen
    progress: Progress | None = None,
) -> AdjudicateResult:
    """Settle samples whose agreement is too low or whose probability is undecided.

    Considers samples whose path through the cascade includes the precise tiers. The result, with
    its trace, is stored in the field `adjudication`; a verdict becomes the image decision.
    Samples that were settled for the same ensemble are skipped, unless the server was down.

    Args:
        samples: A FiftyOne dataset or view whose consensus is up to date.
        ensemble: The ensemble whose routing sets the thresholds and names the adjudicator.
        planner: Model that chooses the operations; None to use the manifest's adjudicator.
        vision_model: Model that inspects regions; None to use the manifest's adjudicator.
        bounds: Limits per sample.
        progress: Callback after every chunk.
    """
    adjudicator = ensemble.manifest.routing.adjudicator
    doubtful = _doubtful(samples, ensemble)
    if not doubtful or (
        planner is None and (adjudicator is None or adjudicator not in ensemble.checkpoints)
    ):
        return AdjudicateResult(doubtful=len(doubtful), settled=0, fell_back=0)
    dataset = dataset_of(samples)
    schema.declare_adjudication(dataset)
    if planner is None or vision_model is None:
        client = ensemble.build(str(adjudicator), torch.device("cpu")).client
        planner = planner or ServedPlanner(client)
        vision_model = vision_model or ServedVisionModel(client)
    settled = 0
    for start in range(0, len(doubtful), _CHUNK):
        chunk = doubtful[start : start + _CHUNK]
        cases = _cases(dataset, chunk, ensemble)
        results = settle(cases, planner, vision_model, bounds)
        _write(dataset, cases, results, ensemble)
        settled += sum(not result.fell_back for result in results)
        if progress:
            progress(start + len(chunk), len(doubtful))
    return AdjudicateResult(
        doubtful=len(doubtful), settled=settled, fell_back=len(doubtful) - settled
    )


def _doubtful(samples: SampleCollection, ensemble: Ensemble) -> list[str]:
    """Return the doubtful samples without a result of this ensemble."""
    decision = ensemble.taxonomy.decision.name
    fingerprint = f"{schema.ADJUDICATION}.{schema.FINGERPRINT}"
    names = [schema.PATH, schema.AGREEMENT, f"{decision}.confidence"]
    if samples.get_field(schema.ADJUDICATION) is not None:
        names += [fingerprint, f"{schema.ADJUDICATION}.why"]
    columns = reader.read_columns(samples, names)
    p, agreement = (queries.float_array(columns[name]) for name in (names[2], schema.AGREEMENT))
    unsure = routing.needs_adjudication(p, agreement, ensemble.manifest.routing)
    before = zip(
        columns.get(fingerprint) or [None] * len(p),
        columns.get(f"{schema.ADJUDICATION}.why") or [None] * len(p),
        strict=True,
    )
    done = [key == ensemble.identity and why != "server" for key, why in before]
    return [
        sample_id
        for sample_id, path, doubtful, is_settled in zip(
            columns["id"], columns[schema.PATH], unsure, done, strict=True
        )
        if path == routing.Path.PRECISION and doubtful and not is_settled
    ]


def _cases(dataset: Dataset, ids: Sequence[str], ensemble: Ensemble) -> list[Case]:
    view = dataset.select(list(ids), ordered=True)
    fused = fuse_predictions(view, ensemble)
    paths = dict(zip(*collection.ids_and_paths(view), strict=True))
    return [
        _case(fused, row, sample_id, _read_image(paths[sample_id]), ensemble)
        for row, sample_id in enumerate(fused.ids)
    ]


def _case(
    fused: FusedPredictions, row: int, sample: str, image: Image | None, ensemble: Ensemble
) -> Case:
    return case_from_consensus(
        row,
        id=sample,
        image=image,
        taxonomy=ensemble.taxonomy,
        votes=fused.votes,
        clusters=fused.clusters,
        decisions=fused.decisions,
        competent=ensemble.competent,
        sizes=fused.sizes,
        masked=fused.deep_tiers.masked,
        answers=fused.deep_tiers.answers,
    )


def _read_image(path: str) -> Image | None:
    """Return the image; None if it cannot be read, so no region can be inspected."""
    try:
        return read(path)
    except ImageError as error:
        logger.warning("The adjudicator gets no image: %s", error)
        return None


def _write(
    dataset: Dataset, cases: Sequence[Case], results: Sequence[Result], ensemble: Ensemble
) -> None:
    threshold, decision = ensemble.calibration.threshold, ensemble.taxonomy.decision.name
    update: dict[str, Document] = {}
    for case, result in zip(cases, results, strict=True):
        content: Document = {schema.ADJUDICATION: _field(result, ensemble.identity)}
        if not result.fell_back and result.p_yes is not None:
            content |= {
                f"{decision}.label": "yes" if result.p_yes >= threshold else "no",
                f"{decision}.confidence": result.p_yes,
                schema.ANSWERED_BY: "consensus",
            }
        update[case.id] = content
    collection.write_documents(dataset, update)


def _field(result: Result, fingerprint: str) -> Document:
    verdict = None if result.p_yes is None else "yes" if result.p_yes >= 0.5 else "no"
    return {
        "_id": ObjectId(),
        "_cls": "Classification",
        "tags": [],
        "label": "fell back" if result.fell_back else verdict,
        "confidence": result.p_yes,
        "reason": result.reason,
        "why": result.outcome,
        "trace": result.trace.model_dump_json(),
        schema.FINGERPRINT: fingerprint,
    }
