"""FiftyOne operator: adopt an existing dataset, with its own field names."""

from dataclasses import asdict
from typing import Any

from fiftyone.operators import ExecutionContext

from cascade import taxonomy
from cascade.errors import CascadeError
from cascade.taxonomy import Taxonomy
from curation.app.operators import label_forms, options
from curation.app.operators.base import CurationOperator, operator_config
from curation.app.operators.execution import Outcome
from curation.app.operators.forms import Form, parameter
from curation.app.operators.progress import StageProgress
from curation.storage import schema

NONE, TAGS = "none", "tags"
MAX_LABELS = 10  # unknown labels in the warning


class AdoptDataset(CurationOperator):
    """Declares the taxonomy, the ground truth and the splits of a dataset."""

    target = "dataset"
    submit_label = "Adopt"
    config = operator_config(
        name="adopt_dataset",
        label="Curation: adopt this dataset",
        description="Declare the taxonomy, the ground truth and the splits of this dataset",
        icon="folder_special",
        risk_level="MEDIUM",
        step=1,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add taxonomy, ground truth and splits; show the labels without a class."""
        import fiftyone as fo

        dataset = ctx.dataset
        name = label_forms.select_taxonomy(form)
        boxes = [field for field in options.box_fields(dataset) if field != schema.CONSENSUS]
        truth = form.select(
            "ground_truth",
            "Ground truth",
            {NONE: "none: no labels", **{field: field for field in boxes}},
            default=schema.GROUND_TRUTH if schema.GROUND_TRUTH in boxes else NONE,
            description="Field with confirmed labels; it is not changed",
        )
        texts = dataset.get_field_schema(ftype=fo.StringField)
        splits = {NONE: "none: all samples are in the pool", TAGS: "the samples' tags"}
        form.select(
            "split_from",
            "Split",
            {**splits, **{field: field for field in texts}},
            default=schema.SPLIT if schema.SPLIT in texts else NONE,
            description="Where the splits train, val and test come from",
        )
        label_forms.add_hold_back(form)
        try:
            classes = taxonomy.load(name)
        except CascadeError as error:
            form.error(str(error), "taxonomy")
            return
        if truth in boxes:
            self._show_labels(ctx, form, truth, classes)

    def _show_labels(
        self, ctx: ExecutionContext, form: Form, truth: str, classes: Taxonomy
    ) -> None:
        counts = ctx.dataset.count_values(f"{truth}.detections.label")
        unknown = {
            label: n for label, n in counts.items() if label and classes.canonical(label) is None
        }
        n_known = sum(n for label, n in counts.items() if label not in unknown)
        form.note(f"{n_known:,} boxes in {truth!r} have a class in {classes.name!r}")
        if unknown:
            labels = [f"{label} ({n:,})" for label, n in sorted(unknown.items())[:MAX_LABELS]]
            form.warning("Labels without a class are left out", ", ".join(labels))

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Adopt the dataset."""
        from curation.stages.adopt import adopt

        has_truth = ctx.dataset.get_field(schema.GROUND_TRUTH) is not None
        truth = parameter(ctx, "ground_truth", schema.GROUND_TRUTH if has_truth else NONE)
        split = parameter(ctx, "split_from", NONE)
        result = adopt(
            ctx.dataset,
            taxonomy=taxonomy.load(parameter(ctx, "taxonomy", label_forms.DEFAULT_TAXONOMY)),
            ground_truth=None if truth == NONE else truth,
            split_from=None if split == NONE else split,
            hold_back=bool(parameter(ctx, "hold_back")),
            progress=stage_progress("adopt"),
        )
        splits = ", ".join(f"{split} {n}" for split, n in result.splits.items())
        return Outcome(
            f"Adopted {result.samples} samples ({splits}): {result.labeled} labeled, "
            f"{result.held_back} with labels held back.",
            asdict(result),
        )


def register(plugin: Any) -> None:
    """Register the operator with FiftyOne."""
    plugin.register(AdoptDataset)
