"""vLLM on this machine: how a member's model is started, and how busy the server is.

vLLM pins torch and transformers to other versions than ours, so it lives in a venv of its own,
and only its command is known here. Servers listen on loopback.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Literal
from urllib.parse import urlsplit

import httpx

from cascade.checkpoints.sources import HUB
from cascade.errors import ManifestError, ServerError
from cascade.manifest import Member
from cascade.serving import defaults

ADAPTER = "vision_language"
Device = Literal["cpu", "gpu"]

_PATCH_PX = 28  # an image token covers this much of Qwen2.5-VL's images, and no less of others'
_TEXT_TOKENS = 1024  # instructions, detections and question
_STEP_TOKENS = 1024  # a context is a multiple of it
_POLL_S = 0.5


@dataclass(frozen=True)
class Plan:
    """What is served, and how.

    Attributes:
        model: A hub id, or a folder.
        served_name: What requests call it.
        revision: The commit of a hub id.
        device: Where it runs.
        gpus: Over how many GPUs each layer is split.
        images: In one question, at most.
        max_side_px: Of an image.
        context_tokens: Of one question and its answer.
        concurrency: Questions worked on at once.
        gpu_share: Of each GPU's memory, in (0, 1].
        cpu_cache_gb: Memory for the attention cache on a CPU.
        port: On loopback.
    """

    model: str
    served_name: str
    revision: str | None = None
    device: Device = "gpu"
    gpus: int = 1
    images: int = 1
    max_side_px: int = defaults.MAX_SIDE_PX
    context_tokens: int = 8192
    concurrency: int = defaults.CONCURRENCY
    gpu_share: float = 0.9
    cpu_cache_gb: int = 4
    port: int = defaults.PORT

    @property
    def url(self) -> str:
        """The address of its API."""
        return f"http://{defaults.HOST}:{self.port}/v1"


def plan(member: Member, *, device: Device = "gpu", gpus: int = 1, port: int | None = None) -> Plan:
    """Return how the model of a manifest's member is served: as its adapter will ask it.

    Args:
        member: The manifest's entry.
        device: Where the model runs.
        gpus: Over how many GPUs each layer is split.
        port: None for that of the member's own `server`, else vLLM's.

    Raises:
        ManifestError: The member is none that is asked through a server, or names no model.
    """
    if member.adapter != ADAPTER:
        raise ManifestError(
            f"The member {member.name!r} needs no server: its adapter is {member.adapter!r}, "
            f"and only those of {ADAPTER!r} ask one."
        )
    params = member.params
    if "model" not in params:
        raise ManifestError(f"The member {member.name!r} must name its model: params.model.")
    images = 1 + int(params.get("crops", 0))
    side = int(params.get("max_side_px", defaults.MAX_SIDE_PX))
    wanted = images * math.ceil(side / _PATCH_PX) ** 2 + _TEXT_TOKENS
    wanted += int(params.get("max_tokens", defaults.MAX_TOKENS))
    return Plan(
        model=(member.source or params["model"]).removeprefix(HUB),
        served_name=params["model"],
        revision=member.revision,
        device=device,
        gpus=gpus,
        images=images,
        max_side_px=side,
        context_tokens=math.ceil(wanted / _STEP_TOKENS) * _STEP_TOKENS,
        concurrency=int(params.get("concurrency", defaults.CONCURRENCY)),
        port=port or urlsplit(params.get("server") or defaults.URL).port or defaults.PORT,
    )


def command(plan: Plan, executable: str = "vllm") -> list[str]:
    """Return the command line, for vLLM 0.32 and later.

    Speculative decoding stays off: it shortens one answer and lowers the throughput of many.
    """
    image = {"count": plan.images, "width": plan.max_side_px, "height": plan.max_side_px}
    words = [executable, "serve", plan.model]
    words += ["--served-model-name", plan.served_name]
    words += ["--host", defaults.HOST, "--port", str(plan.port)]
    words += ["--max-model-len", str(plan.context_tokens)]
    words += ["--max-num-seqs", str(plan.concurrency)]
    words += ["--limit-mm-per-prompt", _json({"image": image, "video": 0})]
    words += ["--structured-outputs-config", _json(_STRUCTURED)]
    words += ["--generation-config", "vllm"]  # greedy means greedy, whatever the model's file says
    if plan.revision:
        words += ["--revision", plan.revision]
    if "qwen" in plan.model.casefold():  # else it takes images of up to 16 megapixels whole
        words += ["--mm-processor-kwargs", _json({"max_pixels": plan.max_side_px**2})]
    if plan.device == "cpu":
        return [*words, "--dtype", "bfloat16", "--enforce-eager"]
    words += ["--gpu-memory-utilization", f"{plan.gpu_share:g}"]
    return [*words, "--tensor-parallel-size", str(plan.gpus)] if plan.gpus > 1 else words


# Without whitespace between tokens an answer cannot go on for ever.
_STRUCTURED = {"backend": "xgrammar", "disable_any_whitespace": True}


def environment(plan: Plan) -> dict[str, str]:
    """Return the variables that the command needs beside those that are there."""
    silence = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_HOST_IP": defaults.HOST}
    if plan.device == "gpu":
        return silence
    return silence | {
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_CPU_KVCACHE_SPACE": str(plan.cpu_cache_gb),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }


def find_executable(asked: str | None = None) -> str:
    """Return the path of vLLM's command: as asked, else of CURATION_VLLM, else on the PATH.

    Raises:
        ServerError: It is not there; the message says how to install it.
    """
    wanted = asked or os.environ.get(defaults.EXECUTABLE_VARIABLE) or "vllm"
    found = shutil.which(os.path.expanduser(wanted))  # a Path would forget a leading `./`
    if found is None:
        raise ServerError(
            f"There is no command {wanted!r}. vLLM needs a venv of its own, for it pins other "
            "versions of torch and transformers: `python3 -m venv ~/vllm && ~/vllm/bin/pip "
            f"install vllm`, then `export {defaults.EXECUTABLE_VARIABLE}=~/vllm/bin/vllm`."
        )
    return found


@dataclass(frozen=True)
class Server:
    """A server that was launched.

    Attributes:
        process: Its first process; it leads a group of its own.
        plan: What it serves.
    """

    process: subprocess.Popen[bytes]
    plan: Plan

    def wait_until_ready(self, timeout_s: float = 600.0) -> None:
        """Return once it answers.

        Raises:
            ServerError: It ended, or does not answer in time; then it is stopped.
        """
        until = time.monotonic() + timeout_s
        while not is_healthy(self.plan.url):
            code = self.process.poll()
            if code is not None:
                self.stop()
                raise ServerError(f"vLLM ended with exit code {code} before it was ready.")
            if time.monotonic() > until:
                self.stop()
                raise ServerError(f"vLLM was not ready after {timeout_s:.0f} s; it was stopped.")
            time.sleep(_POLL_S)

    def stop(self, patience_s: float = 20.0) -> None:
        """End it and all that it started; nothing happens where it has ended."""
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_s)
        self._signal(signal.SIGKILL)  # also what it left behind
        self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def launch(plan: Plan, *, executable: str, output: IO[bytes] | None = None) -> Server:
    """Start a server and return at once; `wait_until_ready` waits for it.

    Args:
        plan: What to serve.
        executable: vLLM's command.
        output: Where its log goes; None for where ours goes.
    """
    process = subprocess.Popen(  # noqa: S603 - no shell; the words are ours
        command(plan, executable),
        env=server_environment(plan, os.environ),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        start_new_session=True,
    )
    return Server(process, plan)


def server_environment(plan: Plan, given: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a server: what is given, and what it needs beside that.

    A key that is set for its members is also the server's: in its environment, for every user of
    the machine can read a command line.
    """
    key = given.get(defaults.KEY_VARIABLE)
    return {**given, **environment(plan), **({"VLLM_API_KEY": key} if key else {})}


def is_healthy(url: str, timeout_s: float = 2.0) -> bool:
    """Return whether the server of this API is ready for questions."""
    try:
        return httpx.get(f"{_root(url)}/health", timeout=timeout_s).is_success
    except httpx.HTTPError:
        return False


@dataclass(frozen=True)
class Load:
    """How busy a server is.

    Attributes:
        running: Requests that are worked on.
        waiting: Requests that wait for their turn.
        prompt_tokens: Tokens read since it started.
        generated_tokens: Tokens written since it started.
    """

    running: int
    waiting: int
    prompt_tokens: int
    generated_tokens: int


def load(url: str, timeout_s: float = 5.0) -> Load:
    """Return how busy the server of this API is.

    Raises:
        ServerError: It does not say, or is no vLLM.
    """
    try:
        answer = httpx.get(f"{_root(url)}/metrics", timeout=timeout_s).raise_for_status()
    except httpx.HTTPError as error:
        raise ServerError(f"{_root(url)}/metrics cannot be read: {error}") from error
    return parse_metrics(answer.text)


def parse_metrics(text: str) -> Load:
    """Return what a text in Prometheus' format says of vLLM, summed over its engines.

    Raises:
        ServerError: It says nothing of vLLM.
    """

    def total(name: str) -> int:
        values = re.findall(rf"^vllm:{name}(?:\{{.*\}})? (\S+)", text, re.MULTILINE)
        if not values:
            raise ServerError(f"These are no metrics of vLLM: vllm:{name} is not among them.")
        return int(sum(map(float, values)))

    return Load(
        running=total("num_requests_running"),
        waiting=total("num_requests_waiting"),
        prompt_tokens=total("prompt_tokens_total"),
        generated_tokens=total("generation_tokens_total"),
    )


def _root(url: str) -> str:
    """Return the address of the server whose API is at `url`."""
    return url.rstrip("/").removesuffix("/v1")


def _json(content: Mapping[str, object]) -> str:
    return json.dumps(content, separators=(",", ":"))
