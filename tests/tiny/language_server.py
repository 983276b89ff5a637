"""A server of OpenAI's dialect on loopback that answers as it is told to, well or badly."""

from __future__ import annotations

import base64
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

YES = '{"answer":"yes","objects":["cone"],"reason":"A cone."}'


@dataclass(frozen=True)
class Told:
    """What one request gets.

    Attributes:
        text: The message.
        tokens: Its tokens: text, and the alternatives with their log-probabilities.
        status: The HTTP status.
        body: Sent instead of a completion.
        headers: Sent beside the usual ones.
        after_s: How long the answer takes.
        drips_s: The pause after every byte of it.
        hangs_up: Whether the connection is cut instead.
    """

    text: str = YES
    tokens: tuple[tuple[str, Mapping[str, float]], ...] | None = None
    status: int = 200
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    after_s: float = 0.0
    drips_s: float = 0.0
    hangs_up: bool = False

    def completion(self, model: str) -> bytes:
        message = {"role": "assistant", "content": self.text}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": message}
        if self.tokens is not None:
            choice["logprobs"] = {"content": [_token(*one) for one in self.tokens]}
        made = {"id": "1", "object": "chat.completion", "created": 1, "model": model}
        return json.dumps(made | {"choices": [choice]}).encode()


def _token(text: str, alternatives: Mapping[str, float]) -> dict[str, Any]:
    listed = [{"token": word, "logprob": value} for word, value in alternatives.items()]
    return {"token": text, "logprob": alternatives.get(text, 0.0), "top_logprobs": listed}


class LanguageServer:
    """The server; a context manager.

    Attributes:
        tell: Decides on an answer, given the request's number from 0 and its JSON.
        requests: The JSON of every request, as they came.
        headers: Their headers.
        most_at_once: How many were in flight at the same time.
    """

    def __init__(self, tell: Callable[[int, Any], Told] = lambda number, asked: Told()) -> None:
        self.tell = tell
        self.requests: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._http: ThreadingHTTPServer | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Listen: at first on a port that the system gives, afterwards on the same one."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._http = _Server(("127.0.0.1", self.port), Handler)
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Go away: connections are cut, new ones refused."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def is_hung_up(self, *, within_s: float) -> bool:
        """Tell whether the other side closes a connection before it has got its answer."""
        ready, _, _ = select.select(list(self._http._open), [], [], within_s)
        try:
            return any(one.recv(1, socket.MSG_PEEK) == b"" for one in ready)
        except ConnectionResetError:
            return True

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        with self._lock:
            number = len(self.requests)
            self.requests.append(asked)
            self.headers.append({key.lower(): value for key, value in handler.headers.items()})
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        told = self.tell(number, asked)
        time.sleep(told.after_s)
        with self._lock:
            self._at_once -= 1
        if told.hangs_up:
            handler.close_connection = True
            return
        body = told.completion(asked["model"]) if told.body is None else told.body
        try:
            handler.send_response(told.status)
            headers = {"content-type": "application/json", "content-length": len(body)}
            for key, value in {**headers, **told.headers}.items():
                handler.send_header(key, str(value))
            handler.end_headers()
            step = 1 if told.drips_s else len(body)
            for i in range(0, len(body), max(step, 1)):
                handler.wfile.write(body[i : i + step])
                time.sleep(told.drips_s)
        except OSError:  # the other side has given up
            handler.close_connection = True


class _Server(ThreadingHTTPServer):
    """Cuts the connections that are open when it is closed."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a connection that was cut, by either side

    def server_close(self) -> None:
        super().server_close()
        for one in list(self._open):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # gone already


def images_of(asked: Any) -> list[bytes]:
    """Return the images of a request, as files."""
    parts = asked["messages"][1]["content"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [base64.b64decode(url.partition(",")[2]) for url in urls]


def text_of(asked: Any) -> str:
    """Return what a request says beside its images."""
    return "\n".join(p["text"] for p in asked["messages"][1]["content"] if p["type"] == "text")
