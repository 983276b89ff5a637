"""Commands on a Label Studio project: `push`, `pull`, `status`, `sync`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curation.cli.app import (
    BlurOption,
    DatasetArgument,
    RoundOption,
    app,
    connect,
    say,
    show,
    split_list,
)

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

    from curation.labeling.label_studio.backend import LabelStudio
    from curation.labeling.label_studio.sync import SyncResult

_FULL_PULL_EVERY_S = 600.0  # in between, only changes are read

labeling = typer.Typer(
    help="Synchronize a dataset with its Label Studio project (environment variables "
    "LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY).",
    no_args_is_help=True,
)
app.add_typer(labeling, name="labeling", epilog="Example: curate labeling sync clips --watch")

OverlapOption = Annotated[
    int,
    typer.Option(min=1, help="Annotators per image, for a new project."),
]


@labeling.command(epilog="Example: curate labeling push clips --round 1")
def push(
    dataset: DatasetArgument,
    round_number: RoundOption = 1,
    overlap: OverlapOption = 1,
    blur: BlurOption = None,
) -> None:
    """Push the round's unlabeled samples as tasks, one for each sample."""
    samples, labeler = _open(dataset, overlap, blur)
    _push(samples, round_number, labeler)


@labeling.command(epilog="Example: curate labeling pull clips --round 1")
def pull(dataset: DatasetArgument, round_number: RoundOption = 1) -> None:
    """Pull annotations that were submitted or changed."""
    samples, labeler = _open(dataset)
    synced, _ = _pull(samples, round_number, labeler)
    show("pull", _facts(synced))


@labeling.command(epilog="Example: curate labeling status clips --round 1")
def status(dataset: DatasetArgument, round_number: RoundOption = 1) -> None:
    """Show the labeling progress of a round. Writes nothing."""
    from curation.storage.tags import round_name

    _, labeler = _open(dataset)
    progress = labeler.status(round_name(round_number))
    show("status", {**asdict(progress), "waiting": progress.waiting})
    say(labeler.instructions)


@labeling.command(epilog="Example: curate labeling sync clips --watch")
def sync(
    dataset: DatasetArgument,
    round_number: RoundOption = 1,
    overlap: OverlapOption = 1,
    blur: BlurOption = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Keep syncing until all samples are labeled or you press Ctrl-C."
        ),
    ] = False,
    interval_s: Annotated[
        float, typer.Option("--interval", min=1.0, help="Seconds between pulls.")
    ] = 30.0,
    webhook: Annotated[
        bool, typer.Option(help="Register a webhook for submitted annotations.")
    ] = True,
    listen: Annotated[
        str,
        typer.Option(help="HOST:PORT of the webhook listener, reachable from the server."),
    ] = "127.0.0.1:0",
) -> None:
    """Push missing tasks and pull submitted annotations."""
    samples, labeler = _open(dataset, overlap, blur)
    _push(samples, round_number, labeler)
    synced, mark = _pull(samples, round_number, labeler)
    show("sync", _facts(synced))
    if watch and synced.waiting:
        _watch(
            samples, round_number, labeler, mark, interval_s, _address(listen) if webhook else None
        )


def _watch(
    samples: SampleCollection,
    number: int,
    labeler: LabelStudio,
    mark: str | None,
    interval_s: float,
    address: tuple[str, int] | None,
) -> None:
    """Pull on each webhook call, and at intervals, until all samples are labeled."""
    import time
    from contextlib import ExitStack

    from curation.labeling.label_studio.api.webhooks import Listener, registered_webhook

    with ExitStack() as stack:
        listener = stack.enter_context(Listener(*address)) if address else None
        if listener is not None:
            client, project_id = stack.enter_context(labeler.open_project())
            registered = stack.enter_context(registered_webhook(client, project_id, listener))
            say("Waiting for webhook calls." if registered else "Pulling at intervals.")
        full_pull_at = time.monotonic() + _FULL_PULL_EVERY_S
        while True:
            if listener is not None:
                listener.wait(interval_s)
            else:
                time.sleep(interval_s)
            if time.monotonic() >= full_pull_at:
                mark, full_pull_at = None, time.monotonic() + _FULL_PULL_EVERY_S
            synced, mark = _pull(samples, number, labeler, since=mark)
            if synced.changed:
                show("sync", _facts(synced))
            if not synced.waiting:
                say("All samples of the round are labeled.")
                return


def _open(dataset: str, overlap: int = 1, blur: str | None = None) -> tuple[Any, LabelStudio]:
    from curation.errors import LabelingError
    from curation.labeling import factory
    from curation.storage import queries

    settings = connect(dataset)
    samples = queries.load_dataset(dataset)
    taxonomy = queries.taxonomy_of(samples)
    if taxonomy is None:
        raise LabelingError(
            f"The dataset {dataset!r} has no taxonomy, so its classes to label are unknown. "
            f"Adopt it with one: `curate adopt {dataset} --taxonomy ...`."
        )
    blurred = split_list(blur or "")
    return samples, factory.label_studio(samples, taxonomy, settings, overlap=overlap, blur=blurred)


def _push(samples: SampleCollection, number: int, labeler: LabelStudio) -> None:
    from curation.labeling.label_studio.sync import PushOnlyLabeler
    from curation.pipeline.run_stage import run_stage
    from curation.stages.label import label

    pusher = PushOnlyLabeler(labeler)
    labeled = run_stage(label, samples, number, pusher)
    facts = {"chosen": labeled.chosen, "waiting": labeled.waiting}
    show("push", {**facts, "pushed": pusher.result.pushed, "existing": pusher.result.existing})
    say(labeler.instructions)


def _pull(
    samples: SampleCollection, number: int, labeler: LabelStudio, *, since: str | None = None
) -> tuple[SyncResult, str | None]:
    from curation.labeling.label_studio.sync import import_annotations
    from curation.storage.tags import round_name

    with labeler.lock():
        seen = labeler.fetch(round_name(number), since=since)
        return import_annotations(samples, number, labeler, seen), seen.mark


def _facts(synced: SyncResult) -> dict[str, Any]:
    facts = asdict(synced)
    facts["review"] = [": ".join(entry) for entry in synced.review]
    facts = {key: value for key, value in facts.items() if value not in (0, ())}
    return facts or {"waiting": 0}


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise typer.BadParameter(f"--listen must be HOST:PORT, got {text!r}.")
    return host, int(port)
