"""The two evaluations of a round, as evidence for the gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cascade.manifest import Budget
from curation.active_learning.gate import judge
from curation.active_learning.gate.verdict import Evidence, Verdict
from curation.errors import PublishError
from curation.storage import rounds
from curation.storage.rounds import Round


def read_evaluations(
    round_: Round, *, champion: str, challenger: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the evaluations of champion and challenger.

    Args:
        round_: The round with both evaluations.
        champion: Identity of the champion.
        challenger: Identity of the challenger.

    Raises:
        PublishError: An evaluation is missing, or of other images or another ensemble.
    """
    evaluations = []
    for name in (rounds.CHAMPION, rounds.CHALLENGER):
        evaluation = round_.read(name)
        if evaluation is None:
            raise PublishError(
                f"{round_.folder / name} is missing. Evaluate both ensembles first: "
                "`curate evaluate`."
            )
        evaluations.append(evaluation)
    before, after = evaluations
    if before["samples"]["id"] != after["samples"]["id"]:
        raise PublishError(
            f"The evaluations in {round_.folder} cover different images. Evaluate both again."
        )
    # After a call that was interrupted past the promotion, the challenger is the champion.
    expected = {
        "champion": (champion, (before["ensemble"], after["ensemble"])),
        "challenger": (challenger, (after["ensemble"],)),
    }
    for role, (identity, evaluated) in expected.items():
        if identity not in evaluated:
            raise PublishError(
                f"The evaluation of the {role} in {round_.folder} is of the ensemble "
                f"{evaluated[0]}, not of {identity}. Evaluate again."
            )
    return before, after


def judge_evaluations(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    *,
    budget: Budget,
    non_inferiority: bool,
    seed: int,
) -> Verdict:
    """Return the gate's verdict on the evaluation `after` against `before`."""
    images = after["samples"]
    return judge.judge(
        truth=np.array(images["truth"], bool),
        drives=images["drive"],
        slices={name: np.array(m, bool) for name, m in images.get("slices", {}).items()},
        champion=_evidence(before),
        challenger=_evidence(after),
        budget=budget,
        non_inferiority=non_inferiority,
        seed=seed,
    )


def _evidence(evaluation: Mapping[str, Any]) -> Evidence:
    return Evidence(
        p=np.array(evaluation["samples"]["p"], float),  # None (no vote) becomes NaN
        threshold=evaluation["threshold"],
        map50=evaluation["map50"],
        p99_latency_ms=evaluation["latency_ms"]["p99"],
        mean_latency_ms=evaluation["latency_ms"]["mean"],
    )
