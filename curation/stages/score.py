"""Score how much each sample would teach: hardness, higher is harder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade import consensus, voting
from cascade.consensus import Clusters, Decisions, Votes
from cascade.ensemble import Ensemble
from cascade.manifest import Fusion
from cascade.run import Progress
from cascade.taxonomy import Taxonomy
from curation import fields, hardness, store
from curation import samples as query
from curation.closer import read_closer
from curation.errors import StageError


@dataclass(frozen=True)
class ScoreResult:
    """What a call did.

    Attributes:
        ranked: Samples over which hardness is ranked: the unlabeled pool; all samples where
            every one is labeled and fields were named.
        scored: Samples that got a hardness; those that no member looked at get none.
        members: The label fields whose disagreement was measured.
        calibrated: Whether their scores were turned into probabilities first.
        unknown_labels: Boxes that were left out, by the label that means no class.
    """

    ranked: int
    scored: int
    members: tuple[str, ...]
    calibrated: bool
    unknown_labels: Mapping[str, int]


def score(
    samples: Any,
    *,
    members: Sequence[str] | None = None,
    ensemble: Ensemble | None = None,
    taxonomy: Taxonomy | None = None,
    progress: Progress | None = None,
) -> ScoreResult:
    """Write `hardness`, its components, `n_voters` and `expected_boxes`.

    Either an ensemble whose predictions are stored, or the names of label fields that the
    dataset already has: then no model runs, and their `confidence` is taken as it is.

    Args:
        samples: A FiftyOne dataset or view.
        members: Label fields to compare.
        ensemble: Whose calibration, weights and vocabulary hold.
        taxonomy: What the labels of `members` mean; by default each label means itself.
        progress: Told when the fields are read, scored and written.

    Raises:
        StageError: Not one of both was given, or there is no sample to rank.
        StoreError: A field is absent, or holds no boxes with confidences.
    """
    if bool(members) == (ensemble is not None):
        raise StageError(
            "Give what to score: either an ensemble, or the label fields to compare, "
            "for example `--members field_a,field_b`."
        )
    names = ensemble.detectors if ensemble else tuple(dict.fromkeys(members or ()))
    dataset = query.dataset_of(samples)
    view = query.pool(samples)
    if not len(view) and ensemble is None:
        view = samples.view()
    query.require_pool(view, dataset.name)
    classes = ensemble.taxonomy if ensemble else taxonomy or query.own_taxonomy(view, names)
    read = store.read_votes(
        view, names, classes=classes, confidence="score" if ensemble else "confidence"
    )
    ids, votes = read.ids, read.votes
    _tell(progress, 1)
    clusters, decisions, quality = _concluded(votes, ensemble, classes, store.sizes_px(view))
    looked_at: NDArray[np.bool_] = np.any(votes.ran, axis=1)
    p_language = _language(view, ids, ensemble) if ensemble else np.full(len(ids), np.nan)
    scored = hardness.of_images(
        hardness.components(clusters, quality),
        clusters,
        in_pool=looked_at,
        sources=np.column_stack([decisions.p, p_language]),
        contradiction=hardness.contradictions(decisions.p, p_language),
    )
    _tell(progress, 2)
    fields.declare_hardness(dataset)
    store.write_columns(dataset, ids, _columns(scored, clusters, decisions, looked_at))
    query.remember(
        dataset, "score", {"members": list(names), "ensemble": ensemble and ensemble.identity}
    )
    _tell(progress, 3)
    return ScoreResult(
        ranked=len(ids),
        scored=int(looked_at.sum()),
        members=names,
        calibrated=bool(ensemble and ensemble.calibration.calibrated_members),
        unknown_labels=dict(read.unknown_labels),
    )


def _concluded(
    votes: Votes, ensemble: Ensemble | None, taxonomy: Taxonomy, sizes_px: NDArray[np.int64]
) -> tuple[Clusters, Decisions, dict[str, float]]:
    if ensemble:
        clusters, decisions = voting.conclude(ensemble.calibration.of(votes), ensemble, sizes_px)
        return clusters, decisions, dict(ensemble.calibration.quality)
    return *_plainly(votes, taxonomy, sizes_px), {}


def _language(view: Any, ids: Sequence[str], ensemble: Ensemble) -> NDArray[np.float64]:
    """Return what the language members say together, shape (n,), NaN where none has a say."""
    p_yes = read_closer(view, ids, ensemble).p_yes
    if not p_yes:
        return np.full(len(ids), np.nan)
    return np.asarray(voting.together(ensemble, p_yes), np.float64)


def _plainly(
    votes: Votes, taxonomy: Taxonomy, sizes_px: NDArray[np.int64]
) -> tuple[Clusters, Decisions]:
    """Fuse fields of unknown origin: equal voices, and each can name the labels that it uses."""
    fusion = Fusion()
    competent = np.zeros((len(votes.members), len(votes.classes)), bool)
    competent[votes.member, votes.class_id] = True
    clusters = consensus.fuse(
        votes,
        competent=competent,
        weights=np.ones(len(votes.members)),
        silence=np.full(len(votes.members), fusion.silence),
        sizes_px=sizes_px,
        fusion=fusion,
    )
    deciding = set(taxonomy.deciding)
    decisions = consensus.decide(
        clusters,
        votes.ran,
        competent=competent,
        relevance=np.array([float(name in deciding) for name in votes.classes]),
        threshold=0.5,
        epsilon=fusion.epsilon,
    )
    return clusters, decisions


def _columns(
    scored: hardness.ImageHardness,
    clusters: Clusters,
    decisions: Decisions,
    looked_at: NDArray[np.bool_],
) -> dict[str, Any]:
    expected = np.bincount(clusters.image, weights=clusters.p_mean, minlength=clusters.n_images)
    return {
        fields.HARDNESS: scored.hardness,
        fields.HARDNESS_EXISTENCE: scored.existence,
        fields.HARDNESS_CLASS: scored.class_,
        fields.HARDNESS_LOCATION: scored.location,
        fields.HARDNESS_MARGIN: scored.margin,
        fields.HARDNESS_IMAGE: scored.image,
        fields.N_VOTERS: decisions.n_voters.astype(int),
        fields.EXPECTED_BOXES: np.where(looked_at, expected, np.nan),
    }


def _tell(progress: Progress | None, done: int) -> None:
    if progress:
        progress(done, 3)
