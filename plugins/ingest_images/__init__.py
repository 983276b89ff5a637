"""The App's door to bringing images in: a folder or file on the machine of the App's server."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from cascade import taxonomy
from curation.app.operators.base import RUN, Door
from curation.app.operators.execution import Outcome

FORMATS = {
    "auto": "find out",
    "folder": "images without labels",
    "yolo": "YOLO",
    "coco": "COCO",
    "voc": "Pascal VOC",
    "video": "videos",
}
DEFAULT_TAXONOMY = "roadwork_core"
SHARES = (0.70, 0.15, 0.15)


class IngestImages(Door):
    """Brings images and their labels into a dataset, checked and split; a new one or this one."""

    looks_at = "nothing"
    button = "Bring in"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="ingest_images",
            label="Curation: ingest images",
            description="Bring images, videos and labels into a dataset; add only what is new",
            icon="add_photo_alternate",
            risk_level=types.RiskLevel.MEDIUM,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask where the images are, and what their labels mean."""
        source = form.text(
            "source",
            "Folder or file",
            about="On the machine where this server runs: images, YOLO, COCO, VOC or videos",
            needed="Name a folder or a file, such as /data/photos.",
        )
        path = Path(source).expanduser()
        if source and not path.exists():
            form.refuse(f"Nothing is at {path} on this machine.", "source")
        name = form.text("name", "Dataset", default=path.name if source else "", about="Its name")
        known = is_there(name)
        form.pick(
            "taxonomy",
            "Taxonomy",
            taxonomy.packaged_names(),
            default=DEFAULT_TAXONOMY,
            about="What labels mean; a packaged one, or a YAML file",
            free=True,
        )
        kind = form.pick("source_format", "Format", FORMATS, default="auto")
        if kind in ("auto", "yolo"):
            form.text("names", "Class names", about="Of YOLO rows in order, comma-separated")
        if kind in ("auto", "video"):
            form.number("fps", "Frames a second", default=1.0, above=0.0, about="From videos")
        form.tick("resplit", "Split anew", about="By drive: 70 % train, 15 % val, 15 % test")
        form.tick("hold_back", "Hold labels back", about="To replay a project with the oracle")
        if name and not form.problems:
            form.say(f"{'Adds to' if known else 'Makes'} the dataset {name!r}")

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Ingest, and open the dataset."""
        from curation.api.stages import ingest

        given = ctx.params
        words = [one.strip() for one in (given.get("names") or "").split(",") if one.strip()]
        result = ingest(
            Path(given["source"].strip()).expanduser(),
            name=(given.get("name") or "").strip() or None,
            taxonomy=given.get("taxonomy") or DEFAULT_TAXONOMY,
            source_format=given.get("source_format") or "auto",
            names=words or None,
            hold_back=bool(given.get("hold_back")),
            resplit=SHARES if given.get("resplit") else None,
            fps=given.get("fps") or 1.0,
            progress=bars("ingest"),
        )
        left = f" {len(result.failures)} files were left out." if result.failures else ""
        return Outcome(
            f"{result.added} samples were added to {result.dataset!r}, {result.existing} were "
            f"there.{left} {' '.join(result.warnings)}".strip(),
            {
                **asdict(result),
                "failures": [f"{one.filepath}: {one.message}" for one in result.failures[:50]],
                "label_problems": [
                    f"{one.filepath}: {one.message}" for one in result.label_problems[:50]
                ],
                "duplicates": len(result.duplicates),
            },
            dataset=result.dataset,
            wrote=False,
        )


def is_there(name: str) -> bool:
    """Return whether a dataset of that name is there."""
    import fiftyone as fo

    return bool(name) and bool(fo.dataset_exists(name))


def register(plugin: Any) -> None:
    """Hand the operator to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(IngestImages)
