"""Being told at once that something was submitted: a small listener on this machine.

The server posts to an address with a secret in its path. What it posts is not believed: it only
says that it is time to pull. Anything without the secret is answered with 404.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from curation.errors import LabelingError
from curation.labeling.label_studio.api.client import Client
from curation.labeling.label_studio.api.errors import GoneError

logger = logging.getLogger(__name__)

ACTIONS = (
    "ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED",
    "TASKS_DELETED", "PROJECT_UPDATED",
)  # fmt: skip
_PREFIX = "/curation/"
_MOST_BYTES = 1 << 20
_PATIENCE_S = 10.0  # for one who connects and says nothing


class Listener:
    """Listens on loopback from its making until it is closed. Use it in a `with` block.

    Args:
        host: The address to listen on; loopback unless the server is on another machine.
        port: 0 for any that is free.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._rang = threading.Event()
        self._path = _PREFIX + secrets.token_urlsafe(32)
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(self._path, self._rang))
        except OSError as error:
            raise LabelingError(
                f"Cannot listen for webhooks on {host}:{port}: {error.strerror or error}. "
                "Choose another port, or go without."
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The address to give to the server, secret and all."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}{self._path}"

    def wait(self, seconds: float) -> bool:
        """Wait until the server calls, at most so long; return whether it called."""
        rang = self._rang.wait(seconds)
        self._rang.clear()
        return rang

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def announced(client: Client, project_id: int, listener: Listener) -> Iterator[bool]:
    """Have the server call a listener while the block runs; yields whether it agreed.

    A server refuses addresses on its own network unless it was told to allow them. Then there
    is nobody to call, and pulling goes by the clock.
    """
    try:
        webhook = _add(client, project_id, listener.url)
    except LabelingError as error:
        logger.warning("No webhook: %s Pulling by the clock instead.", error)
        yield False
        return
    try:
        yield True
    finally:
        try:
            _remove(client, webhook)
        except LabelingError as error:
            logger.warning("Webhook %d stays on the server: %s", webhook, error)


def registered(client: Client, project_id: int) -> dict[int, str]:
    """Return the webhooks of a project: number and address."""
    rows = client.ask("list the webhooks", "GET", "api/webhooks/", params={"project": project_id})
    return {int(one["id"]): str(one["url"]) for one in rows}


def _add(client: Client, project_id: int, url: str) -> int:
    """Have the server tell an address of what happens; return the webhook's number."""
    made = client.ask(
        "add a webhook",
        "POST",
        "api/webhooks/",
        body={
            "project": project_id,
            "url": url,
            "send_payload": False,
            "send_for_all_actions": False,
            "actions": list(ACTIONS),
            "is_active": True,
        },
        repeatable=False,
    )
    return int(made["id"])


def _remove(client: Client, webhook_id: int) -> None:
    """Remove a webhook; one that is gone is no error."""
    try:
        client.ask("remove a webhook", "DELETE", f"api/webhooks/{webhook_id}/")
    except GoneError:
        logger.info("Webhook %d was gone already.", webhook_id)


def _handler(path: str, rang: threading.Event) -> type[BaseHTTPRequestHandler]:
    expected = path.encode()

    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE_S

        def do_POST(self) -> None:
            known = hmac.compare_digest(self.path.encode(), expected)
            length = self.headers.get("Content-Length", "0")
            if not known or not length.isdecimal() or int(length) > _MOST_BYTES:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                self.close_connection = True
                return
            self.rfile.read(int(length))  # to answer before it was sent would break the pipe
            rang.set()
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - their name
            """Say nothing: the path is secret."""

    return Handler
