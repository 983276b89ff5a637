"""HTTP client for Label Studio. The only module that sends requests and uses the SDK's client.

The SDK refreshes the token and serves infrequent operations. Pages of tasks, imports, uploads and
files bypass its models, which would take as long as the server itself.

The SDK would retry any request after any 5xx, including imports, which duplicates tasks. Its
retries are therefore disabled. Requests are repeated here only if that is safe; otherwise
`UnknownOutcomeError` says that the server may have processed the request.

Errors of the SDK and of httpx are neither propagated nor chained: their texts contain headers,
which contain session cookies.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Self, TypeVar

import httpx
from label_studio_sdk import LabelStudio as Sdk
from label_studio_sdk.core.api_error import ApiError
from label_studio_sdk.core.parse_error import ParsingError

from curation.labeling.label_studio.api import errors
from curation.labeling.label_studio.api.errors import (
    Failure,
    NotFoundError,
    PermissionDeniedError,
)
from curation.labeling.label_studio.api.retry import RateLimiter, RetryPolicy
from curation.labeling.label_studio.api.settings import Server

logger = logging.getLogger(__name__)

T = TypeVar("T")
Json = dict[str, Any]
Form = Mapping[str, tuple[str, Any, str]]  # field -> file name, content, content type

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)  # nothing was sent


class Client:
    """A connection to one server. Use it in a `with` block, or close it.

    Args:
        server: Address and token.
        retry_policy: Policy for failed requests.
        timeout_s: Timeout of one response.

    Attributes:
        url: Address of the server.
        retry_policy: Policy for failed requests.
    """

    def __init__(
        self,
        server: Server,
        *,
        retry_policy: RetryPolicy | None = None,
        timeout_s: float = 120.0,
    ) -> None:
        self.url = server.url
        self.retry_policy = retry_policy or RetryPolicy()
        self._rate_limiter = RateLimiter(server.rate_limit)
        self._http = httpx.Client(timeout=httpx.Timeout(timeout_s, connect=10.0))
        # A session cookie would remain valid after the token was revoked.
        self._http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
        try:
            self._sdk = Sdk(  # type: ignore[no-untyped-call]
                base_url=server.url, api_key=server.token, httpx_client=self._http, max_retries=0
            )
        except ApiError as error:  # an expired token is rejected without a request
            raise errors.to_error(self.url, "connect", _failure(error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def user_names(self) -> dict[int, str]:
        """Return the names of annotators by user id; empty if this user may not list them."""
        try:
            answer = self.request("list the users", "GET", "api/users/")
        except PermissionDeniedError:
            return {}
        users = answer["results"] if isinstance(answer, Mapping) else answer
        return {
            int(user["id"]): str(user.get("username") or user.get("email") or user["id"])
            for user in users
        }

    def fetch(self, path: str) -> bytes | None:
        """Return a file, such as an image, by its path on the server; None if not served."""
        try:
            return self._attempt("fetch an image", lambda: self._send("GET", path).content)
        except (NotFoundError, PermissionDeniedError):
            return None

    def call_sdk(self, action: str, call: Callable[[Sdk], T], *, repeatable: bool = True) -> T:
        """Call the SDK; see `request` for retries and errors."""
        return self._attempt(action, lambda: call(self._sdk), repeatable=repeatable)

    def request(
        self,
        action: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Json | None = None,
        content: bytes | None = None,
        files: Form | None = None,
        repeatable: bool = True,
    ) -> Any:
        """Send a request, with retries, and return the JSON of the response.

        Args:
            action: Verb phrase for error messages, such as "list the tasks".
            method: HTTP method.
            path: Path below the server's address.
            params: Query parameters.
            body: Body to send as JSON.
            content: Body that is already JSON.
            files: Body to send as a form.
            repeatable: Whether the request is idempotent.

        Raises:
            UnknownOutcomeError: It is not repeatable, and may have been processed.
            LabelingError: It failed; a subclass from `errors` if the cause is known.
        """
        if body is not None:
            content = json.dumps(body).encode()

        def call() -> Any:
            response = self._send(method, path, params=params, content=content, files=files)
            return response.json() if response.content else {}

        return self._attempt(action, call, repeatable=repeatable)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": self._authorization()}
        if options.get("content") is not None:
            headers["Content-Type"] = "application/json"
        url = f"{self.url}/{path.removeprefix('/')}"
        response = self._http.request(method, url, headers=headers, **options)
        if not response.is_success:
            raise ApiError(
                status_code=response.status_code, headers=dict(response.headers), body=response.text
            )
        return response

    def _authorization(self) -> str:
        """Return the current header; a personal token is exchanged for a short-lived one."""
        with warnings.catch_warnings():
            # The SDK calls a method that pydantic has deprecated.
            warnings.filterwarnings("ignore", message=".*parse_obj.*", category=DeprecationWarning)
            return self._sdk._client_wrapper.get_headers()["Authorization"]

    def _attempt(self, action: str, call: Callable[[], T], *, repeatable: bool = True) -> T:
        """Call until it succeeds, as long as a retry is useful and safe."""
        delays_s = self.retry_policy.delays_s()
        while True:
            time.sleep(self._rate_limiter.delay_s(time.monotonic()))
            try:
                self._authorization()  # before the SDK needs it
                return call()
            except (ApiError, ParsingError, httpx.HTTPError, json.JSONDecodeError) as error:
                failure = _failure(error)
            if not failure.is_transient:
                raise errors.to_error(self.url, action, failure)
            if not (repeatable or failure.is_unprocessed):
                raise errors.unknown_outcome(self.url, action, failure)
            delay_s = next(delays_s, None)
            if delay_s is None:
                raise errors.to_error(self.url, action, failure)
            logger.info("Could not %s: %s. Retry in %.1f s.", action, failure.message, delay_s)
            time.sleep(max(delay_s, failure.retry_after_s))


def _failure(error: Exception) -> Failure:
    """Return the failure behind an error of the SDK or of httpx."""
    if isinstance(error, ApiError):
        return Failure.from_response(error.status_code or 500, error.headers or {}, error.body)
    if isinstance(error, ParsingError):
        return Failure(error.status_code or 200, "a response that its SDK cannot parse", False)
    if isinstance(error, json.JSONDecodeError):
        return Failure(None, "the response is not JSON: another service answers there", False)
    name = type(error).__name__
    return Failure(None, f"{name}: {error}" if str(error) else name, isinstance(error, _UNSENT))
