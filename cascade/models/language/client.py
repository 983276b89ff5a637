"""Client of a language model on any OpenAI-compatible server.

Many questions are in flight concurrently, since such a server batches waiting requests. Every
question has a time limit, and requests to a server that is down are paused.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import weakref
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import openai

from cascade.errors import ServerError
from cascade.models.language.circuit_breaker import COOLDOWN_S, FAILURES, CircuitBreaker
from cascade.models.language.event_loop import LoopThread
from cascade.models.language.reply_parser import Reply, Token
from cascade.serving import defaults

_RETRIES = 2
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
_CONNECT_S = 5.0
_ALTERNATIVES = 20  # maximum of vLLM and OpenAI
_TIMED_OUT = 408
_NO_ACCOUNT: dict[str, Any] = {
    "OpenAI-Organization": openai.Omit(),
    "OpenAI-Project": openai.Omit(),
}


@dataclass(frozen=True)
class Question:
    """Question to a language model.

    Attributes:
        messages: Messages in the format of OpenAI's chat completions.
        schema: JSON schema of the answer.
        max_tokens: Maximum length of the answer, in tokens.
    """

    messages: Sequence[Mapping[str, Any]]
    schema: Mapping[str, Any]
    max_tokens: int


class _RetryableError(Exception):
    """Failure of an attempt that may be repeated."""

    pause_s: float | None = None


class _DownError(_RetryableError):
    """Failure to get any answer of a language server."""


class LanguageClient:
    """Client of one model of a server.

    Errors contain neither the key nor a password in the URL.
    """

    def __init__(
        self,
        *,
        url: str,
        model: str,
        key_variable: str = defaults.KEY_VARIABLE,
        concurrency: int = defaults.CONCURRENCY,
        timeout_s: float = defaults.TIMEOUT_S,
        retries: int = _RETRIES,
        failures: int = FAILURES,
        cooldown_s: float = COOLDOWN_S,
    ) -> None:
        """Set up the client without a connection.

        Args:
            url: URL of the API, such as `http://127.0.0.1:8000/v1`.
            model: Name of the model on the server.
            key_variable: Environment variable of the key, if the server needs one.
            concurrency: Maximum number of questions in flight.
            timeout_s: Time limit of one attempt.
            retries: Number of attempts after a failed one.
            failures: Number of consecutive failed attempts that pause requests.
            cooldown_s: Duration of the pause.

        Raises:
            ServerError: `url` is invalid.
        """
        self.model = model
        self.server = _without_credentials(url)
        self._key = os.environ.get(key_variable) or ""
        self._timeout_s, self._retries = timeout_s, retries
        self._slots = asyncio.Semaphore(concurrency)
        self.breaker = CircuitBreaker(
            self.server, counts=_DownError, failures=failures, cooldown_s=cooldown_s
        )
        self._loop = LoopThread()
        self._api = openai.AsyncOpenAI(
            base_url=url,
            api_key=self._key or "none",
            timeout=openai.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            max_retries=0,
            default_headers=_NO_ACCOUNT,  # the user's OpenAI account stays private
        )
        self.close = weakref.finalize(self, _close, self._loop, self._api)

    def ask_all(self, questions: Sequence[Question]) -> list[Reply | ServerError]:
        """Return the reply to each question, in order, or its error."""
        return self._loop.run(self._gather([self.ask(question) for question in questions]))

    def submit(self, question: Question) -> Future[Reply]:
        """Return a future of the reply, on the event loop of `ask_all`.

        It raises the errors of `ask`. Cancellation closes the connection, which makes the server
        abort the question.
        """
        return self._loop.submit(self.ask(question))

    async def ask(self, question: Question) -> Reply:
        """Return the reply to one question; use a client in a single event loop only.

        Raises:
            ServerError: The server is down or too slow, refuses, or sends an invalid answer.
        """
        async with self._slots:
            attempt = 0
            while True:
                try:
                    async with self.breaker.attempt():
                        return await self._attempt(question)
                except _RetryableError as error:
                    if attempt == self._retries:
                        raise ServerError(f"{self.server} did not answer: {error}") from error
                    pause_s = error.pause_s or _pause_s(attempt)
                attempt += 1
                await asyncio.sleep(pause_s)

    async def _gather(
        self, questions: Sequence[Coroutine[Any, Any, Reply]]
    ) -> list[Reply | ServerError]:
        async def outcome(question: Coroutine[Any, Any, Reply]) -> Reply | ServerError:
            try:
                return await question
            except ServerError as error:
                return error

        return await asyncio.gather(*map(outcome, questions))

    async def _attempt(self, question: Question) -> Reply:
        try:
            async with asyncio.timeout(self._timeout_s):  # openai's timeout is per read
                completion = await self._api.chat.completions.create(**self._request(question))
        except (TimeoutError, openai.APITimeoutError) as error:
            raise _DownError(f"no answer arrived within {self._timeout_s:g} s") from error
        except openai.APIConnectionError as error:
            raise _DownError(f"no connection ({error.__cause__ or error})") from error
        except openai.APIStatusError as error:
            raise self._status_error(error) from error
        except (openai.APIError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise _DownError("the answer is not that of a language server") from error
        return _reply(completion)

    def _request(self, question: Question) -> dict[str, Any]:
        answer = {"name": "answer", "schema": question.schema, "strict": True}
        return {
            "model": self.model,
            "messages": question.messages,
            "temperature": 0,
            "max_tokens": question.max_tokens,
            "logprobs": True,
            "top_logprobs": _ALTERNATIVES,
            "response_format": {"type": "json_schema", "json_schema": answer},
        }

    def _status_error(self, error: openai.APIStatusError) -> Exception:
        """Return the error that corresponds to an HTTP status."""
        text = f"status {error.status_code}: {self._without_key(error.message)}"
        if error.status_code >= 500 or error.status_code == _TIMED_OUT:
            return _DownError(text)
        if isinstance(error, openai.RateLimitError):
            busy = _RetryableError(text)
            busy.pause_s = _requested_pause_s(error.response.headers.get("retry-after"))
            return busy
        return ServerError(f"{self.server} refuses the question: {text}")

    def _without_key(self, text: str) -> str:
        """Return the text on one short line; a server may repeat a key that it refuses."""
        redacted = text.replace(self._key, "***") if self._key else text
        return " ".join(redacted.split())[:300]


def _reply(completion: Any) -> Reply:
    """Return the reply of a completion, whose shape openai does not validate."""
    try:
        choice = completion.choices[0]
        text = choice.message.content or ""
        logprobs = choice.logprobs.content if choice.logprobs else None
        tokens = tuple(
            Token(item.token, _alternatives(item.token, float(item.logprob), item.top_logprobs))
            for item in logprobs or ()
        )
        return Reply(text=str(text), tokens=tokens)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise _DownError("the answer is not that of a language server") from error


def _alternatives(text: str, logprob: float, top: Any) -> tuple[tuple[str, float], ...]:
    """Return the alternatives of a token, including itself."""
    alternatives = [(item.token, float(item.logprob)) for item in top or ()]
    if not any(token == text for token, _ in alternatives):
        alternatives.insert(0, (text, logprob))
    return tuple(alternatives)


def _pause_s(attempt: int) -> float:
    """Return the pause after a failed attempt: exponential backoff with jitter."""
    longest = min(_FIRST_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S)
    return random.uniform(longest / 2, longest)  # noqa: S311 - not security-relevant


def _requested_pause_s(header: str | None) -> float | None:
    """Return the pause that a busy server requests, within bounds; None if it sends no number."""
    try:
        return min(max(float(header or ""), 0.01), _LONGEST_PAUSE_S)
    except ValueError:
        return None


def _without_credentials(url: str) -> str:
    """Return a URL without user and password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ServerError(f"Invalid server URL {url!r}: {error}.") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ServerError(
            f"A language server's URL must look like http://127.0.0.1:8000/v1, got {url!r}."
        )
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"


def _close(loop: LoopThread, api: openai.AsyncOpenAI) -> None:
    if loop.is_running:
        loop.close(api.close())
