"""App server with its database, a browser, and workers.

The server shares the database of this test session: a test creates its dataset with FiftyOne and
opens it in the browser. Every process is stopped with its process group.

Screenshots go to the folder `$CURATION_SCREENSHOTS`, else to the test's temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests" / "labeling_server")]

from app_in_browser import App  # noqa: E402 - in this folder

CHROMIUM = Path("/usr/bin/chromium")
_START_S = 180.0  # for a server on a busy machine
_ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass
class Processes:
    """Starter of programs that use the database of this test session.

    Attributes:
        folder: Folder of their logs.
        started: The processes.
    """

    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, program: str, *words: object, **environment: object) -> subprocess.Popen[bytes]:
        """Start a program in a new session, without waiting; its log is `log_of(process)`."""
        variables = os.environ | {
            "FIFTYONE_PLUGINS_DIR": str(ROOT / "plugins"),
            "FIFTYONE_DATABASE_VALIDATION": "false",
            "OMP_NUM_THREADS": "1",
            **{name: str(value) for name, value in environment.items()},
        }
        with (self.folder / f"{len(self.started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [Path(sys.executable).with_name(program), *map(str, words)],
                cwd=self.folder, env=variables, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def log_of(self, process: subprocess.Popen[bytes]) -> str:
        """Output of a program so far."""
        return (self.folder / f"{self.started.index(process)}.log").read_text(errors="replace")

    def stop(self, process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> int:
        """Stop a program and its children; return its exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        return process.wait(60)


@pytest.fixture(scope="session")
def session_processes(tmp_path_factory: Any, database: str) -> Iterator[Processes]:
    """Starter of programs that live until the end of the session."""
    yield from _stopped_after_use(Processes(tmp_path_factory.mktemp("processes")))


@pytest.fixture
def processes(tmp_path: Path, database: str) -> Iterator[Processes]:
    """Starter of programs that live until the end of the test."""
    folder = tmp_path / "processes"
    folder.mkdir()
    yield from _stopped_after_use(Processes(folder))


def _stopped_after_use(processes: Processes) -> Iterator[Processes]:
    yield processes
    for process in processes.started:
        processes.stop(process)


def _serve(processes: Processes, first: str, **environment: object) -> str:
    """Start an App server on loopback; return its address.

    Args:
        processes: Starter of the server.
        first: Dataset to open; tabs return to it when the server's Python session connects.
        **environment: Environment variables of the server.
    """
    port = _free_port()
    process = processes.start("curate", "app", first, "--port", port, "--no-browser", **environment)
    url = f"http://127.0.0.1:{port}"
    wait_until(
        lambda: _answers(url) or process.poll() is not None,
        within_s=_START_S,
        saying=lambda: processes.log_of(process),
    )
    assert process.poll() is None, processes.log_of(process)
    return url


@pytest.fixture(scope="session")
def app_url(session_processes: Processes) -> str:
    """Address of an App server without a labeling server."""
    import fiftyone as fo

    return _serve(session_processes, fo.Dataset("first to be shown", persistent=True).name)


@pytest.fixture
def serve(processes: Processes) -> Callable[..., str]:
    """Return `serve(dataset, **environment)`, which starts another App server."""
    return partial(_serve, processes)


@pytest.fixture(scope="module")  # its event loop runs in this process
def browser(tmp_path_factory: Any) -> Iterator[Any]:
    """A headless Chromium (a Playwright context) with a new profile."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is absent: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=CHROMIUM,
            headless=True,
            viewport={"width": 1440, "height": 900},
            args=list(_ARGUMENTS),
        )
        yield context
        context.close()


@pytest.fixture
def tab(browser: Any, tmp_path: Path, request: Any) -> Iterator[Callable[[str], App]]:
    """Return `tab(url)`, which opens a tab; a failed test saves its last screenshot."""
    shots = Path(os.environ.get("CURATION_SCREENSHOTS") or tmp_path / "screenshots")
    shots.mkdir(parents=True, exist_ok=True)
    opened: list[App] = []

    def open_tab(url: str) -> App:
        opened.append(App(browser.new_page(), url, shots, wait_until))
        return opened[-1]

    failed = request.session.testsfailed
    yield open_tab
    for app in opened:
        if request.session.testsfailed > failed:
            app.shot(f"failed-{request.node.name}")
        app.page.close()


@pytest.fixture
def app(tab: Callable[[str], App], app_url: str) -> App:
    """A new tab of the App."""
    return tab(app_url)


@pytest.fixture(scope="session")
def scenes_ingested(tmp_path_factory: Any, settings: Any, database: str) -> Any:
    """About 40 rendered road-work scenes, with the labels of the train split held back."""
    import fiftyone as fo

    from cascade import taxonomy
    from curation.demo.dataset import write_dataset
    from curation.stages.ingest import ingest

    folder = tmp_path_factory.mktemp("scenes") / "scenes"
    write_dataset(folder, n_drives_by_split={"train": 3, "val": 1, "test": 1}, seed=1)
    roadwork = taxonomy.load("roadwork_core")
    ingest(folder, name="scenes", taxonomy=roadwork, settings=settings, hold_back=True)
    return fo.load_dataset("scenes")


@pytest.fixture
def scenes(scenes_ingested: Any, request: Any) -> Iterator[Any]:
    """A persistent, mutable copy of the scenes, named after the test."""
    name = re.sub(r"[^\w]+", "-", request.node.name).strip("-").lower()
    copy = scenes_ingested.clone(name, persistent=True)
    yield copy
    copy.delete()


def wait_until(
    condition: Callable[[], Any],
    *,
    within_s: float,
    saying: Callable[[], str] = lambda: "the condition stayed false",
) -> Any:
    """Return the condition's value once it is true; fail with the message of `saying`."""
    ends = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < ends, saying()
        time.sleep(0.1)
    return value


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """Return `wait_until`, for tests."""
    return wait_until


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
