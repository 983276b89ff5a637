"""Command line and environment of a vLLM server for a language member.

vLLM pins other versions of torch and transformers than ours, so it is installed in a separate
virtual environment, and only its command is used here. Servers listen on the loopback interface.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import httpx

from cascade.checkpoints.sources import HUB
from cascade.errors import ManifestError, ServerError
from cascade.manifest import Member
from cascade.serving import defaults

ADAPTER = "vision_language"
Device = Literal["cpu", "gpu"]

_PATCH_PX = 28  # side of an image token for Qwen2.5-VL; other models' tokens cover no less
_TEXT_TOKENS = 1024  # instructions, detections and question
_STEP_TOKENS = 1024  # context lengths are multiples of it
_GPU_MEMORY_SHARE = "0.9"
_CPU_CACHE_GB = "4"
# Without whitespace between tokens an answer cannot continue forever.
_STRUCTURED = {"backend": "xgrammar", "disable_any_whitespace": True}


@dataclass(frozen=True)
class Plan:
    """Configuration of a server.

    Attributes:
        model: A hub id, or a folder.
        served_name: Name of the model in requests.
        revision: Commit of a hub id.
        device: Device of the model.
        gpus: Number of GPUs that each layer is split over.
        images: Maximum number of images per question.
        max_side_px: Maximum side of an image.
        context_tokens: Length of a question with its answer.
        concurrency: Number of concurrent questions.
        port: Port on the loopback interface.
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
    port: int = defaults.PORT

    @property
    def url(self) -> str:
        """The address of the API."""
        return f"http://{defaults.HOST}:{self.port}/v1"


def plan(member: Member, *, device: Device = "gpu", gpus: int = 1, port: int | None = None) -> Plan:
    """Return the server configuration that matches the requests of a member's adapter.

    Args:
        member: The manifest entry.
        device: Device of the model.
        gpus: Number of GPUs that each layer is split over.
        port: Port of the server; None for that of the member's `server` parameter, else vLLM's.

    Raises:
        ManifestError: The member uses no server, or names no model.
    """
    if member.adapter != ADAPTER:
        raise ManifestError(
            f"The member {member.name!r} needs no server: its adapter is {member.adapter!r}, "
            f"and only members with the adapter {ADAPTER!r} use one."
        )
    params = member.params
    if "model" not in params:
        raise ManifestError(f"The member {member.name!r} must name its model: set params.model.")
    images = 1 + int(params.get("crops", 0))
    side = int(params.get("max_side_px", defaults.MAX_SIDE_PX))
    tokens = images * math.ceil(side / _PATCH_PX) ** 2 + _TEXT_TOKENS
    tokens += int(params.get("max_tokens", defaults.MAX_TOKENS))
    return Plan(
        model=(member.source or params["model"]).removeprefix(HUB),
        served_name=params["model"],
        revision=member.revision,
        device=device,
        gpus=gpus,
        images=images,
        max_side_px=side,
        context_tokens=math.ceil(tokens / _STEP_TOKENS) * _STEP_TOKENS,
        concurrency=int(params.get("concurrency", defaults.CONCURRENCY)),
        port=port or urlsplit(params.get("server") or defaults.URL).port or defaults.PORT,
    )


def command(plan: Plan, executable: str = "vllm") -> list[str]:
    """Return the command line, for vLLM 0.32 and later.

    Speculative decoding stays off: it speeds up single answers and lowers the throughput of many.
    """
    image = {"count": plan.images, "width": plan.max_side_px, "height": plan.max_side_px}
    words = [executable, "serve", plan.model]
    words += ["--served-model-name", plan.served_name]
    words += ["--host", defaults.HOST, "--port", str(plan.port)]
    words += ["--max-model-len", str(plan.context_tokens)]
    words += ["--max-num-seqs", str(plan.concurrency)]
    words += ["--limit-mm-per-prompt", _json({"image": image, "video": 0})]
    words += ["--structured-outputs-config", _json(_STRUCTURED)]
    words += [
        "--generation-config",
        "vllm",
    ]  # ignore the model's sampling settings
    if plan.revision:
        words += ["--revision", plan.revision]
    if "qwen" in plan.model.casefold():  # accepts images of up to 16 megapixels by default
        words += ["--mm-processor-kwargs", _json({"max_pixels": plan.max_side_px**2})]
    if plan.device == "cpu":
        return [*words, "--dtype", "bfloat16", "--enforce-eager"]
    words += ["--gpu-memory-utilization", _GPU_MEMORY_SHARE]
    return [*words, "--tensor-parallel-size", str(plan.gpus)] if plan.gpus > 1 else words


def server_environment(plan: Plan, environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with the variables of a server added.

    The API key of the members becomes the server's. It is passed in the environment, because
    every user of the machine can read a command line.
    """
    variables = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_HOST_IP": defaults.HOST}
    if plan.device == "cpu":
        variables |= {
            "VLLM_TARGET_DEVICE": "cpu",
            "VLLM_CPU_KVCACHE_SPACE": _CPU_CACHE_GB,
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        }
    if key := environment.get(defaults.KEY_VARIABLE):
        variables["VLLM_API_KEY"] = key
    return {**environment, **variables}


def find_executable(executable: str | None = None) -> str:
    """Return the path of vLLM's command: the argument, CURATION_VLLM or `vllm` on the PATH.

    Raises:
        ServerError: The command does not exist; the message says how to install it.
    """
    name = executable or os.environ.get(defaults.EXECUTABLE_VARIABLE) or "vllm"
    path = shutil.which(os.path.expanduser(name))  # pathlib would drop a leading `./`
    if path is None:
        raise ServerError(
            f"Cannot find the command {name!r}. Install vLLM in a separate virtual environment, "
            "because it pins other versions of torch and transformers: `python3 -m venv ~/vllm && "
            "~/vllm/bin/pip install vllm`, then "
            f"`export {defaults.EXECUTABLE_VARIABLE}=~/vllm/bin/vllm`."
        )
    return path


def is_healthy(url: str, timeout_s: float = 2.0) -> bool:
    """Return whether the server of an API is ready for questions."""
    root = url.rstrip("/").removesuffix("/v1")
    try:
        return httpx.get(f"{root}/health", timeout=timeout_s).is_success
    except httpx.HTTPError:
        return False


def _json(content: Mapping[str, object]) -> str:
    return json.dumps(content, separators=(",", ":"))
