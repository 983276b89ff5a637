"""Have a language model settle what is still in doubt, looking at the doubtful regions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from bson import ObjectId

from cascade.adjudication.adjudicate import adjudicate as settle
from cascade.adjudication.case import Case, of_consensus
from cascade.adjudication.limits import Bounds
from cascade.adjudication.openai_backend import ServedEye, ServedRoot
from cascade.adjudication.protocols import Eye, Root
from cascade.adjudication.result import Ruling
from cascade.engine.run import Progress
from cascade.ensemble import Ensemble
from cascade.errors import ImageError
from cascade.fusion import routing
from cascade.imaging.batches import Image, read
from curation.inference.fusion import Conclusion, conclude
from curation.storage import collection, queries, reader, schema
from curation.storage.documents import Document

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

logger = logging.getLogger(__name__)

_CHUNK = 64  # samples whose pixels are in memory at a time


@dataclass(frozen=True)
class AdjudicateResult:
    """What a call did.

    Attributes:
        doubtful: Samples that were in doubt and not settled before.
        settled: Those that got a verdict now.
        fell_back: Those on which the ensemble's weighted mean stands; each with the reason.
    """

    doubtful: int
    settled: int
    fell_back: int


def adjudicate(
    samples: SampleCollection,
    ensemble: Ensemble,
    *,
    root: Root | None = None,
    eye: Eye | None = None,
    bounds: Bounds = Bounds(),  # noqa: B008 - frozen
    progress: Progress | None = None,
) -> AdjudicateResult:
    """Settle the samples whose agreement is still too low, or whose p* is still in between.

    Only where the cascade's path led to the precise tiers. The ruling, with its trace, is kept in
    the field `adjudication`; a verdict becomes the image decision. Samples that were settled
    for this very ensemble are left alone; one whose server was down is asked again.

    Args:
        samples: A FiftyOne dataset or view whose consensus is up to date.
        ensemble: Whose routing says what is in doubt, and which member settles it.
        root: Decides what to ask for; None for the member that the manifest names.
        eye: Looks at regions; likewise.
        bounds: What each sample may cost.
        progress: Told after every chunk.
    """
    who = ensemble.manifest.routing.adjudicator
    doubtful = _doubtful(samples, ensemble)
    if not doubtful or (root is None and (who is None or who not in ensemble.checkpoints)):
        return AdjudicateResult(doubtful=len(doubtful), settled=0, fell_back=0)
    dataset = queries.dataset_of(samples)
    schema.declare_adjudication(dataset)
    if root is None or eye is None:
        client = ensemble.build(str(who), torch.device("cpu")).client
        root, eye = root or ServedRoot(client), eye or ServedEye(client)
    settled = 0
    for start in range(0, len(doubtful), _CHUNK):
        chunk = doubtful[start : start + _CHUNK]
        cases = _cases(dataset, chunk, ensemble)
        rulings = settle(cases, root, eye, bounds)
        _write(dataset, cases, rulings, ensemble)
        settled += sum(not one.fell_back for one in rulings)
        if progress:
            progress(start + len(chunk), len(doubtful))
    return AdjudicateResult(
        doubtful=len(doubtful), settled=settled, fell_back=len(doubtful) - settled
    )


def _doubtful(samples: SampleCollection, ensemble: Ensemble) -> list[str]:
    """Return the samples that need a ruling and have none for this ensemble."""
    decision = ensemble.taxonomy.decision.name
    signed = f"{schema.ADJUDICATION}.{schema.FINGERPRINT}"
    names = [schema.PATH, schema.AGREEMENT, f"{decision}.confidence"]
    if samples.get_field(schema.ADJUDICATION) is not None:
        names += [signed, f"{schema.ADJUDICATION}.why"]
    columns = reader.read_columns(samples, names)
    p, agreement = (queries.numbers(columns[one]) for one in (names[2], schema.AGREEMENT))
    unsure = routing.needs_adjudication(p, agreement, ensemble.manifest.routing)
    before = zip(
        columns.get(signed) or [None] * len(p),
        columns.get(f"{schema.ADJUDICATION}.why") or [None] * len(p),
        strict=True,
    )
    done = [key == ensemble.identity and why != "server" for key, why in before]
    return [
        one
        for one, path, doubt, ruled in zip(
            columns["id"], columns[schema.PATH], unsure, done, strict=True
        )
        if path == routing.Path.PRECISION and doubt and not ruled
    ]


def _cases(dataset: Dataset, ids: Sequence[str], ensemble: Ensemble) -> list[Case]:
    view = dataset.select(list(ids), ordered=True)
    found = conclude(view, ensemble)
    paths = dict(zip(*collection.ids_and_paths(view), strict=True))
    return [
        _case(found, row, one, _pixels(paths[one]), ensemble) for row, one in enumerate(found.ids)
    ]


def _case(
    found: Conclusion, row: int, sample: str, image: Image | None, ensemble: Ensemble
) -> Case:
    return of_consensus(
        row,
        id=sample,
        image=image,
        taxonomy=ensemble.taxonomy,
        votes=found.votes,
        clusters=found.clusters,
        decisions=found.final,
        competent=ensemble.competent,
        sizes=found.sizes,
        masked=found.said.masked,
        answers=found.said.answers,
    )


def _pixels(path: str) -> Image | None:
    """Return the image, None where it cannot be read: then nothing can be looked at."""
    try:
        return read(path)
    except ImageError as error:
        logger.warning("Settled without looking: %s", error)
        return None


def _write(
    dataset: Dataset, cases: Sequence[Case], rulings: Sequence[Ruling], ensemble: Ensemble
) -> None:
    threshold, decision = ensemble.calibration.threshold, ensemble.taxonomy.decision.name
    update: dict[str, Document] = {}
    for case, ruling in zip(cases, rulings, strict=True):
        content: Document = {schema.ADJUDICATION: _field(ruling, ensemble.identity)}
        if not ruling.fell_back and ruling.p_yes is not None:
            content |= {
                f"{decision}.label": "yes" if ruling.p_yes >= threshold else "no",
                f"{decision}.confidence": ruling.p_yes,
                schema.ANSWERED_BY: "consensus",
            }
        update[case.id] = content
    collection.write_documents(dataset, update)


def _field(ruling: Ruling, fingerprint: str) -> Document:
    verdict = None if ruling.p_yes is None else "yes" if ruling.p_yes >= 0.5 else "no"
    return {
        "_id": ObjectId(),
        "_cls": "Classification",
        "tags": [],
        "label": "fell back" if ruling.fell_back else verdict,
        "confidence": ruling.p_yes,
        "reason": ruling.reason,
        "why": ruling.why,
        "trace": ruling.trace.to_json(),
        schema.FINGERPRINT: fingerprint,
    }
