"""The App as people have it: a server, its database, a browser, and workers beside it.

The server shares the database of this test session, so a test makes its dataset right here with
FiftyOne and looks at it in the browser. Every process that is started is ended, by its group.

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

from app_in_browser import App  # noqa: E402 - it lies beside this file

CHROMIUM = Path("/usr/bin/chromium")
_START_S = 180.0  # for a server on a machine that is busy with others
_ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass
class Processes:
    """Starts programs of this environment in the database of this test session.

    Attributes:
        folder: Where what they print goes.
        started: All of them.
    """

    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, program: str, *words: object, **environment: object) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own, without waiting; its log is `log_of(it)`."""
        told = os.environ | {
            "FIFTYONE_PLUGINS_DIR": str(ROOT / "plugins"),
            "FIFTYONE_DATABASE_VALIDATION": "false",
            "OMP_NUM_THREADS": "1",
            **{name: str(value) for name, value in environment.items()},
        }
        with (self.folder / f"{len(self.started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [Path(sys.executable).with_name(program), *map(str, words)],
                cwd=self.folder, env=told, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def log_of(self, process: subprocess.Popen[bytes]) -> str:
        """What a program printed so far."""
        return (self.folder / f"{self.started.index(process)}.log").read_text(errors="replace")

    def stop(self, process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> int:
        """End a program and all that it started; return its exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        return process.wait(60)


@pytest.fixture(scope="session")
def session_processes(tmp_path_factory: Any, database: str) -> Iterator[Processes]:
    """What starts programs that live as long as this test session."""
    yield from _ended(Processes(tmp_path_factory.mktemp("processes")))


@pytest.fixture
def processes(tmp_path: Path, database: str) -> Iterator[Processes]:
    """What starts programs that live as long as the test: see `Processes.start`."""
    folder = tmp_path / "processes"
    folder.mkdir()
    yield from _ended(Processes(folder))


def _ended(made: Processes) -> Iterator[Processes]:
    yield made
    for one in made.started:
        made.stop(one)


def _served(processes: Processes, first: str, **environment: object) -> str:
    """Start an App server on loopback; return its address.

    Args:
        processes: Who ends it.
        first: The dataset that it opens; its tabs are taken there once more when the Python session
            behind it connects. It shows the others, too.
        environment: Of the server.
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
    """The address of an App server that knows no labeling server."""
    import fiftyone as fo

    return _served(session_processes, fo.Dataset("first to be shown", persistent=True).name)


@pytest.fixture
def serve(processes: Processes) -> Callable[..., str]:
    """Return `serve(dataset, **environment)`, which starts an App server of the test's own."""
    return partial(_served, processes)


@pytest.fixture(scope="module")  # while it is open, an event loop runs in this process
def browser(tmp_path_factory: Any) -> Iterator[Any]:
    """A headless Chromium (a playwright context) with a profile of its own."""
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
    """Return `tab(url)`, a new tab of an App; when the test fails, its last picture is kept."""
    shots = Path(os.environ.get("CURATION_SCREENSHOTS") or tmp_path / "screenshots")
    shots.mkdir(parents=True, exist_ok=True)
    opened: list[App] = []

    def make(url: str) -> App:
        opened.append(App(browser.new_page(), url, shots, wait_until))
        return opened[-1]

    failed = request.session.testsfailed
    yield make
    for one in opened:
        if request.session.testsfailed > failed:
            one.shot(f"failed-{request.node.name}")
        one.page.close()


@pytest.fixture
def app(tab: Callable[[str], App], app_url: str) -> App:
    """A new tab of the App."""
    return tab(app_url)


@pytest.fixture(scope="session")
def scenes_ingested(tmp_path_factory: Any, settings: Any, database: str) -> Any:
    """Rendered road-work scenes, some 40, ingested with the labels of train held back."""
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
    """A persistent copy of the scenes to change, named like the test."""
    name = re.sub(r"[^\w]+", "-", request.node.name).strip("-").lower()
    made = scenes_ingested.clone(name, persistent=True)
    yield made
    made.delete()


def wait_until(
    condition: Callable[[], Any],
    *,
    within_s: float,
    saying: Callable[[], str] = lambda: "it never came true",
) -> Any:
    """Return what the condition gives once that is true; fail with what `saying` says."""
    ends = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < ends, saying()
        time.sleep(0.1)
    return found


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
