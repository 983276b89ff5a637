"""The verbs of a Label Studio project: push, pull, status, sync."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curation.cli.app import (
    BlurOption,
    DatasetArgument,
    RoundOption,
    app,
    connected,
    say,
    show,
    split_list,
)

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

    from curation.labeling.label_studio.backend import LabelStudio
    from curation.labeling.label_studio.sync import Synced

_COMPLETE_EVERY_S = 600.0  # between, only what changed is read

labeling = typer.Typer(
    help="Work with the dataset's project on the Label Studio server that LABEL_STUDIO_URL "
    "names, as who LABEL_STUDIO_API_KEY says.",
    no_args_is_help=True,
)
app.add_typer(labeling, name="labeling", epilog="Example: curate labeling sync clips --watch")

OverlapOption = Annotated[
    int,
    typer.Option(min=1, help="How many people label each image, where the project is new."),
]


@labeling.command(epilog="Example: curate labeling push clips --round 1")
def push(
    dataset: DatasetArgument,
    round_number: RoundOption = 1,
    overlap: OverlapOption = 1,
    blur: BlurOption = None,
) -> None:
    """Hand over the round's samples that wait for labels; each becomes one task."""
    samples, labeler = _open(dataset, overlap, blur)
    _push(samples, round_number, labeler)


@labeling.command(epilog="Example: curate labeling pull clips --round 1")
def pull(dataset: DatasetArgument, round_number: RoundOption = 1) -> None:
    """Take over what was submitted, and what was changed since."""
    samples, labeler = _open(dataset)
    synced, _ = _pull(samples, round_number, labeler)
    show("pull", _facts(synced))


@labeling.command(epilog="Example: curate labeling status clips --round 1")
def status(dataset: DatasetArgument, round_number: RoundOption = 1) -> None:
    """Say how far a round is, without writing anything."""
    from curation.storage import schema

    _, labeler = _open(dataset)
    found = labeler.status(schema.round_tag(round_number))
    show("status", {**asdict(found), "waiting": found.waiting})
    say(labeler.where)


@labeling.command(epilog="Example: curate labeling sync clips --watch")
def sync(
    dataset: DatasetArgument,
    round_number: RoundOption = 1,
    overlap: OverlapOption = 1,
    blur: BlurOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, until all is labeled or Ctrl-C.")
    ] = False,
    interval_s: Annotated[
        float, typer.Option("--interval", min=1.0, help="Seconds between two looks.")
    ] = 30.0,
    webhook: Annotated[
        bool, typer.Option(help="Have the server call when something was submitted.")
    ] = True,
    listen: Annotated[
        str, typer.Option(help="HOST:PORT to be called at; the server must reach it.")
    ] = "127.0.0.1:0",
) -> None:
    """Push what is missing, and take over what was submitted."""
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
    """Pull when the server calls, and by the clock, until nothing waits any more."""
    import time
    from contextlib import ExitStack

    from curation.labeling.label_studio.api.webhooks import Listener, announced

    with ExitStack() as stack:
        listener = stack.enter_context(Listener(*address)) if address else None
        if listener is not None:
            client, project_id = stack.enter_context(labeler.project())
            called = stack.enter_context(announced(client, project_id, listener))
            say("The server calls when something is submitted." if called else "By the clock.")
        complete_at = time.monotonic() + _COMPLETE_EVERY_S
        while True:
            if listener is not None:
                listener.wait(interval_s)
            else:
                time.sleep(interval_s)
            if time.monotonic() >= complete_at:
                mark, complete_at = None, time.monotonic() + _COMPLETE_EVERY_S
            synced, mark = _pull(samples, number, labeler, since=mark)
            if synced.changed:
                show("sync", _facts(synced))
            if not synced.waiting:
                say("All of the round is labeled.")
                return


def _open(dataset: str, overlap: int = 1, blur: str | None = None) -> tuple[Any, LabelStudio]:
    from curation.errors import LabelingError
    from curation.labeling import factory
    from curation.storage import queries

    settings = connected(dataset)
    samples = queries.load_dataset(dataset)
    taxonomy = queries.taxonomy_of(samples)
    if taxonomy is None:
        raise LabelingError(
            f"{dataset!r} has no taxonomy, so nobody could say which classes to label. "
            "Ingest it with `--taxonomy`."
        )
    hidden = split_list(blur or "")
    return samples, factory.label_studio(samples, taxonomy, settings, overlap=overlap, blur=hidden)


def _push(samples: SampleCollection, number: int, labeler: LabelStudio) -> None:
    from curation.labeling.label_studio.sync import OnlyPush
    from curation.stages.label import label

    once = OnlyPush(labeler)
    labeled = label(samples, number, once)
    facts = {"chosen": labeled.chosen, "waiting": labeled.waiting}
    show("push", {**facts, "pushed": once.result.pushed, "there before": once.result.existing})
    say(labeler.where)


def _pull(
    samples: SampleCollection, number: int, labeler: LabelStudio, *, since: str | None = None
) -> tuple[Synced, str | None]:
    from curation.labeling.label_studio.sync import take_over
    from curation.storage import schema

    with labeler.alone():
        seen = labeler.look(schema.round_tag(number), since=since)
        return take_over(samples, number, labeler, seen), seen.mark


def _facts(synced: Synced) -> dict[str, Any]:
    facts = asdict(synced)
    facts["review"] = [f"{sample}: {what}: {reason}" for sample, what, reason in synced.review]
    facts = {key: value for key, value in facts.items() if value not in (0, ())}
    return facts or {"waiting": 0}


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise typer.BadParameter(f"--listen must be HOST:PORT, got {text!r}.")
    return host, int(port)
