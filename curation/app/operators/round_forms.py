"""A round carried as far as one of its stages, from a form: what the forms share, and the call."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cascade import manifest as manifests
from curation.app.operators import options
from curation.app.operators.execution import Outcome
from curation.app.operators.forms import Form
from curation.app.operators.progress import Bars
from curation.storage import schema
from curation.storage.tags import round_name

if TYPE_CHECKING:
    from fiftyone import Dataset

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


def ask_manifest(form: Form, *, about: str = "The ensemble to run") -> str:
    """Ask for a packaged manifest, or a YAML file; the one that predicted last is proposed."""
    known = list(options.predicting_manifests(form.ctx.dataset))
    packaged = manifests.packaged_names()
    default = next((one for one in known if one in packaged), DEFAULT_MANIFEST)
    return str(form.pick("manifest", "Manifest", packaged, default=default, about=about, free=True))


def read_manifest(form: Form, name: str) -> Any:
    """Return a manifest, None where it is wrong: then the form says so."""
    from cascade.errors import CascadeError

    try:
        return manifests.load(name)
    except CascadeError as error:
        form.refuse(str(error), "manifest")
        return None


def ask_round(form: Form, *, default: int) -> int:
    """Ask for the round."""
    return form.whole("round_number", "Round", default=default, least=1)


def ask_labeler(form: Form, number: int, *, oracle: bool = True) -> str:
    """Ask who labels a round, whoever has its tasks first; refuse a server that is not named."""
    dataset = form.ctx.dataset
    held = (
        dataset.get_field(schema.ORACLE) is not None and dataset.exists(schema.ORACLE).count() > 0
    )
    offered = {k: v for k, v in LABELERS.items() if k != "oracle" or (held and oracle)}
    labeler = str(
        form.pick("labeler", "Labeler", offered, default=_likeliest(form.ctx, number, offered))
    )
    variable = _SERVERS.get(labeler)
    if variable and not form.ctx.secret(variable):
        form.refuse(
            f"{variable} is not set where the App's server runs. Set where it answers, and start "
            "the App again; or pick files.",
            "labeler",
        )
    return labeler


@dataclass(frozen=True)
class Asked:
    """What a form asks that carries a round on.

    Attributes:
        manifest: The ensemble's; None where it is wrong.
        number: The round's.
        chosen: How many samples it chose.
    """

    manifest: Any
    number: int
    chosen: int


def ask_carried(form: Form) -> Asked | None:
    """Ask for what `carry_asked` needs; None where the dataset has no taxonomy."""
    if not require_taxonomy(form):
        return None
    parsed = read_manifest(form, ask_manifest(form))
    number = ask_round(form, default=options.last_round(form.ctx.dataset))
    chosen = require_chosen(form, number)
    ask_labeler(form, number)
    return Asked(parsed, number, chosen)


def carry_asked(ctx: Any, *, until: str, bars: Bars, **plan: Any) -> Outcome:
    """Carry the round that a form asked for as far as a stage; `plan` is of a `loop.Plan`."""
    given = ctx.params
    number = given.get("round_number") or options.last_round(ctx.dataset)
    return carry(
        ctx.dataset,
        number,
        until=until,
        bars=bars,
        manifest=given.get("manifest") or DEFAULT_MANIFEST,
        labeler=given.get("labeler") or options.holder(ctx.dataset, number) or "oracle",
        **plan,
    )


def _likeliest(ctx: Any, number: int, offered: Container[str]) -> str:
    known = options.holder(ctx.dataset, number)
    if known in offered:
        return str(known)
    if "oracle" in offered:
        return "oracle"
    return "label-studio" if ctx.secret("LABEL_STUDIO_URL") else "files"


def require_taxonomy(form: Form) -> bool:
    """Refuse a dataset of which nobody said what its labels mean; return whether it is fine."""
    if options.has_taxonomy(form.ctx.dataset):
        return True
    form.refuse(
        "Nobody said yet what the labels of this dataset mean. Run `Curation: adopt this dataset` "
        "first: it asks for the classes, the ground truth and the splits."
    )
    return False


def require_chosen(form: Form, number: int) -> int:
    """Refuse a round that has chosen nothing; return how many samples it chose."""
    rounds = options.chosen_rounds(form.ctx.dataset)
    if number not in rounds:
        known = ", ".join(map(str, rounds)) or "none"
        form.refuse(
            f"Round {number} has chosen no sample. Rounds that have: {known}. Run "
            "`Curation: choose samples` first.",
            "round_number",
        )
    return rounds.get(number, 0)


def carry(
    dataset: Dataset,
    number: int,
    *,
    until: str,
    bars: Bars,
    manifest: str = DEFAULT_MANIFEST,
    labeler: str = "oracle",
    **plan: Any,
) -> Outcome:
    """Carry a round as far as a stage, and tell what that stage says of itself.

    Args:
        dataset: The FiftyOne dataset.
        number: The round.
        until: The stage.
        bars: Gives the progress of each stage.
        manifest: The ensemble's.
        labeler: Who labels.
        plan: Of a `loop.Plan`: `epochs`, `seed`, `focus`, `sign_off`.
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
        bars=bars,
        until=until,
    )
    if result.waiting:
        return Outcome(
            f"Round {number} waits for the labels of {result.waiting} chosen samples. "
            f"{result.where} Run this again when they are labeled.",
            {"waiting": result.waiting},
            view=dataset.match_tags(round_name(number)).exists(schema.LABELED_ROUND, False),
        )
    summary = result.round.record()["stages"].get(until, {}).get("summary", {})
    said = f"Round {number} is carried to `{until}`."
    if not result.changed:
        said = f"Round {number} had been carried to `{until}` before; nothing was changed."
    return Outcome(said, summary)
