"""Register the challenger, let the gate judge it, and promote it or keep the champion."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.ensemble import Ensemble
from curation import gate, rounds
from curation.errors import PublishError
from curation.gate import Evidence, Verdict
from curation.rounds import Round
from curation.tracking import Registry

if TYPE_CHECKING:
    from curation.settings import Settings

_METRICS = ("mcc", "precision", "recall", "ece", "map", "map50", "n_images", "n_positive")
_SAYS = {
    "promote": "Version {challenger} is promoted: it replaces version {champion}.",
    "keep": "Version {champion} stays champion; version {challenger} is kept as the challenger.",
    "no_verdict": "There is no verdict, so version {champion} stays champion; "
    "version {challenger} is kept as the challenger.",
    "same": "Training changed nothing, so version {champion} stays champion.",
}


@dataclass(frozen=True)
class PublishResult:
    """What became of the challenger.

    Attributes:
        registry_name: What the ensembles of the data set are registered as.
        champion: The version in service before.
        challenger: The version that was judged.
        in_service: The version in service now.
        bootstrapped: Whether the registry was empty, so that what the round began with was
            put into service without a verdict.
        outcome: `promote`, `keep` or `no_verdict`.
        sentence: All of that in words.
    """

    registry_name: str
    champion: str
    challenger: str
    in_service: str
    bootstrapped: bool
    outcome: str
    sentence: str


def publish(
    this: Round,
    *,
    dataset_name: str,
    champion: Ensemble,
    challenger: Ensemble,
    settings: Settings,
    non_inferiority: bool = False,
    seed: int = 0,
) -> PublishResult:
    """Judge the challenger on the round's two evaluations; write `verdict.json`; move aliases.

    May be repeated: versions are registered once, the verdict is the same from the same
    evaluations, and a challenger that is in service already stays there.

    Args:
        this: The round, with both evaluations in its folder.
        dataset_name: The name to register under.
        champion: The ensemble in service; where none is yet, what the round began with.
        challenger: What the round trained.
        settings: Where the registry is.
        non_inferiority: Promote a faster challenger that is as good, within a margin.
        seed: Of the gate's bootstrap.

    Raises:
        PublishError: An evaluation is missing or not of these ensembles, or the registry fails.
    """
    before, after = _evaluations(this, champion, challenger)
    registry = Registry.of(settings)
    name = dataset_name
    bootstrapped = registry.champion(name) is None
    if bootstrapped:
        first = _register(registry, this, name, champion, before, role="start")
        registry.promote(name, first, "bootstrap")
    in_service = str(registry.champion(name))
    version = _register(registry, this, name, challenger, after, role="challenger")
    replaced = _replaced(registry, name, in_service, version, before["ensemble"])
    verdict = _judge(before, after, challenger, non_inferiority=non_inferiority, seed=seed)
    this.write(rounds.VERDICT, verdict.to_dict())
    if version != in_service:
        registry.challenge(name, version)
        registry.note(name, version, verdict=verdict.outcome)
    if verdict.outcome == "promote":
        registry.promote(name, version, verdict.outcome)
    return PublishResult(
        registry_name=name,
        champion=replaced,
        challenger=version,
        in_service=str(registry.champion(name)),
        bootstrapped=bootstrapped,
        outcome=verdict.outcome,
        sentence=_SAYS["same" if replaced == version else verdict.outcome].format(
            champion=replaced, challenger=version
        ),
    )


def _evaluations(
    this: Round, champion: Ensemble, challenger: Ensemble
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return both evaluations, of the same images, the second one of the challenger."""
    found = []
    for name in (rounds.CHAMPION, rounds.CHALLENGER):
        one = this.read(name)
        if one is None:
            raise PublishError(
                f"{this.folder / name} is missing: evaluate both ensembles first "
                "(`curate evaluate`)."
            )
        found.append(one)
    before, after = found
    if before["samples"]["id"] != after["samples"]["id"]:
        raise PublishError(
            f"The evaluations in {this.folder} are of different images. Evaluate both again."
        )
    # A call that was cut off after it promoted finds the challenger in the champion's place.
    expected = {
        "champion": (champion.identity, (before["ensemble"], after["ensemble"])),
        "challenger": (challenger.identity, (after["ensemble"],)),
    }
    for role, (identity, evaluated) in expected.items():
        if identity not in evaluated:
            raise PublishError(
                f"The evaluation of the {role} in {this.folder} is of the ensemble "
                f"{evaluated[0]}, not of {identity}. Evaluate again."
            )
    return before, after


def _replaced(registry: Registry, name: str, in_service: str, version: str, evaluated: str) -> str:
    """Return the version that the challenger competes with, refusing any but the evaluated."""
    known = {one.version: one for one in registry.versions(name)}
    if in_service == version and known[version].ensemble != evaluated:  # promoted already
        return known[version].tags.get("replaced", version)
    if known[in_service].ensemble != evaluated:
        raise PublishError(
            f"Version {in_service} of {name!r} is in service (ensemble "
            f"{known[in_service].ensemble}), but the champion that was evaluated is {evaluated}. "
            "Evaluate again."
        )
    return in_service


def _register(
    registry: Registry,
    this: Round,
    name: str,
    ensemble: Ensemble,
    evaluation: Mapping[str, Any],
    *,
    role: str,
) -> str:
    record = this.record()
    labeled = record["stages"].get("label", {}).get("summary", {})
    latency = {f"latency_{key}_ms": value for key, value in evaluation["latency_ms"].items()}
    with tempfile.TemporaryDirectory(prefix=".publish-", dir=this.folder) as temporary:
        return registry.register(
            ensemble.save(Path(temporary) / "ensemble"),
            name=name,
            identity=ensemble.identity,
            metrics={key: evaluation.get(key) for key in _METRICS} | latency,
            params={"manifest": ensemble.manifest.name, "seed": record.get("seed", 0)},
            tags={
                "role": role,
                "round": str(this.number),
                "manifest": ensemble.manifest.identity,
                "taxonomy": ensemble.taxonomy.identity,
                "evaluation_set": _evaluation_set(evaluation),
            },
            dataset_hash=labeled.get("dataset_hash", ""),
            artifacts={"round": this.folder / rounds.RECORD},
        )


def _evaluation_set(evaluation: Mapping[str, Any]) -> str:
    """Return 16 hex digits over the images and the truth that the figures are about."""
    about = {key: evaluation["samples"][key] for key in ("id", "truth")}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _judge(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    challenger: Ensemble,
    *,
    non_inferiority: bool,
    seed: int,
) -> Verdict:
    images = after["samples"]
    return gate.judge(
        truth=np.array(images["truth"], bool),
        drives=images["drive"],
        slices={name: np.array(m, bool) for name, m in images.get("slices", {}).items()},
        champion=_evidence(before),
        challenger=_evidence(after),
        budget=challenger.manifest.budget,
        non_inferiority=non_inferiority,
        seed=seed,
    )


def _evidence(evaluation: Mapping[str, Any]) -> Evidence:
    return Evidence(
        p=np.array(evaluation["samples"]["p"], float),  # None, where nobody voted, becomes NaN
        threshold=evaluation["threshold"],
        map50=evaluation["map50"],
        p99_latency_ms=evaluation["latency_ms"]["p99"],
        mean_latency_ms=evaluation["latency_ms"]["mean"],
    )
