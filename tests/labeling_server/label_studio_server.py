"""A real Label Studio server on loopback, in a separate folder, for the tests."""

import atexit
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VENV = Path(os.environ.get("CURATION_LABEL_STUDIO") or ROOT / ".label-studio")
EXECUTABLE = VENV / "bin" / "label-studio"
MISSING = "Label Studio is not installed: run `make label-studio`, or set CURATION_LABEL_STUDIO"
LEGACY_TOKEN = "0123456789abcdef0123456789abcdef01234567"
_DATABASE = "label_studio.sqlite3"
_TEMPLATE = VENV / "migrated-1.23.2.sqlite3"  # creating an empty database takes half a minute
_PATIENCE_S = 240


class LabelStudioServer:
    """A server that can be killed and restarted at the same address.

    Attributes:
        folder: Folder of the database, uploads and log.
        files: Folder that it serves files from.
        url: Address of the server.
        token: Legacy token of the first user.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, folder / "files"
        self.data = folder / "data"
        self.token = LEGACY_TOKEN
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        for path in (self.data, self.files):
            path.mkdir(parents=True)
        if _TEMPLATE.is_file():
            shutil.copy(_TEMPLATE, self.data / _DATABASE)

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        own = {
            "LABEL_STUDIO_BASE_DATA_DIR": self.data, "DJANGO_DB": "sqlite",
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": self.files,
            "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": "", "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false", "FEATURE_FLAGS_OFFLINE": "true",
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true", "SECRET_KEY": "only-for-tests",
            "DEBUG": "false", "SSRF_PROTECTION_ENABLED": "false", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        foreign = ("LABEL_STUDIO", "CURATION_", "FIFTYONE_", "PYTEST", "PYTHONDONTWRITE", "COV_")
        others = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    EXECUTABLE, "start", "--no-browser", "--internal-host", "127.0.0.1",
                    "--port", str(self.port), "--host", self.url, "--data-dir", self.data,
                    "--username", "admin@example.com", "--password", "only-for-tests-1",
                    "--user-token", self.token, "--enable-legacy-api-token",
                    "--log-level", "WARNING",
                ],
                env={**others, **{name: str(value) for name, value in own.items()}},
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._wait()
        if not _TEMPLATE.is_file():
            self._keep_template()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop or kill the server."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, number)
            self._process.wait(20)
        except ProcessLookupError:
            pass
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def personal_token(self) -> str:
        """Return a personal access token, created by the first call: the server shows it once."""
        file = self.folder / "personal_token"
        if not file.is_file():
            file.write_text(self.ask("POST", "/api/token/", {})["token"])
        return file.read_text()

    def ask(self, method, path, body=None):
        """Send a request to the API, as a browser would."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Token {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            content = answer.read()
        return json.loads(content) if content[:1] in (b"{", b"[") else content

    def _wait(self) -> None:
        ends = time.monotonic() + _PATIENCE_S
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                    assert b"UP" in answer.read()
                    return
            except (urllib.error.URLError, OSError):
                assert self._process is not None
                log = (self.folder / "server.log").read_text()[-3000:]
                assert self._process.poll() is None, log
                assert time.monotonic() < ends, log
                time.sleep(0.2)

    def _keep_template(self) -> None:
        """Store the migrated database, with its single user, for later sessions."""
        part = _TEMPLATE.with_suffix(f".{os.getpid()}")
        with (
            closing(sqlite3.connect(self.data / _DATABASE)) as source,
            closing(sqlite3.connect(part)) as target,
        ):
            source.backup(target)
        os.replace(part, _TEMPLATE)


_shared: list[LabelStudioServer] = []


def shared(tmp_path_factory) -> LabelStudioServer:
    """Return the server of this test session, started by the first call."""
    if not _shared:
        server = LabelStudioServer(tmp_path_factory.mktemp("label_studio"))
        atexit.register(server.stop)
        server.start()
        _shared.append(server)
    return _shared[0]


def require() -> None:
    """Skip the test if Label Studio is not installed."""
    if not EXECUTABLE.is_file():
        pytest.skip(MISSING)
