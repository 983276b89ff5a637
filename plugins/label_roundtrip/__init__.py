"""The App's door to labeling: tasks out, labels in, and how far a round is."""

from dataclasses import asdict
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.operators import options, round_forms
from curation.app.operators.base import RUN, Door
from curation.app.operators.execution import Outcome
from curation.storage import schema
from curation.storage.tags import round_name


def ask_batch(form: Any, *, oracle: bool = True) -> tuple[int, str] | None:
    """Ask for the round and who labels it; None where that cannot be."""
    if not round_forms.require_taxonomy(form):
        return None
    number = round_forms.ask_round(form, default=options.last_round(form.ctx.dataset))
    round_forms.require_chosen(form, number)
    labeler = round_forms.ask_labeler(form, number, oracle=oracle)
    return None if form.problems else (number, labeler)


def given_batch(ctx: Any) -> tuple[int, str]:
    """Return the round and the labeler that were given, or those that the form proposes."""
    number = ctx.params.get("round_number") or options.last_round(ctx.dataset)
    server = "label-studio" if ctx.secret("LABEL_STUDIO_URL") else "files"
    known = options.holder(ctx.dataset, number)
    return number, ctx.params.get("labeler") or known or server


class PushLabels(Door):
    """Hands over the round's samples that wait for labels; each becomes one task."""

    looks_at = "dataset"
    button = "Push"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="push_labels",
            label="Curation: push to labeling",
            description="Send the chosen samples to Label Studio, CVAT or files, to be labeled",
            icon="send",
            risk_level=types.RiskLevel.HIGH,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the round and the labeler, and say what labeling will take."""
        found = ask_batch(form, oracle=False)
        if found is None:
            return
        number, _ = found
        from curation.api.labeling import preview  # brings torch along: when all else is fine
        from curation.errors import CurationError

        try:
            cost = preview(ctx.dataset, round_number=number)
        except CurationError as error:
            form.refuse(str(error), "round_number")
            return
        form.say(cost.cost.sentence, cost.rates.source)
        if cost.stop:
            form.warn("The last rounds were hardly worth their labels", cost.advice)

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Push, and show what waits."""
        from curation.api.labeling import push

        number, labeler = given_batch(ctx)
        result = push(ctx.dataset, number, labeler=labeler)
        batch = ctx.dataset.match_tags(round_name(number))
        return Outcome(
            f"{result.pushed} tasks of round {number} were pushed, {result.existing} were there. "
            f"{result.where}",
            asdict(result),
            view=batch.exists(schema.LABELED_ROUND, False).sort_by(schema.RANK),
        )


class PullLabels(Door):
    """Takes over what was submitted, and what was changed since."""

    looks_at = "dataset"
    button = "Pull"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="pull_labels",
            label="Curation: pull labels",
            description="Take over into the ground truth what was submitted",
            icon="download_done",
            risk_level=types.RiskLevel.MEDIUM,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the round and the labeler."""
        found = ask_batch(form)
        if found is not None:
            form.say("Only what was submitted becomes ground truth", "A prediction never does.")

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Pull, and show what is labeled."""
        from curation.api.labeling import pull

        number, labeler = given_batch(ctx)
        result = pull(ctx.dataset, number, labeler=labeler)
        facts = {name: one for name, one in asdict(result).items() if name != "failure_yield"}
        new = facts.get("new", facts.get("updated", 0) + facts["labeled"])
        doubts = f" {len(facts['review'])} submissions need a look." if facts["review"] else ""
        labeled = ctx.dataset.match({schema.LABELED_ROUND: number})
        return Outcome(
            f"{new} samples of round {number} got labels now; {facts['waiting']} wait.{doubts}",
            facts,
            view=labeled if len(labeled) else None,
        )


class LabelingStatus(Door):
    """Says how far the labeling of a round is, without writing anything."""

    looks_at = "dataset"
    button = "Look"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="labeling_status",
            label="Curation: labeling status",
            description="How many tasks of a round are labeled, and where they wait",
            icon="hourglass_bottom",
            risk_level=types.RiskLevel.LOW,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the round and the labeler."""
        ask_batch(form)

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Ask the labeler."""
        from curation.api.datasets import connected
        from curation.labeling import factory

        number, labeler = given_batch(ctx)
        asked = factory.create(labeler, ctx.dataset, connected())
        found = asked.status(round_name(number))
        return Outcome(
            f"{found.submitted} of {found.tasks} tasks of round {number} are submitted, "
            f"{found.waiting} wait. {asked.where}",
            {**asdict(found), "waiting": found.waiting, "where": asked.where},
            wrote=False,
        )


def register(plugin: Any) -> None:
    """Hand the operators to FiftyOne; `fiftyone.yml` lists the same names."""
    plugin.register(PushLabels)
    plugin.register(PullLabels)
    plugin.register(LabelingStatus)
