"""Register the challenger, let the gate judge it, and promote it or keep the champion."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade.ensemble import Ensemble
from curation.active_learning.gate import judge
from curation.active_learning.gate.judge import Evidence, Verdict
from curation.errors import PublishError
from curation.report import sign_off
from curation.report.render import html
from curation.report.sign_off import Candidate
from curation.storage import rounds
from curation.storage.rounds import Round
from curation.tracking import About, Registry, environment, round_contents
from curation.tracking.registry.alias_moves import WITHDRAWN
from curation.tracking.registry.promotion import Promotions, promotions
from curation.tracking.runs import Runs

if TYPE_CHECKING:
    from curation.settings import Settings

PAGE = "verdict.html"  # in the round's folder, and with the run

_GATE = "gate"  # who promotes where nobody signs
_LONGEST_REASON = 1000  # characters of the reasons that are noted with a version
_SAYS = {
    "promote": "Version {challenger} is promoted: it replaces version {champion}.",
    "keep": "Version {champion} stays champion; version {challenger} is kept as the challenger.",
    "no_verdict": "There is no verdict, so version {champion} stays champion; "
    "version {challenger} is kept as the challenger.",
    "same": "Training changed nothing, so version {champion} stays champion.",
    "sign_off": "Version {challenger} may replace version {champion}: read {page}, then "
    "`curate promote {name} {challenger} --by NAME --why TEXT`.",
    "withdrawn": "Version {challenger} was withdrawn before, so version {champion} stays champion "
    "until somebody signs: `curate promote {name} {challenger} --by NAME --why TEXT`.",
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
    sign_off_needed: bool = False,
    seed: int = 0,
) -> PublishResult:
    """Judge the challenger on the round's two evaluations; write the verdict; move aliases.

    May be repeated: versions are registered once, the verdict is the same from the same
    evaluations, and a challenger that is in service already stays there. One that was rolled
    back meanwhile is not promoted again.

    Args:
        this: The round, with both evaluations in its folder; `verdict.json` and the page to
            sign are written there.
        dataset_name: The name to register under.
        champion: The ensemble in service; where none is yet, what the round began with.
        challenger: What the round trained.
        settings: Where the registry and the database are.
        non_inferiority: Promote a faster challenger that is as good, within a margin.
        sign_off_needed: Leave the promotion to a person: `curate promote`.
        seed: Of the gate's bootstrap.

    Raises:
        PublishError: An evaluation is missing or not of these ensembles, or the registry fails.
        LeaseError: Somebody else is promoting right now.
    """
    before, after = _evaluations(this, champion, challenger)
    with promotions(settings) as moving:
        registry, name = moving.registry, dataset_name
        bootstrapped = registry.champion(name) is None
        if bootstrapped:
            first = _register(registry, this, name, champion, before, role="start")
            why = f"The first champion: round {this.number} began with it."
            moving.promote(name, first, by=_GATE, why=why, verdict="bootstrap")
        in_service = str(registry.champion(name))
        version = _register(registry, this, name, challenger, after, role="challenger")
        replaced = _replaced(registry, name, in_service, version, before["ensemble"])
        verdict = _judge(before, after, challenger, non_inferiority=non_inferiority, seed=seed)
        page = _keep(settings, registry, this, name, replaced, version, verdict, after)
        said: str = "same" if replaced == version else verdict.outcome
        if version != in_service:
            said = _decide(
                moving, name, version, in_service, verdict, sign_off_needed=sign_off_needed
            )
        return PublishResult(
            registry_name=name,
            champion=replaced,
            challenger=version,
            in_service=str(registry.champion(name)),
            bootstrapped=bootstrapped,
            outcome=verdict.outcome,
            sentence=_SAYS[said].format(
                champion=replaced, challenger=version, name=name, page=page
            ),
        )


def _decide(
    moving: Promotions,
    name: str,
    version: str,
    champion: str,
    verdict: Verdict,
    *,
    sign_off_needed: bool,
) -> str:
    """Note what was judged, and promote it where that is to be; return which sentence tells."""
    registry = moving.registry
    tags = {one.version: one.tags for one in registry.versions(name)}[version]
    registry.challenge(name, version)
    registry.note(
        name,
        version,
        verdict=verdict.outcome,
        verdict_hash=sign_off.digest(verdict.to_dict()),
        judged_against=champion,
        reasons=" ".join(verdict.reasons)[:_LONGEST_REASON],
    )
    if verdict.outcome != "promote":
        return verdict.outcome
    if tags.get(WITHDRAWN) == "true":
        return "withdrawn"
    if sign_off_needed:
        return "sign_off"
    why = " ".join(verdict.reasons)[:_LONGEST_REASON]
    moving.promote(name, version, by=_GATE, why=why, verdict=verdict.outcome, over=champion)
    return "promote"


def _keep(
    settings: Settings,
    registry: Registry,
    this: Round,
    name: str,
    champion: str,
    version: str,
    verdict: Verdict,
    evaluation: Mapping[str, Any],
) -> Path:
    """Write the verdict and its page into the round's folder and into the run; return the page."""
    one = next(one for one in registry.versions(name) if one.version == version)
    shown = ("ensemble", "evaluation_set", "dataset_hash", "manifest", "taxonomy", "licences")
    facts = {key.replace("_", " "): one.tags[key] for key in shown if one.tags.get(key)}
    prevalence = evaluation["n_positive"] / max(evaluation["n_images"], 1)
    candidate = Candidate(
        dataset=name,
        round_number=this.number,
        champion=champion,
        challenger=version,
        facts={**facts, "prevalence": f"{prevalence:.1%}"},
    )
    plain = verdict.to_dict()
    this.write(rounds.VERDICT, plain)
    path = this.folder / PAGE
    text = html.render(sign_off.compose(candidate, plain))
    path.write_text(text)
    if one.run_id:
        Runs.of(settings).keep(one.run_id, About(tables={"verdict": plain}, pages={PAGE: text}))
    return path


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
    trained = role == "challenger"
    about = round_contents.of_round(record, evaluation, dataset=name, tag=this.tag, trained=trained)
    with tempfile.TemporaryDirectory(prefix=".publish-", dir=this.folder) as temporary:
        return registry.register(
            ensemble.save(Path(temporary) / "ensemble"),
            name=name,
            identity=ensemble.identity,
            about=replace(
                about,
                pages={"environment.txt": environment.page()},
                files={"round": this.folder / rounds.RECORD},
            ),
            tags={
                "role": role,
                "round": str(this.number),
                "dataset_hash": labeled.get("dataset_hash", ""),
                **round_contents.tags_of(ensemble, evaluation),
            },
            run_id=record.get("run") if trained else None,
        )


def _judge(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    challenger: Ensemble,
    *,
    non_inferiority: bool,
    seed: int,
) -> Verdict:
    images = after["samples"]
    return judge.judge(
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
