"""FiftyOne operator: ingest images from a folder or file on the App server's machine."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fiftyone.operators import ExecutionContext

from curation.app.operators import label_forms
from curation.app.operators.base import CurationOperator, operator_config
from curation.app.operators.execution import Outcome
from curation.app.operators.forms import Form, parameter
from curation.app.operators.progress import StageProgress

FORMATS = {
    "auto": "detect",
    "folder": "images without labels",
    "yolo": "YOLO",
    "coco": "COCO",
    "voc": "Pascal VOC",
    "video": "videos",
}
SPLIT_SHARES = (0.70, 0.15, 0.15)
MAX_FAILURES = 50  # in the result


class IngestImages(CurationOperator):
    """Ingests images and labels into a new or an existing dataset, validated and split."""

    target = "nothing"
    submit_label = "Ingest"
    config = operator_config(
        name="ingest_images",
        label="Curation: ingest images",
        description="Add new images, videos and labels to a dataset",
        icon="add_photo_alternate",
        risk_level="MEDIUM",
        step=1,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the source of the images, and the meaning of their labels."""
        import fiftyone as fo

        source = form.text(
            "source",
            "Folder or file",
            description="Path on the App server: images, YOLO, COCO, VOC or videos",
            missing="Enter a folder or a file, such as /data/photos.",
        )
        path = Path(source).expanduser()
        if source and not path.exists():
            form.error(f"{path} does not exist on this machine.", "source")
        name = form.text("name", "Dataset name", default=path.name if source else "")
        label_forms.select_taxonomy(form)
        kind = form.select("source_format", "Format", FORMATS, default="auto")
        if kind in ("auto", "yolo"):
            form.text("names", "Class names", description="YOLO classes in order, comma-separated")
        if kind in ("auto", "video"):
            form.number("fps", "Frames per second", default=1.0, above=0.0, description="Of videos")
        form.checkbox(
            "resplit", "Split again", description="By drive: 70 / 15 / 15% train, val, test"
        )
        label_forms.add_hold_back(form)
        if name and not form.errors:
            verb = "Adds to" if fo.dataset_exists(name) else "Creates"
            form.note(f"{verb} the dataset {name!r}")

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Ingest the images, and open the dataset."""
        from curation.api.stages import ingest

        names = [name.strip() for name in parameter(ctx, "names", "").split(",") if name.strip()]
        result = ingest(
            Path(ctx.params["source"].strip()).expanduser(),
            name=parameter(ctx, "name", "").strip() or None,
            taxonomy=parameter(ctx, "taxonomy", label_forms.DEFAULT_TAXONOMY),
            source_format=parameter(ctx, "source_format", "auto"),
            names=names or None,
            hold_back=bool(parameter(ctx, "hold_back")),
            resplit=SPLIT_SHARES if parameter(ctx, "resplit") else None,
            fps=parameter(ctx, "fps", 1.0),
            progress=stage_progress("ingest"),
        )
        failures, problems = (
            [f"{failure.filepath}: {failure.message}" for failure in group[:MAX_FAILURES]]
            for group in (result.failures, result.label_problems)
        )
        sentences = [
            f"Added {result.added} samples to {result.dataset!r}; {result.existing} existed.",
            f"{len(result.failures)} files were left out." if failures else "",
            *result.warnings,
        ]
        return Outcome(
            " ".join(filter(None, sentences)),
            {
                **asdict(result),
                "failures": failures,
                "label_problems": problems,
                "duplicates": len(result.duplicates),
            },
            dataset=result.dataset,
            wrote=False,
        )


def register(plugin: Any) -> None:
    """Register the operator with FiftyOne."""
    plugin.register(IngestImages)
