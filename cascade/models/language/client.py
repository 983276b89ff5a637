"""Asks a language model behind any OpenAI-compatible server: the one file that speaks to it.

Many questions are in flight at once, for such a server batches whatever waits. A question is
given up after a bounded time, and a server that is down is not asked again for a while.
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
from cascade.models.language.circuit_breaker import FAILURES, REST_S, CircuitBreaker
from cascade.models.language.event_loop import LoopThread
from cascade.models.language.reply_parser import Reply, Token
from cascade.serving import defaults

_RETRIES = 2
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
_CONNECT_S = 5.0
_ALTERNATIVES = 20  # the most that vLLM and OpenAI give
_TIMED_OUT = 408
_NO_ACCOUNT: dict[str, Any] = {
    "OpenAI-Organization": openai.Omit(),
    "OpenAI-Project": openai.Omit(),
}


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        messages: In the form of OpenAI's chat completions.
        schema: The JSON schema of the answer.
        max_tokens: The longest answer.
    """

    messages: Sequence[Mapping[str, Any]]
    schema: Mapping[str, Any]
    max_tokens: int


class _RetryableError(Exception):
    """An attempt that may be made again."""

    pause_s: float | None = None


class _DownError(_RetryableError):
    """An attempt that got no answer, or none of a language server."""


class LanguageClient:
    """A server and one of its models.

    Errors name the server without what a URL may hold of passwords; the key is in none.
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
        rest_s: float = REST_S,
    ) -> None:
        """Ask nothing yet.

        Args:
            url: Of the API, as in `http://127.0.0.1:8000/v1`.
            model: The name that the server gives the model.
            key_variable: The environment variable that holds the key, where one is needed.
            concurrency: Questions in flight at once.
            timeout_s: For one attempt.
            retries: Further attempts after one that failed.
            failures: Failed attempts in a row after which the server is left alone.
            rest_s: How long it is left alone.

        Raises:
            ServerError: `url` is no address.
        """
        self.model = model
        self.server = _shown(url)
        self._key = os.environ.get(key_variable) or ""
        self._timeout_s, self._retries = timeout_s, retries
        self._slots = asyncio.Semaphore(concurrency)
        self._breaker = CircuitBreaker(
            self.server, counts=_DownError, failures=failures, rest_s=rest_s
        )
        self._loop = LoopThread()
        self._api = openai.AsyncOpenAI(
            base_url=url,
            api_key=self._key or "none",
            timeout=openai.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            max_retries=0,
            default_headers=_NO_ACCOUNT,  # the user's account at OpenAI is nobody else's business
        )
        self.close = weakref.finalize(self, _close, self._loop, self._api)

    @property
    def is_resting(self) -> bool:
        """Whether the server is left alone at the moment."""
        return self._breaker.state == "open"

    def ask_all(self, questions: Sequence[Question]) -> list[Reply | ServerError]:
        """Return the reply to each question, in order, or why there is none."""
        return self._loop.run(self._gather([self.ask(one) for one in questions]))

    def submit(self, question: Question) -> Future[Reply]:
        """Return at once the reply to come, on the loop of `ask_all`.

        It raises what `ask` raises. Cancelled, its connection is cut, so that the server, too,
        gives the question up.
        """
        return self._loop.submit(self.ask(question))

    async def ask(self, question: Question) -> Reply:
        """Return the reply to one question. Of the loop of `ask_all`, or of the caller's only.

        Raises:
            ServerError: The server is down, too slow, refuses, or answers nonsense.
        """
        async with self._slots:
            attempt = 0
            while True:
                try:
                    async with self._breaker.attempt():
                        return await self._attempt(question)
                except _RetryableError as error:
                    if attempt == self._retries:
                        raise ServerError(f"{self.server} gave no answer: {error}") from error
                    pause_s = error.pause_s or _pause_s(attempt)
                attempt += 1
                await asyncio.sleep(pause_s)

    async def _gather(
        self, asked: Sequence[Coroutine[Any, Any, Reply]]
    ) -> list[Reply | ServerError]:
        async def outcome(one: Coroutine[Any, Any, Reply]) -> Reply | ServerError:
            try:
                return await one
            except ServerError as error:
                return error

        return await asyncio.gather(*map(outcome, asked))

    async def _attempt(self, question: Question) -> Reply:
        try:
            async with asyncio.timeout(self._timeout_s):  # openai's own is for each read alone
                completion = await self._api.chat.completions.create(**self._request(question))
        except (TimeoutError, openai.APITimeoutError) as error:
            raise _DownError(f"nothing came within {self._timeout_s:g} s") from error
        except openai.APIConnectionError as error:
            raise _DownError(f"no connection ({error.__cause__ or error})") from error
        except openai.APIStatusError as error:
            raise self._of_status(error) from error
        except (openai.APIError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise _DownError("what came is not what a language server sends") from error
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

    def _of_status(self, error: openai.APIStatusError) -> Exception:
        """Return what an HTTP status means for the question."""
        text = f"status {error.status_code}: {self._without_key(error.message)}"
        if error.status_code >= 500 or error.status_code == _TIMED_OUT:
            return _DownError(text)
        if isinstance(error, openai.RateLimitError):
            busy = _RetryableError(text)
            busy.pause_s = _asked_pause_s(error.response.headers.get("retry-after"))
            return busy
        return ServerError(f"{self.server} refuses the question: {text}")

    def _without_key(self, text: str) -> str:
        """Return the text on one short line; a server may repeat the key that it refuses."""
        shown = text.replace(self._key, "***") if self._key else text
        return " ".join(shown.split())[:300]


def _reply(completion: Any) -> Reply:
    """Return what a completion holds; openai itself does not check its shape."""
    try:
        choice = completion.choices[0]
        text = choice.message.content or ""
        listed = choice.logprobs.content if choice.logprobs else None
        tokens = tuple(
            Token(one.token, _alternatives(one.token, float(one.logprob), one.top_logprobs))
            for one in listed or ()
        )
        return Reply(text=str(text), tokens=tokens)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise _DownError("what came is not what a language server sends") from error


def _alternatives(word: str, logprob: float, listed: Any) -> tuple[tuple[str, float], ...]:
    """Return what could have stood at a token's place, itself among them."""
    found = [(one.token, float(one.logprob)) for one in listed or ()]
    return tuple(found if any(one == word for one, _ in found) else [(word, logprob), *found])


def _pause_s(attempt: int) -> float:
    """Return how long to wait after a failed attempt: twice as long each time, with jitter."""
    longest = min(_FIRST_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S)
    return random.uniform(longest / 2, longest)  # noqa: S311 - spreads load, guards no secret


def _asked_pause_s(header: str | None) -> float | None:
    """Return what a busy server asks for, within bounds; None where it asks for no number."""
    try:
        return min(max(float(header or ""), 0.01), _LONGEST_PAUSE_S)
    except ValueError:
        return None


def _shown(url: str) -> str:
    """Return an address that may be shown: without user and password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ServerError(f"{url!r} is no address of a server: {error}.") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ServerError(
            f"A language server's address looks like http://127.0.0.1:8000/v1, got {url!r}."
        )
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"


def _close(loop: LoopThread, api: openai.AsyncOpenAI) -> None:
    if loop.is_running:
        loop.close(api.close())
