"""The App's door to scoring and choosing: two forms, each with one call behind it."""

from dataclasses import asdict
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from cascade import manifest
from curation.app.operators import options, round_forms
from curation.app.operators.base import RUN, Door
from curation.app.operators.execution import Outcome
from curation.storage import schema
from curation.storage.tags import round_name

PLAIN = "fields"  # compare label fields as they are, whoever wrote them


def packaged(dataset: Any) -> list[str]:
    """Return the packaged manifests that predicted here: of others nobody knows the file."""
    known = manifest.packaged_names()
    return [name for name in options.predicting_manifests(dataset) if name in known]


class ScoreHardness(Door):
    """Ranks the unlabeled samples by the disagreement of fields that are there already."""

    button = "Score"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="score_hardness",
            label="Curation: score hardness",
            description="Rank unlabeled samples by how much their predictions disagree",
            icon="trending_up",
            risk_level=types.RiskLevel.MEDIUM,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the fields to compare."""
        found, ours = options.member_fields(ctx.dataset), packaged(ctx.dataset)
        if not found:
            form.refuse(
                "This dataset has no field of predicted boxes. Run `Curation: predict`, or add "
                "predictions of your own models as Detections fields with confidences."
            )
            return
        by = PLAIN
        if ours:
            offered = {one: f"the members of {one}, calibrated and weighted" for one in ours}
            offered[PLAIN] = "the fields below, as they are"
            by = form.pick("by", "Compare", offered, default=next(iter(ours)))
        if by == PLAIN:
            picked = form.several(
                "members",
                "Members",
                found,
                default=found,
                about="Label fields whose disagreement counts, of any model",
            )
            if len(picked) == 1:
                form.warn(
                    "One member has nobody to disagree with", "Only its own doubt will count."
                )
        n = len(options.pool(ctx.target_view()))
        form.say(
            f"{n:,} samples of the pool will be ranked" if n else "No sample of it is in the pool",
            "No model runs. Writes `hardness` in [0, 1] and its parts; validation and test are "
            "never ranked."
            if n
            else "All are labeled, or in validation or test; all of them will be ranked.",
        )

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Score, and show the hardest first."""
        from curation.api.datasets import ensemble
        from curation.stages.score import score

        samples, given = ctx.target_view(), ctx.params
        ours = packaged(ctx.dataset)
        by = given.get("by") or (PLAIN if given.get("members") or not ours else next(iter(ours)))
        if by == PLAIN:
            named = given.get("members") or options.member_fields(ctx.dataset)
            result = score(samples, members=named, progress=bars("score"))
        else:
            result = score(samples, ensemble=ensemble(samples, by), progress=bars("score"))
        how = "calibrated" if result.calibrated else "taken as they are"
        return Outcome(
            f"{result.scored} of {result.ranked} samples are ranked by {len(result.members)} "
            f"members, their confidences {how}; the hardest come first.",
            asdict(result),
            view=samples.exists(schema.HARDNESS).sort_by(schema.HARDNESS, reverse=True),
        )


class ChooseSamples(Door):
    """Tags the next batch to label: hard, varied, and a random arm to compare with."""

    button = "Choose"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="choose_samples",
            label="Curation: choose samples",
            description="Tag the next batch to label: hard, varied, and a random arm",
            icon="checklist",
            risk_level=types.RiskLevel.MEDIUM,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the budget, the round and the seed."""
        view = options.pool(ctx.target_view())
        n = len(view)
        if not n:
            form.refuse(
                "No sample of the target is in the pool: all are labeled, or in validation or test."
            )
            return
        default = min(options.budget(view), n)
        budget = form.whole(
            "budget", "Budget", default=default, least=1, most=n, about="Samples to choose"
        )
        number = form.whole(
            "round_number",
            "Round",
            default=options.next_round(ctx.dataset),
            least=1,
            about="Names the tag of the batch, such as round-01; a new round by default",
        )
        form.whole("seed", "Seed", default=0, about="Of the random arm")
        use = form.tick("use_hardness", "Use hardness", default=True, about="Else coverage only")
        scored = view.get_field(schema.HARDNESS) is not None and view.count(schema.HARDNESS)
        if use and not scored:
            form.refuse(
                "No sample has a hardness yet. Run `Curation: score hardness` first, or leave "
                "`Use hardness` out: then only coverage counts.",
                "use_hardness",
            )
        if form.problems:
            return
        if number in options.chosen_rounds(ctx.dataset):
            form.warn(f"Round {number} is chosen already", "It stays as it is, and is shown.")
        if not ctx.dataset.info.get(schema.EMBEDDER_INFO):
            form.say("This dataset has no vectors yet", "It will be embedded first.")
        form.say(f"Tags {budget:,} of {n:,} samples", f"`{round_name(number)}`, `arm:...`")

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Choose, and show the batch in its order."""
        from curation.api.stages import choose, embed

        given, samples = ctx.params, ctx.target_view()
        if not ctx.dataset.info.get(schema.EMBEDDER_INFO):
            embed(ctx.dataset, round_forms.DEFAULT_MANIFEST, progress=bars("embed"))
        number = given.get("round_number") or options.next_round(ctx.dataset)
        result = choose(
            samples,
            given.get("budget") or options.budget(samples),
            round_number=number,
            seed=given.get("seed") or 0,
            use_hardness=given.get("use_hardness") is not False,
            progress=bars("choose"),
        )
        batch = ctx.dataset.match_tags(round_name(number)).sort_by(schema.RANK)
        return Outcome(
            f"{result.chosen} of {result.pool} samples are chosen for round {number}. "
            + " ".join(result.advice),
            {**asdict(result), "advice": "\n".join(result.advice)},
            view=batch,
        )


def register(plugin: Any) -> None:
    """Hand the operators to FiftyOne; `fiftyone.yml` lists the same names."""
    plugin.register(ScoreHardness)
    plugin.register(ChooseSamples)
