"""A real vLLM server for tests: start, stop and load."""

import os
import re
import signal
import subprocess
import time
from contextlib import suppress

import httpx

from cascade.serving import vllm

METRICS = {
    "running": "num_requests_running",
    "waiting": "num_requests_waiting",
    "prompt_tokens": "prompt_tokens_total",
    "generated_tokens": "generation_tokens_total",
}


class VllmServer:
    """A server process that leads a process group."""

    def __init__(self, plan, *, executable, output):
        self.plan = plan
        self.process = subprocess.Popen(
            vllm.command(plan, executable), env=vllm.server_environment(plan, os.environ),
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def wait_until_ready(self, timeout_s=600.0):
        """Return once the server answers; stop it if it exits or is too slow."""
        deadline = time.monotonic() + timeout_s
        while not vllm.is_healthy(self.plan.url):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"vLLM is not ready; exit code {self.process.returncode}.")
            time.sleep(0.5)

    def stop(self, patience_s=20.0):
        """End the process group."""
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_s)
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number):
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def load(url):
    """Return the requests and tokens of a server, `{name in METRICS: int}`."""
    text = httpx.get(f"{url.removesuffix('/v1')}/metrics").raise_for_status().text

    def total(name):
        values = re.findall(rf"^vllm:{name}(?:\{{.*\}})? (\S+)", text, re.MULTILINE)
        return int(sum(map(float, values)))

    return {name: total(metric) for name, metric in METRICS.items()}
