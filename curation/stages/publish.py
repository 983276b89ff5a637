"""Register the challenger, judge it by the gate, and promote it or keep the champion."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.ensemble import Ensemble
from curation.active_learning.gate import evaluations
from curation.active_learning.gate.verdict import Verdict
from curation.errors import PublishError
from curation.report import sign_off
from curation.report.render import html
from curation.report.sign_off import Candidate
from curation.storage import rounds
from curation.storage.rounds import Round
from curation.tracking import Registry, RunContents, Version, environment, round_contents
from curation.tracking.registry.move_plan import WITHDRAWN
from curation.tracking.registry.promotion import Promotions, open_promotions
from curation.tracking.runs import Runs

if TYPE_CHECKING:
    from curation.settings import Settings

PAGE = "verdict.html"  # in the round's folder and its MLflow run

_GATE = "gate"  # author of promotions without a signature
_MAX_REASON_LENGTH = 1000  # characters stored with a version
_SENTENCES = {
    "promote": "Version {challenger} is promoted: it replaces version {champion}.",
    "keep": "Version {champion} stays champion; version {challenger} is kept as the challenger.",
    "no_verdict": "There is no verdict, so version {champion} stays champion; "
    "version {challenger} is kept as the challenger.",
    "same": "Training changed nothing, so version {champion} stays champion.",
    "sign_off": "Version {challenger} may replace version {champion}: read {page}, then "
    "`curate promote {name} {challenger} --by NAME --why TEXT`.",
    "withdrawn": "Version {challenger} was withdrawn before, so version {champion} stays champion "
    "until a person signs: `curate promote {name} {challenger} --by NAME --why TEXT`.",
}


@dataclass(frozen=True)
class PublishResult:
    """Outcome of a call of `publish`.

    Attributes:
        registry_name: Name of the registered model.
        champion: The version in service before.
        challenger: The version that was judged.
        in_service: The version in service now.
        bootstrapped: Whether the registry was empty; then the starting ensemble was put into
            service without a verdict.
        outcome: `promote`, `keep` or `no_verdict`.
        sentence: The outcome as a sentence.
    """

    registry_name: str
    champion: str
    challenger: str
    in_service: str
    bootstrapped: bool
    outcome: str
    sentence: str


def publish(
    round_: Round,
    *,
    dataset_name: str,
    champion: Ensemble,
    challenger: Ensemble,
    settings: Settings,
    non_inferiority: bool = False,
    sign_off_needed: bool = False,
    seed: int = 0,
) -> PublishResult:
    """Judge the challenger by the round's two evaluations, write the verdict, and move aliases.

    Idempotent: versions are registered once, the same evaluations give the same verdict, and a
    challenger in service stays there. A challenger that was rolled back is not promoted again.

    Args:
        round_: The round with both evaluations; receives `verdict.json` and the page to sign.
        dataset_name: Name to register under.
        champion: The ensemble in service, or the round's starting ensemble if there is none.
        challenger: The ensemble that the round trained.
        settings: Settings with the registry and the database.
        non_inferiority: Whether a faster challenger needs only to be as good, within a margin.
        sign_off_needed: Whether to leave the promotion to a person: `curate promote`.
        seed: Random seed for the gate's bootstrap.

    Raises:
        PublishError: An evaluation is missing or of other ensembles, or the registry fails.
        LeaseError: Another process is promoting.
    """
    before, after = evaluations.read_evaluations(
        round_, champion=champion.identity, challenger=challenger.identity
    )
    with open_promotions(settings) as moves:
        registry, name = moves.registry, dataset_name
        bootstrapped = registry.champion(name) is None
        if bootstrapped:
            first = _register(registry, round_, name, champion, before, role="start")
            why = f"The first champion: round {round_.number} started with it."
            moves.promote(name, first, by=_GATE, why=why, verdict="bootstrap")
        in_service = str(registry.champion(name))
        version = _register(registry, round_, name, challenger, after, role="challenger")
        replaced = _replaced(registry, name, in_service, version, before["ensemble"])
        verdict = evaluations.judge_evaluations(
            before, after, budget=challenger.manifest.budget, non_inferiority=non_inferiority,
            seed=seed,
        )  # fmt: skip
        page = _write_verdict(settings, registry, round_, name, replaced, version, verdict, after)
        outcome: str = "same" if replaced == version else verdict.outcome
        if version != in_service:
            outcome = _promote_if_allowed(
                moves, name, version, in_service, verdict, sign_off_needed=sign_off_needed
            )
        return PublishResult(
            registry_name=name,
            champion=replaced,
            challenger=version,
            in_service=str(registry.champion(name)),
            bootstrapped=bootstrapped,
            outcome=verdict.outcome,
            sentence=_SENTENCES[outcome].format(
                champion=replaced, challenger=version, name=name, page=page
            ),
        )


def _promote_if_allowed(
    moves: Promotions,
    name: str,
    version: str,
    champion: str,
    verdict: Verdict,
    *,
    sign_off_needed: bool,
) -> str:
    """Store the verdict with the version, and promote it if allowed; return the sentence's key."""
    registry = moves.registry
    tags = _version(registry, name, version).tags
    reasons = " ".join(verdict.reasons)[:_MAX_REASON_LENGTH]
    registry.set_challenger(name, version)
    registry.set_tags(
        name, version, verdict=verdict.outcome, verdict_hash=sign_off.digest(verdict.to_dict()),
        judged_against=champion, reasons=reasons,
    )  # fmt: skip
    if verdict.outcome != "promote":
        return verdict.outcome
    if tags.get(WITHDRAWN) == "true":
        return "withdrawn"
    if sign_off_needed:
        return "sign_off"
    moves.promote(
        name, version, by=_GATE, why=reasons, verdict=verdict.outcome, judged_against=champion
    )
    return "promote"


def _version(registry: Registry, name: str, number: str) -> Version:
    return next(version for version in registry.versions(name) if version.version == number)


def _write_verdict(
    settings: Settings, registry: Registry, round_: Round, name: str, champion: str, version: str,
    verdict: Verdict, evaluation: Mapping[str, Any],
) -> Path:  # fmt: skip
    """Write the verdict and its page to the round's folder and MLflow run; return the page."""
    registered = _version(registry, name, version)
    keys = ("ensemble", "evaluation_set", "dataset_hash", "manifest", "taxonomy", "licences")
    tags = registered.tags
    facts = {key.replace("_", " "): tags[key] for key in keys if tags.get(key)}
    prevalence = evaluation["n_positive"] / max(evaluation["n_images"], 1)
    candidate = Candidate(
        dataset=name,
        round_number=round_.number,
        champion=champion,
        challenger=version,
        facts={**facts, "prevalence": f"{prevalence:.1%}"},
    )
    content = verdict.to_dict()
    round_.write(rounds.VERDICT, content)
    path = round_.folder / PAGE
    text = html.render(sign_off.compose(candidate, content))
    path.write_text(text)
    if registered.run_id:
        Runs.from_settings(settings).log(
            registered.run_id, RunContents(tables={"verdict": content}, pages={PAGE: text})
        )
    return path


def _replaced(registry: Registry, name: str, in_service: str, version: str, evaluated: str) -> str:
    """Return the version that the challenger competes with.

    Raises:
        PublishError: It is not the evaluated champion.
    """
    champion = _version(registry, name, in_service)
    if in_service == version and champion.ensemble != evaluated:  # promoted already
        return champion.tags.get("replaced", version)
    if champion.ensemble != evaluated:
        raise PublishError(
            f"Version {in_service} of {name!r} is in service (ensemble "
            f"{champion.ensemble}), but the evaluated champion is {evaluated}. "
            "Evaluate again."
        )
    return in_service


def _register(
    registry: Registry,
    round_: Round,
    name: str,
    ensemble: Ensemble,
    evaluation: Mapping[str, Any],
    *,
    role: str,
) -> str:
    record = round_.record()
    labeled = record["stages"].get("label", {}).get("summary", {})
    trained = role == "challenger"
    contents = round_contents.from_round(
        record, evaluation, dataset=name, tag=round_.tag, trained=trained
    )
    with tempfile.TemporaryDirectory(prefix=".publish-", dir=round_.folder) as temporary:
        return registry.register(
            ensemble.save(Path(temporary) / "ensemble"),
            name=name,
            identity=ensemble.identity,
            contents=replace(
                contents,
                pages={"environment.txt": environment.describe()},
                files={"round": round_.folder / rounds.RECORD},
            ),
            tags={
                "role": role,
                "round": str(round_.number),
                "dataset_hash": labeled.get("dataset_hash", ""),
                **round_contents.version_tags(ensemble, evaluation),
            },
            run_id=record.get("run") if trained else None,
        )
