"""Commands on manifests: `show`, `check`, `plan`, `pin`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from curation import formatting
from curation.cli.app import EXPECTED_ERROR, LicenseOption, ModeOption, app, error_console, say
from curation.cli.tables import show_table

if TYPE_CHECKING:
    from cascade.manifest import Manifest, Member
    from cascade.planning.resources import Gpu, Plan

manifest_app = typer.Typer(
    help="Inspect manifests, which define ensembles.",
    epilog="Example: curate manifest show roadwork",
)
ManifestArgument = Annotated[
    str, typer.Argument(help="Name of a packaged manifest, or a YAML file.")
]

_NUMERIC = {"batch", "weight", "MiB", "+", "GFLOP", "images", "GPU", "GiB", "of", "time"}

app.add_typer(manifest_app, name="manifest")


@manifest_app.command("show", epilog="Example: curate manifest show roadwork")
def show_manifest(manifest: ManifestArgument = "tiny") -> None:
    """Show the members of a manifest: their cost, source and license."""
    from cascade import manifest as manifests
    from cascade.checkpoints import licenses
    from cascade.planning import resources

    parsed = manifests.load(manifest)
    say(f"{parsed.name} v{parsed.version}, hash {parsed.identity}, taxonomy {parsed.taxonomy}")
    costs: list[tuple[str, ...]] = []
    terms: list[tuple[str, ...]] = []
    origins: list[tuple[str, ...]] = []
    for tier in dict.fromkeys(member.tier for member in parsed.members):
        for rows in (costs, terms, origins):
            rows.append((f"[bold]{tier}[/]",))
        for member in parsed.of_tier(tier):
            need = resources.memory_need(member)
            estimated = "" if need.is_measured else "~"
            memory = f"{estimated}{need.total_mb(member.batch_size):,.0f}"
            costs.append((
                member.name + ("" if member.optional else " *"), member.precision,
                str(member.batch_size), "?" if member.parameters_m is None else memory,
                "?" if member.gflops is None else f"{member.gflops:,.0f}", _availability(member),
            ))  # fmt: skip
            gated = ", gated" if member.gated else ""
            terms.append((
                member.name, member.adapter, f"{member.weight:g}", _pinned_revision(member),
                licenses.kind(member.license) + gated,
            ))  # fmt: skip
            source = member.repository or member.source or "packaged"
            origins.append((member.name, escape(source), escape(member.license)))
    for headings, rows in (
        (("member", "type", "batch", "MiB", "GFLOP", "available"), costs),
        (("member", "adapter", "weight", "pinned", "terms"), terms),
        (("member", "weights", "license"), origins),
    ):
        show_table(headings, rows, numeric=_NUMERIC)
        say("")
    say(
        "* required: a run fails without it. ~ estimated, ? not stated. MiB: GPU memory at the "
        "batch size; GFLOP: per image."
    )


@manifest_app.command(
    "check", epilog="Example: curate manifest check my_ensemble.yaml --license permissive"
)
def check_manifest(
    manifest: ManifestArgument = "tiny", strictest_license: LicenseOption = None
) -> None:
    """Check a manifest, and whether this machine can run it. Downloads nothing."""
    from cascade import manifest as manifests

    parsed = manifests.load(manifest)
    left_out = parsed.excluded_by_license(strictest_license)
    available, failed = [], False
    for member in parsed.members:
        if member.name in left_out:
            continue
        problem = _problem(member)
        if problem is None:
            available.append(member)
        elif member.optional:
            left_out[member.name] = problem
        else:
            failed = True
            error_console.print(
                f"[bold red]Error:[/] {member.name}: {escape(problem)}",
                highlight=False, soft_wrap=True,
            )  # fmt: skip
    for name, reason in left_out.items():
        say(f"left out: {name}: {reason}")
    for note, names in _notes(available).items():
        say(f"{note}: {', '.join(names)}")
    if failed:
        raise typer.Exit(EXPECTED_ERROR)
    say(f"ok: {len(available)} members, {parsed.identity}")


@manifest_app.command(
    "plan",
    epilog="Example: curate manifest plan roadwork --images 10000 --gpu H100:80 --gpu H100:80 "
    "--mode routed --share precision=0.2 --license permissive",
)
def plan_manifest(
    manifest: ManifestArgument = "tiny",
    images: Annotated[int, typer.Option(min=1, help="Number of images.")] = 10_000,
    gpu: Annotated[
        list[str] | None,
        typer.Option(help="GPU as NAME:GB. Repeatable. Default: the GPUs of this machine."),
    ] = None,
    mode: ModeOption = "full",
    share: Annotated[
        list[str] | None,
        typer.Option(
            help="Measured share of images on a path when routed, as PATH=SHARE. Repeatable. "
            "Default: fast_a=0.1, fast_b=0.1, precision=0.3."
        ),
    ] = None,
    strictest_license: LicenseOption = None,
) -> None:
    """Plan members on GPUs, and estimate the memory and time of a run."""
    from cascade import manifest as manifests
    from cascade.planning import resources

    parsed = manifests.load(manifest)
    gpus = [_parse_gpu(text) for text in gpu] if gpu else _local_gpus()
    shares = {**resources.ASSUMED_SHARES, **_parse_shares(share or [])}
    plan = resources.plan(
        parsed, images, gpus, mode=mode, shares=shares, strictest_license=strictest_license
    )
    _show_plan(plan, parsed)
    _show_placement(plan, parsed, gpus)
    if any(not parsed.member(name).optional for name in plan.unplaced):
        raise typer.Exit(EXPECTED_ERROR)


@manifest_app.command("pin", epilog="Example: curate manifest pin roadwork pinned.yaml")
def pin_manifest(
    manifest: ManifestArgument,
    out: Annotated[Path, typer.Argument(help="YAML file to write; it must not exist.")],
) -> None:
    """Write a copy of a manifest with every hub source pinned to its current commit."""
    from cascade import manifest as manifests
    from cascade.errors import ManifestError

    parsed = manifests.load(manifest)
    if out.suffix not in (".yaml", ".yml") or out.exists():
        raise ManifestError(f"{out} must be a new file with the suffix .yaml or .yml.")
    commits = {
        member.name: _current_commit(member.repository, member.revision)
        for member in parsed.members
        if member.repository and not member.is_pinned
    }
    out.write_text(parsed.with_revisions(commits).to_yaml())
    for name, commit in commits.items():
        say(f"pinned: {name}: {commit}")
    say(f"{out}: {len(commits)} members pinned, hash {manifests.load(out).identity}")


def _show_plan(plan: Plan, manifest: Manifest) -> None:
    rows = []
    for share in plan.shares:
        need = share.need
        extra_mb = share.batch_size * need.activations_mb + need.fixed_mb
        estimated = "" if need.is_measured else "~"
        stated = manifest.member(share.member).parameters_m is not None
        rows.append((
            share.member, f"{share.images:,}", str(share.batch_size),
            f"{need.weights_mb:,.0f}" if stated else "?",
            f"{estimated}{extra_mb:,.0f}" if stated else "?",
            "-" if share.gpu is None else str(share.gpu), _time(share.seconds),
        ))  # fmt: skip
    show_table(("member", "images", "batch", "MiB", "+", "GPU", "time"), rows, numeric=_NUMERIC)
    loads = [
        (
            str(index), escape(load.gpu.name), str(len(load.members)),
            f"{load.memory_mb / 1024:.1f}", f"{load.gpu.memory_mb / 1024:.0f}", _time(load.seconds),
        )
        for index, load in enumerate(plan.loads)
    ]  # fmt: skip
    say("")
    show_table(("GPU", "name", "members", "GiB", "of", "time"), loads, numeric=_NUMERIC)
    say("")
    for name, reason in plan.left_out.items():
        say(f"left out: {name}: {reason}")
    for share in plan.shares:
        if share.advice:
            say(f"{'' if share.fits else 'fits nowhere: '}{share.member}: {share.advice}")
    if plan.unknown:
        say(f"not counted, because their cost is not stated: {', '.join(plan.unknown)}")
    say(
        "MiB: weights; +: activations at the batch size, or a server's cache; ~ estimated. "
        "All weights stay on the GPU; one member at a time is active."
    )
    say(
        f"Total time: {_time(plan.seconds)}. Times are estimates within a factor of two, "
        "without decoding and writing; ? if the speed of a GPU is unknown."
    )


def _show_placement(plan: Plan, manifest: Manifest, gpus: Sequence[Gpu]) -> None:
    """Print how `curate predict` places the detectors, computed by the function that it uses."""
    from cascade.planning.placement import place

    members = [share.member for share in plan.shares]
    detectors = [name for name in members if manifest.member(name).tier == "detection"]
    if detectors:
        say(f"`curate predict` runs {place(manifest, detectors, gpus).describe()}.")


def _time(seconds: float | None) -> str:
    return "?" if seconds is None else formatting.duration(seconds)


def _pinned_revision(member: Member) -> str:
    """Return the short revision of a member, `no` if unpinned, `-` if its source cannot change."""
    if not member.is_pinned:
        return "no"
    return member.revision[:7] if member.revision else "-"


def _availability(member: Member) -> str:
    """Return whether a member can run on this machine, in a word or two."""
    from cascade import registry

    missing = registry.get(member.adapter).missing
    if missing:
        return f"needs {missing[0]}"
    if member.tier == "language":
        return "server"
    if _problem(member):
        return "no weights"
    return "to fetch" if _needs_download(member) else "yes"


def _problem(member: Member) -> str | None:
    """Return why a member cannot run on this machine: package or weights; None if it can."""
    from cascade import registry
    from cascade.checkpoints import sources
    from cascade.errors import CheckpointError

    missing_error = registry.get(member.adapter).missing_error
    if missing_error:
        return str(missing_error)
    if not sources.is_remote(member.source):
        try:
            sources.resolve(member.source)
        except CheckpointError as error:
            return str(error)
    return None


def _needs_download(member: Member) -> bool:
    """Return whether a member's weights are remote and not yet on this machine."""
    from huggingface_hub import try_to_load_from_cache

    from cascade.checkpoints import sources

    if member.source is None or not sources.is_remote(member.source):
        return False
    if member.repository:
        path = try_to_load_from_cache(
            member.repository, "config.json", revision=member.revision or "main"
        )
        return not isinstance(path, str)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cascade-curation"
    return not (cache / member.source.removeprefix(sources.RELEASE)).is_file()


def _notes(members: list[Member]) -> dict[str, list[str]]:
    """Return the names of the members that each note applies to."""
    notes: dict[str, Callable[[Member], bool]] = {
        "not pinned (`curate manifest pin` pins them)": lambda member: not member.is_pinned,
        "gated: accept their license on the hub and set HF_TOKEN": lambda member: member.gated,
        "not on this machine yet: the first run downloads them": _needs_download,
        "on a server: start it with `curate serve`": lambda member: member.tier == "language",
    }
    names = {
        note: [member.name for member in members if applies(member)]
        for note, applies in notes.items()
    }
    return {note: listed for note, listed in names.items() if listed}


def _parse_gpu(text: str) -> Gpu:
    from cascade.planning.resources import Gpu

    name, _, size = text.rpartition(":")
    try:
        gigabytes = float(size)
    except ValueError:
        gigabytes = 0.0
    if not name or gigabytes <= 0:
        raise typer.BadParameter(f"--gpu must be NAME:GB, for example H100:80; got {text!r}.")
    return Gpu(name, gigabytes * 1024)


def _local_gpus() -> list[Gpu]:
    import torch

    from cascade.planning.resources import Gpu

    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    if not devices:
        raise typer.BadParameter("This machine has no GPU. Name one, for example --gpu H100:80.")
    return [Gpu(device.name, device.total_memory / 2**20) for device in devices]


def _parse_shares(texts: list[str]) -> Mapping[str, float]:
    from cascade.manifest import PATHS

    shares = {}
    for text in texts:
        path, _, value = text.partition("=")
        try:
            shares[path] = float(value)
        except ValueError:
            shares[path] = -1.0
        if path not in PATHS or not 0 <= shares[path] <= 1:
            raise typer.BadParameter(
                f"--share must be PATH=SHARE with PATH one of {', '.join(PATHS)} and SHARE in "
                f"[0, 1]; got {text!r}."
            )
    return shares


def _current_commit(repository: str, revision: str | None) -> str:
    """Return the hub's current commit of a branch or tag; None stands for `main`.

    Raises:
        CheckpointError: The hub cannot be reached, or has no such repository.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    from cascade.errors import CheckpointError

    try:
        commit = HfApi().model_info(repository, revision=revision, timeout=30).sha
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
        raise CheckpointError(
            f"Cannot read the commit of {repository!r} from the hub ({type(error).__name__}). "
            "Check the connection, unset HF_HUB_OFFLINE, and set HF_TOKEN for gated repositories. "
            "Nothing was written."
        ) from error
    if commit is None:
        raise CheckpointError(f"The hub returned no commit of {repository!r}. Nothing was written.")
    return commit
