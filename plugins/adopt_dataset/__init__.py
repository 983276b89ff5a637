"""The App's door for datasets that people have already: what is what, in their own names."""

from dataclasses import asdict
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from cascade import taxonomy as taxonomies
from cascade.errors import CascadeError
from curation.app.operators import options
from curation.app.operators.base import RUN, Door
from curation.app.operators.execution import Outcome
from curation.storage import schema

NONE, TAGS = "none", "tags"
DEFAULT_TAXONOMY = "roadwork_core"


class AdoptDataset(Door):
    """Says what the labels of a dataset mean, which field is ground truth, and what the splits."""

    looks_at = "dataset"
    button = "Adopt"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="adopt_dataset",
            label="Curation: adopt this dataset",
            description="Say what its labels mean, which field is ground truth, which the split",
            icon="folder_special",
            risk_level=types.RiskLevel.MEDIUM,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for classes, ground truth and splits; show which labels mean nothing."""
        dataset = ctx.dataset
        taxonomy = form.pick(
            "taxonomy",
            "Taxonomy",
            taxonomies.packaged_names(),
            default=DEFAULT_TAXONOMY,
            about="What labels mean; a packaged one, or a YAML file",
            free=True,
        )
        boxes = [one for one in options.box_fields(dataset) if one != schema.CONSENSUS]
        truth = form.pick(
            "ground_truth",
            "Ground truth",
            {NONE: "none: nothing is labeled", **{one: one for one in boxes}},
            default=schema.GROUND_TRUTH if schema.GROUND_TRUTH in boxes else NONE,
            about="The field that people confirmed; it stays as it is",
        )
        texts = dataset.get_field_schema(ftype=text_field())
        form.pick(
            "split_from",
            "Split",
            {NONE: "none: all is the pool", TAGS: "the samples' tags", **{t: t for t in texts}},
            default=schema.SPLIT if schema.SPLIT in texts else NONE,
            about="Where train, val or test is said",
        )
        form.tick("hold_back", "Hold labels back", about="To replay a project with the oracle")
        try:
            meaning = taxonomies.load(taxonomy)
        except CascadeError as error:
            form.refuse(str(error), "taxonomy")
            return
        if truth == NONE or truth not in boxes:
            return
        counts = dataset.count_values(f"{truth}.detections.label")
        unknown = {one: n for one, n in counts.items() if one and meaning.canonical(one) is None}
        known = sum(n for one, n in counts.items() if one not in unknown)
        form.say(f"{known:,} boxes of {truth!r} mean a class of {meaning.name!r}")
        if unknown:
            words = ", ".join(f"{one} ({n:,})" for one, n in sorted(unknown.items())[:10])
            form.warn("Labels that mean no class are left out", words)

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Adopt, and say what is where."""
        from curation.stages.adopt import adopt

        given = ctx.params
        truth = given.get("ground_truth")
        if truth is None and ctx.dataset.get_field(schema.GROUND_TRUTH) is not None:
            truth = schema.GROUND_TRUTH
        split = given.get("split_from")
        result = adopt(
            ctx.dataset,
            taxonomy=taxonomies.load(given.get("taxonomy") or DEFAULT_TAXONOMY),
            ground_truth=None if truth == NONE else truth,
            split_from=None if split == NONE else split,
            hold_back=bool(given.get("hold_back")),
            progress=bars("adopt"),
        )
        said = ", ".join(f"{split} {n}" for split, n in result.splits.items())
        return Outcome(
            f"{result.samples} samples are adopted ({said}); {result.labeled} are labeled, the "
            f"labels of {result.held_back} are held back.",
            asdict(result),
        )


def text_field() -> Any:
    """Return FiftyOne's field of text."""
    import fiftyone as fo

    return fo.StringField


def register(plugin: Any) -> None:
    """Hand the operator to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(AdoptDataset)
