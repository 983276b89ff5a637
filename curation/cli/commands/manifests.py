"""The verbs about the ensemble as one file: manifest show, check, plan, pin."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from curation.cli.app import EXPECTED_ERROR, LicenceOption, app, console, errors, say

if TYPE_CHECKING:
    from cascade.manifest import Manifest, Member
    from cascade.planning.resources import Gpu, Plan

manifest_app = typer.Typer(
    help="The ensemble as one file.", epilog="Example: curate manifest show roadwork"
)
ManifestArgument = Annotated[str, typer.Argument(help="A packaged manifest, or a YAML file.")]

app.add_typer(manifest_app, name="manifest")


@manifest_app.command("show", epilog="Example: curate manifest show roadwork")
def show_manifest(manifest: ManifestArgument = "tiny") -> None:
    """Show the members of a manifest: what they cost, where they come from, on what terms."""
    from cascade import manifest as manifests
    from cascade.checkpoints import licenses
    from cascade.planning import resources

    parsed = manifests.load(manifest)
    say(f"{parsed.name} v{parsed.version}, hash {parsed.identity}, taxonomy {parsed.taxonomy}")
    costs = _table("member", "type", "batch", "MiB", "GFLOP", "here")
    terms = _table("member", "adapter", "weight", "pinned", "terms")
    origins = _table("member", "weights", "licence")
    for tier, members in _by_tier(parsed):
        for table in (costs, terms, origins):
            table.add_row(f"[bold]{tier}[/]")
        for one in members:
            need = resources.need_of(one)
            about = "" if need.is_measured else "~"
            memory = f"{about}{need.total_mb(one.batch_size):,.0f}"
            costs.add_row(
                one.name + ("" if one.optional else " *"), one.precision, str(one.batch_size),
                "?" if one.parameters_m is None else memory,
                "?" if one.gflops is None else f"{one.gflops:,.0f}", _here(one),
            )  # fmt: skip
            gated = ", gated" if one.gated else ""
            terms.add_row(
                one.name, one.adapter, f"{one.weight:g}", _pinned(one),
                licenses.kind(one.licence) + gated,
            )  # fmt: skip
            origins.add_row(
                one.name, escape(one.repository or one.source or "packaged"), escape(one.licence)
            )
    for table in (costs, terms, origins):
        console.print(table)
        console.print()
    say(
        "* needed: a run does not go on without it. ~ estimated, ? not stated. MiB on the GPU at "
        "the batch size, GFLOP for an image."
    )


@manifest_app.command(
    "check", epilog="Example: curate manifest check my_ensemble.yaml --licence permissive"
)
def check_manifest(manifest: ManifestArgument = "tiny", licence: LicenceOption = None) -> None:
    """Check a manifest and what it needs of this machine; load and download nothing."""
    from cascade import manifest as manifests

    parsed = manifests.load(manifest)
    refused = parsed.refused(licence)
    members = [one for one in parsed.members if one.name not in refused]
    absent = {one.name: reason for one in members if (reason := _absent(one))}
    broken = {name: reason for name, reason in absent.items() if not parsed.member(name).optional}
    left_out = refused | {name: why for name, why in absent.items() if name not in broken}
    for name, reason in left_out.items():
        say(f"left out: {name}: {reason}")
    there = [one for one in members if one.name not in absent]
    for note, names in _notes(there).items():
        say(f"{note}: {', '.join(names)}")
    for name, reason in broken.items():
        errors.print(
            f"[bold red]Error:[/] {name}: {escape(reason)}", highlight=False, soft_wrap=True
        )
    if broken:
        raise typer.Exit(EXPECTED_ERROR)
    say(f"ok: {len(there)} members, {parsed.identity}")


@manifest_app.command(
    "plan",
    epilog="Example: curate manifest plan roadwork --images 10000 --gpu H100:80 --gpu H100:80 "
    "--mode routed --share precision=0.2 --licence permissive",
)
def plan_manifest(
    manifest: ManifestArgument = "tiny",
    images: Annotated[int, typer.Option(min=1, help="How many there are.")] = 10_000,
    gpu: Annotated[
        list[str] | None,
        typer.Option(help="NAME:GB, once for each. Default: those of this machine."),
    ] = None,
    mode: Annotated[
        Literal["full", "routed"],
        typer.Option(help="Whether the deeper tiers look at every image."),
    ] = "full",
    share: Annotated[
        list[str] | None,
        typer.Option(
            help="PATH=SHARE of the images that take a path when routed, as measured. "
            "Assumed: fast_a=0.1, fast_b=0.1, precision=0.3."
        ),
    ] = None,
    licence: LicenceOption = None,
) -> None:
    """Say which member fits on which GPU, and what a run costs in memory and time."""
    from cascade import manifest as manifests
    from cascade.planning import resources

    parsed = manifests.load(manifest)
    gpus = [_gpu(one) for one in gpu] if gpu else _gpus_here()
    shares = {**resources.ASSUMED_SHARES, **_shares(share or [])}
    planned = resources.plan(parsed, images, gpus, mode=mode, shares=shares, licence=licence)
    _show_plan(planned, parsed)
    _show_placement(planned, parsed, gpus)
    if any(not parsed.member(name).optional for name in planned.unplaced):
        raise typer.Exit(EXPECTED_ERROR)


@manifest_app.command("pin", epilog="Example: curate manifest pin roadwork pinned.yaml")
def pin_manifest(
    manifest: ManifestArgument,
    out: Annotated[Path, typer.Argument(help="The YAML file to write; it must not exist.")],
) -> None:
    """Write a copy in which every hub source has the commit that the hub has today."""
    from cascade import manifest as manifests
    from cascade.errors import ManifestError

    parsed = manifests.load(manifest)
    if out.suffix not in (".yaml", ".yml") or out.exists():
        raise ManifestError(f"{out} must be a new file that ends in .yaml.")
    loose = [one for one in parsed.members if one.repository and not one.is_pinned]
    found = {one.name: _commit_of(str(one.repository), one.revision) for one in loose}
    out.write_text(manifests.to_yaml(parsed.with_revisions(found)))
    for name, commit in found.items():
        say(f"pinned: {name}: {commit}")
    say(f"{out}: {len(found)} pinned now, hash {manifests.load(out).identity}")


def _show_plan(plan: Plan, manifest: Manifest) -> None:
    table = _table("member", "images", "batch", "MiB", "+", "GPU", "time")
    for one in plan.shares:
        need = one.need
        besides = one.batch_size * need.activations_mb + need.fixed_mb
        about = "" if need.is_measured else "~"
        stated = manifest.member(one.member).parameters_m is not None
        table.add_row(
            one.member, f"{one.images:,}", str(one.batch_size),
            f"{need.weights_mb:,.0f}" if stated else "?",
            f"{about}{besides:,.0f}" if stated else "?",
            "-" if one.gpu is None else str(one.gpu), _time(one.seconds),
        )  # fmt: skip
    console.print(table)
    loads = _table("GPU", "name", "members", "GiB", "of", "time")
    for number, load in enumerate(plan.loads):
        loads.add_row(
            str(number), escape(load.gpu.name), str(len(load.members)),
            f"{load.memory_mb / 1024:.1f}", f"{load.gpu.memory_mb / 1024:.0f}", _time(load.seconds),
        )  # fmt: skip
    console.print()
    console.print(loads)
    console.print()
    for name, reason in plan.left_out.items():
        say(f"left out: {name}: {reason}")
    for one in plan.shares:
        if one.advice:
            say(f"{'' if one.fits else 'fits nowhere: '}{one.member}: {one.advice}")
    if plan.unknown:
        say(f"not counted, their cost is not stated: {', '.join(plan.unknown)}")
    say(
        "MiB of weights, + activations at the batch size, or a server's cache; ~ estimated. On a "
        "GPU all weights stay, and one member at a time is active."
    )
    say(
        f"Until all is done: {_time(plan.seconds)}. Times are estimates, good to a factor of two, "
        "without decoding and writing; ? where a GPU's speed is not known."
    )


def _show_placement(plan: Plan, manifest: Manifest, gpus: Sequence[Gpu]) -> None:
    """Say how `curate predict` lays out the detectors: by the very function that it calls."""
    from cascade.planning.placement import place

    here = [one.member for one in plan.shares if manifest.member(one.member).tier == "detection"]
    if here:
        say(f"`curate predict` runs {place(manifest, here, gpus).words()}.")


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _by_tier(manifest: Manifest) -> Iterator[tuple[str, tuple[Member, ...]]]:
    for tier in dict.fromkeys(one.tier for one in manifest.members):
        yield tier, manifest.of_tier(tier)


def _pinned(member: Member) -> str:
    """Return what pins a member, short; `-` where nothing is fetched that could change."""
    if not member.is_pinned:
        return "no"
    return member.revision[:7] if member.revision else "-"


def _here(member: Member) -> str:
    """Return whether a member can run on this machine, in a word or two."""
    from cascade import registry

    missing = registry.get(member.adapter).missing
    if missing:
        return f"needs {missing[0]}"
    if member.tier == "language":
        return "server"
    if _absent(member):
        return "no weights"
    return "to fetch" if _to_fetch(member) else "yes"


def _absent(member: Member) -> str | None:
    """Return what keeps a member from running here, and cannot be fetched; None if nothing."""
    from cascade import registry
    from cascade.checkpoints import sources
    from cascade.errors import CheckpointError, MissingExtraError

    missing = registry.get(member.adapter).missing
    if missing:
        return str(MissingExtraError(adapter=member.adapter, package=missing[0]))
    if not sources.is_remote(member.source):
        try:
            sources.resolve(member.source)
        except CheckpointError as error:
            return str(error)
    return None


def _to_fetch(member: Member) -> bool:
    """Tell whether a member's weights come from elsewhere, and are not on this machine yet."""
    from huggingface_hub import try_to_load_from_cache

    from cascade.checkpoints import sources

    if member.source is None or not sources.is_remote(member.source):
        return False
    if member.repository:
        found = try_to_load_from_cache(
            member.repository, "config.json", revision=member.revision or "main"
        )
        return not isinstance(found, str)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cascade-curation"
    return not (cache / member.source.removeprefix(sources.RELEASE)).is_file()


def _notes(members: list[Member]) -> dict[str, list[str]]:
    """Return what is worth knowing of members that can run, by what it is."""
    found = {
        "not pinned (`curate manifest pin` asks the hub)": [
            one.name for one in members if not one.is_pinned
        ],
        "gated: accept their licence on the hub and set HF_TOKEN": [
            one.name for one in members if one.gated
        ],
        "not on this machine yet: the first run fetches them": [
            one.name for one in members if _to_fetch(one)
        ],
        "on a server: start it with `curate serve`": [
            one.name for one in members if one.tier == "language"
        ],
    }
    return {note: names for note, names in found.items() if names}


def _gpu(text: str) -> Gpu:
    from cascade.planning.resources import Gpu

    name, _, size = text.rpartition(":")
    try:
        gigabytes = float(size)
    except ValueError:
        gigabytes = 0.0
    if not name or gigabytes <= 0:
        raise typer.BadParameter(f"{text!r} must read NAME:GB, for example H100:80.")
    return Gpu(name, gigabytes * 1024)


def _gpus_here() -> list[Gpu]:
    import torch

    from cascade.planning.resources import Gpu

    known = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    if not known:
        raise typer.BadParameter("This machine has no GPU: say which, e.g. --gpu H100:80.")
    return [Gpu(one.name, one.total_memory / 2**20) for one in known]


def _shares(texts: list[str]) -> Mapping[str, float]:
    from cascade.manifest import PATHS

    found = {}
    for text in texts:
        path, _, value = text.partition("=")
        try:
            found[path] = float(value)
        except ValueError:
            found[path] = -1.0
        if path not in PATHS or not 0 <= found[path] <= 1:
            raise typer.BadParameter(
                f"{text!r} must read PATH=SHARE, PATH one of {', '.join(PATHS)}, SHARE in [0, 1]."
            )
    return found


def _commit_of(repository: str, revision: str | None) -> str:
    """Return the commit that the hub has at a branch or tag, `main` where none is named.

    Raises:
        CheckpointError: The hub cannot be asked, or has no such repository.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    from cascade.errors import CheckpointError

    try:
        commit = HfApi().model_info(repository, revision=revision, timeout=30).sha
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
        raise CheckpointError(
            f"The hub could not be asked for the commit of {repository!r} "
            f"({type(error).__name__}). Connect this machine and unset HF_HUB_OFFLINE; for what is "
            "gated, set HF_TOKEN. Nothing was written."
        ) from error
    if commit is None:
        raise CheckpointError(f"The hub names no commit of {repository!r}. Nothing was written.")
    return commit


_NUMBERS = {"batch", "weight", "MiB", "+", "GFLOP", "images", "GPU", "GiB", "of", "time"}


def _table(*headings: str) -> Table:
    """Return a table whose cells are folded where the terminal is narrow, never cut."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(
            heading,
            overflow="fold",
            no_wrap=heading in _NUMBERS or heading == "member",
            justify="right" if heading in _NUMBERS else "left",
        )
    return table
