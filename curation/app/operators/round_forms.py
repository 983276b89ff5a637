"""Form inputs and run of operators that continue a round up to one of its stages."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cascade import manifest
from cascade.errors import CascadeError
from cascade.manifest import Manifest
from curation.app.operators import options
from curation.app.operators.execution import Outcome
from curation.app.operators.forms import Form, parameter
from curation.app.operators.progress import StageProgress
from curation.storage import schema
from curation.storage.tags import round_name

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.operators import ExecutionContext

DEFAULT_MANIFEST = "tiny"
LABELERS = {
    "oracle": "oracle: ground truth that was held back",
    "label-studio": "Label Studio",
    "cvat": "CVAT",
    "files": "files (COCO)",
    "yolo": "files (YOLO)",
    "voc": "files (VOC)",
    "datumaro": "files (Datumaro)",
}
_SERVERS = {"label-studio": "LABEL_STUDIO_URL", "cvat": "CVAT_URL"}


@dataclass(frozen=True)
class RoundInputs:
    """Inputs of an operator that continues a round.

    Attributes:
        manifest: Manifest of the ensemble; None if it is invalid.
        number: Number of the round.
        chosen: Number of samples that the round chose.
    """

    manifest: Manifest | None
    number: int
    chosen: int


def select_manifest(form: Form, *, description: str = "Ensemble to run") -> str:
    """Add a choice of a packaged manifest or a YAML file; the default predicted here last."""
    packaged = manifest.packaged_names()
    used = options.predicting_manifests(form.ctx.dataset)
    default = next((name for name in used if name in packaged), DEFAULT_MANIFEST)
    name = form.select(
        "manifest", "Manifest", packaged, default=default, description=description,
        allow_other=True,
    )  # fmt: skip
    return str(name)


def load_manifest(form: Form, name: str) -> Manifest | None:
    """Return a manifest; if it is invalid, add an error and return None."""
    try:
        return manifest.load(name)
    except CascadeError as error:
        form.error(str(error), "manifest")
        return None


def select_round(form: Form, *, default: int) -> int:
    """Add the number of the round."""
    return form.integer("round_number", "Round", default=default, minimum=1)


def select_labeler(form: Form, number: int, *, with_oracle: bool = True) -> str:
    """Add a choice of the labeler; reject a server without an address."""
    dataset = form.ctx.dataset
    has_oracle = (
        with_oracle
        and dataset.get_field(schema.ORACLE) is not None
        and dataset.exists(schema.ORACLE).count() > 0
    )
    labelers = {key: label for key, label in LABELERS.items() if key != "oracle" or has_oracle}
    default = _default_labeler(form.ctx, number, labelers)
    labeler = str(form.select("labeler", "Labeler", labelers, default=default))
    variable = _SERVERS.get(labeler)
    if variable and not form.ctx.secret(variable):
        form.error(
            f"{variable} is not set in the environment of the App's server. Set it to the "
            "labeling server's address and restart the App, or select files.",
            "labeler",
        )
    return labeler


def add_round_inputs(form: Form) -> RoundInputs | None:
    """Add the inputs of `continue_from_form`; None if the dataset has no taxonomy."""
    if not require_taxonomy(form):
        return None
    parsed = load_manifest(form, select_manifest(form))
    number = select_round(form, default=options.last_round(form.ctx.dataset))
    chosen = require_chosen(form, number)
    select_labeler(form, number)
    return RoundInputs(parsed, number, chosen)


def continue_from_form(
    ctx: ExecutionContext, *, until: str, stage_progress: StageProgress, **plan: Any
) -> Outcome:
    """Continue the round of a form up to a stage; see `continue_round`."""
    number = parameter(ctx, "round_number") or options.last_round(ctx.dataset)
    return continue_round(
        ctx.dataset,
        number,
        until=until,
        stage_progress=stage_progress,
        manifest=parameter(ctx, "manifest", DEFAULT_MANIFEST),
        labeler=parameter(ctx, "labeler") or options.last_labeler(ctx.dataset, number) or "oracle",
        **plan,
    )


def require_taxonomy(form: Form) -> bool:
    """Return whether the dataset has a taxonomy; add an error if it has none."""
    if options.has_taxonomy(form.ctx.dataset):
        return True
    form.error(
        "This dataset has no taxonomy, so its labels have no meaning yet. Run `Curation: adopt "
        "this dataset` first: it asks for the classes, the ground truth and the splits."
    )
    return False


def require_chosen(form: Form, number: int) -> int:
    """Return the number of samples that a round chose; add an error if it chose none."""
    rounds = options.chosen_rounds(form.ctx.dataset)
    if number not in rounds:
        others = ", ".join(map(str, rounds)) or "none"
        form.error(
            f"Round {number} has no chosen samples. Rounds with samples: {others}. Run "
            "`Curation: choose samples` first.",
            "round_number",
        )
    return rounds.get(number, 0)


def continue_round(
    dataset: Dataset,
    number: int,
    *,
    until: str,
    stage_progress: StageProgress,
    manifest: str = DEFAULT_MANIFEST,
    labeler: str = "oracle",
    **plan: Any,
) -> Outcome:
    """Continue a round up to a stage, and return that stage's summary.

    Args:
        dataset: A FiftyOne dataset.
        number: Number of the round.
        until: The stage.
        stage_progress: Returns the progress callback of each stage.
        manifest: Manifest of the ensemble.
        labeler: Name of the labeler.
        **plan: Fields of `run_round.Plan`: `epochs`, `seed`, `focus`, `sign_off`.
    """
    from curation.api.datasets import connected, ensemble
    from curation.labeling import factory
    from curation.pipeline import run_round

    settings = connected()
    result = run_round.run_round(
        dataset,
        number,
        ensemble(dataset, manifest, fresh=True),
        factory.create(labeler, dataset, settings),
        settings,
        plan=run_round.Plan(**plan),
        bars=stage_progress,
        until=until,
    )
    if result.waiting:
        batch = dataset.match_tags(round_name(number))
        return Outcome(
            f"Round {number} waits for the labels of {result.waiting} chosen samples. "
            f"{result.instructions} Run this operator again when they are labeled.",
            {"waiting": result.waiting},
            view=batch.exists(schema.LABELED_ROUND, False),
        )
    details = result.round.record()["stages"].get(until, {}).get("summary", {})
    if result.changed:
        return Outcome(f"Round {number} is complete up to `{until}`.", details)
    return Outcome(f"Round {number} was complete up to `{until}`; nothing has changed.", details)


def _default_labeler(ctx: ExecutionContext, number: int, labelers: Container[str]) -> str:
    last = options.last_labeler(ctx.dataset, number)
    if last is not None and last in labelers:
        return last
    if "oracle" in labelers:
        return "oracle"
    return "label-studio" if ctx.secret("LABEL_STUDIO_URL") else "files"
