"""Command `serve`: serve a language model with vLLM."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Annotated, Literal

import typer

from curation.cli.app import ManifestOption, app, say


@app.command(epilog="Example: curate serve vlm_fast_a --port 8000")
def serve(
    member: Annotated[
        str | None,
        typer.Argument(help="Member. Default: the manifest's only language member."),
    ] = None,
    manifest: ManifestOption = "roadwork",
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the command instead of running it.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(help="Loopback port. Default: that of the member's `server`, else 8000."),
    ] = None,
    device: Annotated[Literal["gpu", "cpu"], typer.Option(help="Device of the model.")] = "gpu",
    gpus: Annotated[int, typer.Option(min=1, help="Number of GPUs to split the model over.")] = 1,
    vllm: Annotated[
        str | None,
        typer.Option(help="vLLM executable. Default: CURATION_VLLM, else `vllm` on the PATH."),
    ] = None,
) -> None:
    """Serve a language member's model with vLLM, until Ctrl-C."""
    from cascade import manifest as manifests
    from cascade.errors import ManifestError, ServerError
    from cascade.serving import vllm as serving

    parsed = manifests.load(manifest)
    candidates = [m for m in parsed.members if m.adapter == serving.ADAPTER]
    if not candidates:
        raise ManifestError(f"The manifest {parsed.name!r} has no language member to serve.")
    if member is None and len(candidates) > 1:
        names = ", ".join(candidate.name for candidate in candidates)
        raise ManifestError(f"Name the language member of {parsed.name!r} to serve: {names}.")
    plan = serving.plan(
        parsed.member(member) if member else candidates[0], device=device, gpus=gpus, port=port
    )
    if print_only:
        variables = [
            f"{name}={value}" for name, value in serving.server_environment(plan, {}).items()
        ]
        say(shlex.join([*variables, *serving.command(plan, vllm or "vllm")]))
        return
    executable = serving.find_executable(vllm)
    if serving.is_healthy(plan.url):
        raise ServerError(f"A server already answers at {plan.url}. Choose another `--port`.")
    say(f"{plan.served_name} will answer at {plan.url}")
    sys.stdout.flush()
    words = serving.command(plan, executable)
    os.execve(executable, words, serving.server_environment(plan, os.environ))  # noqa: S606 - Ctrl-C is vLLM's
