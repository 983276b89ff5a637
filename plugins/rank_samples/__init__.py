"""FiftyOne operators: score hardness, and choose the next batch to label."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fiftyone.operators import ExecutionContext

from cascade import manifest
from curation.app.operators import options, round_forms
from curation.app.operators.base import CurationOperator, operator_config
from curation.app.operators.execution import Outcome
from curation.app.operators.forms import Form, parameter
from curation.app.operators.progress import StageProgress
from curation.storage import schema
from curation.storage.tags import round_name

if TYPE_CHECKING:
    from fiftyone import Dataset

FIELDS = "fields"  # compare label fields, without a manifest


def packaged_manifests(dataset: "Dataset") -> list[str]:
    """Return the packaged manifests that predicted here; the files of others are unknown."""
    packaged = manifest.packaged_names()
    return [name for name in options.predicting_manifests(dataset) if name in packaged]


class ScoreHardness(CurationOperator):
    """Ranks unlabeled samples by the disagreement of existing predictions."""

    submit_label = "Score"
    config = operator_config(
        name="score_hardness",
        label="Curation: score hardness",
        description="Rank unlabeled samples by the disagreement of their predictions",
        icon="trending_up",
        risk_level="MEDIUM",
        step=4,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the fields to compare to the form."""
        fields, manifests = options.member_fields(ctx.dataset), packaged_manifests(ctx.dataset)
        if not fields:
            form.error(
                "This dataset has no field with predicted boxes. Run `Curation: predict`, or add "
                "predictions from your own models as Detections fields with confidences."
            )
            return
        source = FIELDS
        if manifests:
            labels = {name: f"members of {name}, calibrated and weighted" for name in manifests}
            labels[FIELDS] = "the fields below, uncalibrated"
            source = form.select("by", "Compare", labels, default=manifests[0])
        if source == FIELDS:
            members = form.multiselect(
                "members",
                "Members",
                fields,
                default=fields,
                description="Label fields to compare, of any model",
            )
            if len(members) == 1:
                form.warning(
                    "One member cannot disagree with others", "Only its own confidence counts."
                )
        n = len(options.pool(ctx.target_view()))
        if n:
            form.note(
                f"{n:,} samples of the pool will be ranked",
                "No model runs. Writes `hardness` in [0, 1] and its components. Validation and "
                "test samples are never ranked.",
            )
        else:
            form.note(
                "No sample in the target is in the pool",
                "All are labeled, or in validation or test; all of them will be ranked.",
            )

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Score the samples, and show the hardest first."""
        from curation.api.datasets import ensemble
        from curation.stages.score import score

        samples = ctx.target_view()
        members = parameter(ctx, "members")
        first = next(iter([] if members else packaged_manifests(ctx.dataset)), FIELDS)
        source = parameter(ctx, "by", first)
        if source == FIELDS:
            names = members or options.member_fields(ctx.dataset)
            result = score(samples, members=names, progress=stage_progress("score"))
        else:
            result = score(
                samples, ensemble=ensemble(samples, source), progress=stage_progress("score")
            )
        state = "calibrated" if result.calibrated else "uncalibrated"
        return Outcome(
            f"{result.scored} of {result.ranked} samples are ranked by {len(result.members)} "
            f"members with {state} confidences; the hardest come first.",
            asdict(result),
            view=samples.exists(schema.HARDNESS).sort_by(schema.HARDNESS, reverse=True),
        )


class ChooseSamples(CurationOperator):
    """Tags the next batch to label: hard and varied samples, and a random arm."""

    submit_label = "Choose"
    config = operator_config(
        name="choose_samples",
        label="Curation: choose samples",
        description="Tag the next batch to label: hard and varied samples, and a random arm",
        icon="checklist",
        risk_level="MEDIUM",
        step=5,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the budget, round and seed to the form."""
        view = options.pool(ctx.target_view())
        n = len(view)
        if not n:
            form.error(
                "No sample in the target is in the pool: all are labeled, or in validation or test."
            )
            return
        budget = form.integer(
            "budget",
            "Budget",
            default=min(options.default_budget(view), n),
            minimum=1,
            maximum=n,
            description="Number of samples to choose",
        )
        number = form.integer(
            "round_number",
            "Round",
            default=options.next_round(ctx.dataset),
            minimum=1,
            description="Number in the batch's tag, such as round-01; by default a new round",
        )
        form.integer("seed", "Seed", default=0, description="Random seed of the random arm")
        use_hardness = form.checkbox(
            "use_hardness", "Use hardness", default=True, description="Otherwise coverage only"
        )
        is_scored = view.get_field(schema.HARDNESS) is not None and view.count(schema.HARDNESS)
        if use_hardness and not is_scored:
            form.error(
                "No sample has a hardness score yet. Run `Curation: score hardness` first, or "
                "clear `Use hardness` to choose by coverage only.",
                "use_hardness",
            )
        if form.errors:
            return
        if number in options.chosen_rounds(ctx.dataset):
            form.warning(f"Round {number} is chosen already", "It is shown without a change.")
        if not ctx.dataset.info.get(schema.EMBEDDER_INFO):
            form.note("This dataset has no vectors yet", "It will be embedded first.")
        form.note(f"Tags {budget:,} of {n:,} samples", f"`{round_name(number)}`, `arm:...`")

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Choose the samples, and show the batch by rank."""
        from curation.api.stages import choose, embed

        samples = ctx.target_view()
        if not ctx.dataset.info.get(schema.EMBEDDER_INFO):
            embed(ctx.dataset, round_forms.DEFAULT_MANIFEST, progress=stage_progress("embed"))
        number = parameter(ctx, "round_number") or options.next_round(ctx.dataset)
        result = choose(
            samples,
            parameter(ctx, "budget") or options.default_budget(samples),
            round_number=number,
            seed=parameter(ctx, "seed", 0),
            use_hardness=parameter(ctx, "use_hardness", True),
            progress=stage_progress("choose"),
        )
        return Outcome(
            f"{result.chosen} of {result.pool} samples are chosen for round {number}. "
            + " ".join(result.advice),
            {**asdict(result), "advice": "\n".join(result.advice)},
            view=ctx.dataset.match_tags(round_name(number)).sort_by(schema.RANK),
        )


def register(plugin: Any) -> None:
    """Register the operators with FiftyOne."""
    plugin.register(ScoreHardness)
    plugin.register(ChooseSamples)
