"""The only file that speaks HTTP with Label Studio, and the only one that knows its SDK.

The SDK keeps the token fresh and does what is done rarely. Pages of tasks, imports, uploads and
files go past its models, which would cost as much time as the server itself needs.

The SDK would repeat any request after any 5xx, imports too, which is how tasks come twice. So
its own retries are off: here a request is repeated only where that can do no harm, and where it
could, `UnsureError` says that the server may or may not have done it.

No error of the SDK or of httpx is let out, or chained to one that is: their texts hold headers,
and those hold session cookies.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from label_studio_sdk import LabelStudio as Sdk
from label_studio_sdk.core.api_error import ApiError
from label_studio_sdk.core.parse_error import ParsingError

from curation.labeling.label_studio.api import errors
from curation.labeling.label_studio.api.errors import DeniedError, Failure, GoneError
from curation.labeling.label_studio.api.retry import Pace, Retrying
from curation.labeling.label_studio.api.settings import Server

logger = logging.getLogger(__name__)

T = TypeVar("T")
Json = dict[str, Any]
Form = Mapping[str, tuple[str, Any, str]]  # field -> file name, content, content type

_EARLY = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)  # nothing was sent


class Client:
    """A connection to one server. Use it in a `with` block, or close it.

    Args:
        server: Address and token.
        retrying: How patiently failed requests are repeated.
        timeout_s: How long one answer may take.
        sleep: Waits; a test may wait less.
    """

    def __init__(
        self,
        server: Server,
        *,
        retrying: Retrying | None = None,
        timeout_s: float = 120.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._server = server
        self._retrying = retrying or Retrying()
        self._sleep = sleep
        self._pace = Pace(server.rate_limit)
        self._http = httpx.Client(timeout=httpx.Timeout(timeout_s, connect=10.0))
        # A session cookie would go on working after the token was withdrawn.
        self._http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
        try:
            self._sdk = Sdk(  # type: ignore[no-untyped-call]
                base_url=server.url, api_key=server.token, httpx_client=self._http, max_retries=0
            )
        except ApiError as error:  # a token that has expired is refused without asking
            raise errors.explained(self.url, "connect", _failure(error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the server answers."""
        return self._server.url

    @property
    def retrying(self) -> Retrying:
        """How patiently failed requests are repeated."""
        return self._retrying

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def pause(self, seconds: float) -> None:
        """Wait."""
        self._sleep(seconds)

    def me(self) -> str:
        """Return whose token it is; a wrong one is refused here."""
        return str(self.ask("log in", "GET", "api/current-user/whoami")["email"])

    def people(self) -> dict[int, str]:
        """Return what annotators are called, by their number; nobody where that is a secret."""
        try:
            found = self.ask("list the users", "GET", "api/users/")
        except DeniedError:
            return {}
        rows = found["results"] if isinstance(found, Mapping) else found
        return {
            int(one["id"]): str(one.get("username") or one.get("email") or one["id"])
            for one in rows
        }

    def fetch(self, path: str) -> bytes | None:
        """Return a file by its path on the server, such as an image; None if it serves none."""
        try:
            return self._attempt("fetch an image", lambda: self._send("GET", path).content)
        except (GoneError, DeniedError):
            return None

    def by_sdk(self, what: str, call: Callable[[Sdk], T], *, repeatable: bool = True) -> T:
        """Do something by the SDK's own methods; see `ask` for the rest."""
        return self._attempt(what, lambda: call(self._sdk), repeatable=repeatable)

    def ask(
        self,
        what: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Json | None = None,
        content: bytes | None = None,
        files: Form | None = None,
        repeatable: bool = True,
    ) -> Any:
        """Send a request, as often as it takes, and return the JSON of the answer.

        Args:
            what: What is tried, for the line that says it failed: "list the tasks".
            method: Of HTTP.
            path: Below the server's address.
            params: Of the query.
            body: To send as JSON.
            content: To send as it is: JSON that was written already.
            files: To send as a form.
            repeatable: Whether doing it twice is as good as once.

        Raises:
            UnsureError: It is not repeatable, and may have been done all the same.
            LabelingError: It failed; one of `failures` where there is something to tell apart.
        """
        if body is not None:
            content = json.dumps(body).encode()

        def call() -> Any:
            answer = self._send(method, path, params=params, content=content, files=files)
            return answer.json() if answer.content else {}

        return self._attempt(what, call, repeatable=repeatable)

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        files: Form | None = None,
    ) -> httpx.Response:
        headers = {"Authorization": self._authorization()}
        if content is not None:
            headers["Content-Type"] = "application/json"
        answer = self._http.request(
            method,
            f"{self._server.url}/{path.removeprefix('/')}",
            params=params,
            content=content,
            files=files,
            headers=headers,
        )
        if not answer.is_success:
            raise ApiError(
                status_code=answer.status_code, headers=dict(answer.headers), body=answer.text
            )
        return answer

    def _authorization(self) -> str:
        """Return the header of this moment; a personal token is exchanged for one of minutes."""
        with warnings.catch_warnings():
            # What the SDK calls for it is deprecated by pydantic.
            warnings.filterwarnings("ignore", message=".*parse_obj.*", category=DeprecationWarning)
            return self._sdk._client_wrapper.get_headers()["Authorization"]

    def _attempt(self, what: str, call: Callable[[], T], *, repeatable: bool = True) -> T:
        """Call until it works, as often as that can help and do no harm."""
        waits_s = self._retrying.waits_s()
        while True:
            self._sleep(self._pace.wait_s(time.monotonic()))
            try:
                self._authorization()  # before the SDK needs one
                return call()
            except (ApiError, ParsingError, httpx.HTTPError, json.JSONDecodeError) as error:
                failure = _failure(error)
            if not failure.is_transient:
                raise errors.explained(self.url, what, failure)
            if not (repeatable or failure.is_undone):
                raise errors.unsure(self.url, what, failure)
            wait_s = next(waits_s, None)
            if wait_s is None:
                raise errors.explained(self.url, what, failure)
            logger.info("Could not %s: %s. Once more in %.1f s.", what, failure.words, wait_s)
            self._sleep(max(wait_s, failure.retry_after_s))


def _failure(error: Exception) -> Failure:
    """Return what an error of the SDK or of httpx means."""
    if isinstance(error, ApiError):
        return Failure.of_answer(error.status_code or 500, error.headers or {}, error.body)
    if isinstance(error, ParsingError):
        return Failure(error.status_code or 200, "an answer that its SDK does not expect", False)
    if isinstance(error, json.JSONDecodeError):
        return Failure(None, "the answer is no JSON: something else answers there", False)
    name = type(error).__name__
    return Failure(None, f"{name}: {error}" if str(error) else name, isinstance(error, _EARLY))
