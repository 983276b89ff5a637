"""A proxy on loopback that forwards requests, or fails them as networks do."""

import http.client
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

BEFORE = {
    "401",
    "403",
    "413",
    "429",
    "500",
    "503",
    "507",
    "drop",
}  # the server does not get the request
AFTER = {"500 after", "drop after", "delay after"}  # the server has processed the request


class FaultProxy:
    """A proxy in front of a server. Use it in a `with` block.

    Attributes:
        url: Address of the proxy.
        fault: Returns the fault of a request by method and path; None forwards it.
        seen: Requests so far, `(method, path, fault)`.
        headers: Headers of each request.
    """

    def __init__(self, target: str, fault: Callable[[str, str], str | None] = lambda *_: None):
        self.fault, self.seen, self.headers = fault, [], []
        self.delay_s = 3.0
        self.retry_after: str | None = None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, urlsplit(target)))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def judge(self, method, path, headers):
        """Return the fault of a request, and record both."""
        with self._lock:
            fault = self.fault(method, path)
            assert fault is None or fault in BEFORE | AFTER, fault
            self.seen.append((method, path, fault))
            self.headers.append(headers)
        return fault


def _handler(proxy, target):  # noqa: C901 - a class in a closure
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            fault = proxy.judge(self.command, self.path, dict(self.headers))
            if fault == "drop":
                self.drop()
            elif fault in BEFORE:
                words = {"507": "[Errno 28] No space left on device", "403": "No rights here."}
                headers = [("Retry-After", proxy.retry_after)] if proxy.retry_after else []
                self.reply(int(fault), headers, words.get(fault, "A fault.").encode())
            else:
                status, headers, content = self.forward(body)
                if fault == "delay after":
                    time.sleep(proxy.delay_s)
                if fault in ("drop after", "delay after"):
                    self.drop()
                elif fault == "500 after":
                    self.reply(500, [], b"A fault.")
                else:
                    self.reply(status, headers, content)

        do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 - names of the base class

        def forward(self, body):
            connection = http.client.HTTPConnection(target.hostname, target.port, timeout=300)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection",)}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            content = response.read()
            connection.close()
            return response.status, response.getheaders(), content

        def reply(self, status, headers, content):
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def drop(self):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_):
            pass

    return Handler
