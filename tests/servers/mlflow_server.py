"""A real MLflow server on the loopback address, with files of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

PATIENCE_S = 600  # on a machine that is busy with others


@contextmanager
def served(folder: Path, empty_store: Path) -> Iterator[str]:
    """Give the address of a server that keeps everything in `folder` and ends with the block.

    Args:
        folder: Empty.
        empty_store: A file with MLflow's tables, which take seconds to make.
    """
    shutil.copy(empty_store, folder / "mlflow.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [
        Path(sys.executable).with_name("mlflow"), "server", "--host", "127.0.0.1",
        "--port", str(port), "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination", folder / "artifacts", "--serve-artifacts", "--workers", "1",
    ]  # fmt: skip
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            words, stdout=log, stderr=log, env=os.environ | quiet, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{port}", process, folder / "log.txt")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends and process.poll() is None:
        try:
            if httpx.get(f"{address}/health", timeout=5).text == "OK":
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())
