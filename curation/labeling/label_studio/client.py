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
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx
from label_studio_sdk import LabelStudio as Sdk
from label_studio_sdk.core.api_error import ApiError
from label_studio_sdk.core.parse_error import ParsingError

from curation.errors import LabelingError
from curation.labeling.label_studio.retrying import Pace, Retrying
from curation.labeling.label_studio.server import TOKEN, URL, Server

logger = logging.getLogger(__name__)

T = TypeVar("T")
Json = dict[str, Any]
Form = Mapping[str, tuple[str, Any, str]]  # field -> file name, content, content type

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_NO_SPACE = ("no space left", "disk is full", "disk full", "errno 28", "insufficient storage")
_ROOT = re.compile(r'LOCAL_FILES_DOCUMENT_ROOT=\\?"([^"\\]+)\\?"')
_PAGE = 500
FILES_AT_ONCE = 50  # the server takes 100; half, since each may be large
_EARLY = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)  # nothing was sent


class UnsureError(LabelingError):
    """A request failed after it was sent: the server may have done what it asked for."""


class TooLargeError(LabelingError):
    """A request is larger than the server, or something before it, takes."""


class GoneError(LabelingError):
    """What was asked for is not there, or not for this user."""


class DeniedError(LabelingError):
    """This user may not do it."""


class RefusedError(LabelingError):
    """The server understood, and does not take it as it is."""


@dataclass(frozen=True)
class Project:
    """A project on the server.

    Attributes:
        id: Its number.
        title: What people see.
        description: What people see, and our mark.
        label_config: The labeling interface, XML.
        overlap: How many people are to submit each task.
    """

    id: int
    title: str
    description: str
    label_config: str
    overlap: int


@dataclass(frozen=True)
class Condition:
    """A condition on a column of the Data Manager.

    Attributes:
        column: Such as `id`, `updated_at` or `data.round`.
        operator: Such as `greater` or `equal`.
        kind: The type of the value.
        value: What is compared with.
    """

    column: str
    operator: str
    kind: Literal["Number", "Datetime", "String"]
    value: int | float | str

    def to_json(self) -> Json:
        """Return it as the server's query language has it."""
        return {
            "filter": f"filter:tasks:{self.column}",
            "operator": self.operator,
            "type": self.kind,
            "value": self.value,
        }


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
            raise self._explained("connect", _Failure.of(error)) from None

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

    # Projects

    def find_projects(self, mark: str) -> list[Project]:
        """Return the projects whose description holds a mark, the oldest first."""
        found: list[Project] = []
        page = 1
        while True:
            answer = self._json(
                "list the projects",
                "GET",
                "api/projects/",
                params={
                    "page": page,
                    "page_size": 100,
                    "include": "id,title,description,label_config,maximum_annotations",
                },
            )
            found += [_project(one) for one in answer["results"] if mark in _words(one)]
            if not answer.get("next"):
                return sorted(found, key=lambda project: project.id)
            page += 1

    def project(self, project_id: int) -> Project:
        """Return a project as it is now.

        Raises:
            GoneError: It is not there, or not for this user.
        """
        return _project(
            self._json(f"read project {project_id}", "GET", f"api/projects/{project_id}/")
        )

    def create_project(
        self, *, title: str, description: str, label_config: str, overlap: int
    ) -> Project:
        """Make a project; each task is finished when `overlap` people have submitted it."""
        made = self._attempt(
            "create a project",
            lambda: self._sdk.projects.create(
                title=title,
                description=description,
                label_config=label_config,
                maximum_annotations=overlap,
                sampling="Sequential sampling",  # by id: that is by rank, as they are pushed
                show_collab_predictions=True,
                show_skip_button=True,
                enable_empty_annotation=True,
            ),
            repeatable=False,
        )
        return self.project(int(made.id or 0))

    def set_label_config(self, project_id: int, label_config: str, *, description: str) -> None:
        """Replace the labeling interface of a project, and its description."""
        self._json(
            "update the labeling config",
            "PATCH",
            f"api/projects/{project_id}/",
            body={"label_config": label_config, "description": description},
        )

    def create_view(self, project_id: int, *, title: str, order_by: str) -> None:
        """Add a tab to the Data Manager that sorts tasks by a number in their data."""
        column = f"tasks:data.{order_by}"
        self._json(
            "add a tab to the Data Manager",
            "POST",
            "api/dm/views/",
            body={
                "project": project_id,
                "data": {
                    "title": title,
                    "ordering": [column],
                    # Without this, the server sorts numbers as words: 10 before 9.
                    "columnsDisplayType": {column: "Number"},
                },
            },
            repeatable=False,
        )

    # Tasks

    def tasks(
        self,
        project_id: int,
        *,
        include: Sequence[str] = ("id", "data"),
        where: Iterable[Condition] = (),
        after: int = 0,
        page_size: int = _PAGE,
    ) -> Iterator[list[Json]]:
        """Yield tasks page by page, by id.

        A page begins after the last id of the one before, not at a number of rows: so a task
        that is added or deleted meanwhile neither shifts one out of the pages nor into two.

        Args:
            project_id: Which project.
            include: Fields of tasks; the fields of annotations, too, where those are asked for.
            where: Conditions that all must hold.
            after: Only tasks with a larger id.
            page_size: Tasks in memory at once.
        """
        where = tuple(where)
        while True:
            conditions = (Condition("id", "greater", "Number", after), *where)
            answer = self._page(project_id, include, conditions, "tasks:id", page_size)
            page = answer["tasks"]
            if page:
                yield page
                after = page[-1]["id"]
            if len(page) >= int(answer["total"]) or not page:
                return

    def newest(self, project_id: int) -> str | None:
        """Return when a task was last changed, by the server's clock; None without tasks."""
        answer = self._page(project_id, ("id", "updated_at"), (), "-tasks:updated_at", 1)
        return str(answer["tasks"][0]["updated_at"]) if answer["tasks"] else None

    def last_task(self, project_id: int) -> int:
        """Return the largest id of a task; 0 without tasks."""
        answer = self._page(project_id, ("id",), (), "-tasks:id", 1)
        return int(answer["tasks"][0]["id"]) if answer["tasks"] else 0

    def _page(
        self,
        project_id: int,
        include: Sequence[str],
        where: Iterable[Condition],
        order: str,
        page_size: int,
    ) -> Json:
        query: Json = {"ordering": [order]}
        items = [one.to_json() for one in where]
        if items:
            query["filters"] = {"conjunction": "and", "items": items}
        params = {
            "project": project_id,
            "page_size": page_size,
            "query": json.dumps(query),
            "include": ",".join(include),
            "fields": "all" if "annotations" in include else "task_only",
            "resolve_uri": "false",  # else cloud addresses come back signed
        }
        return self._json("list the tasks", "GET", "api/tasks/", params=params)

    def import_tasks(self, project_id: int, body: bytes) -> int:
        """Import a JSON array of tasks, all or none of it, and return how many they were.

        Raises:
            UnsureError: It may have been done all the same. Look before it is repeated.
            TooLargeError: Send fewer at once.
        """
        answer = self._json(
            "import tasks",
            "POST",
            f"api/projects/{project_id}/import",
            params={"commit_to_project": "true"},
            content=body,
            repeatable=False,
        )
        return int(answer.get("task_count", 0))

    def delete_tasks(self, project_id: int, task_ids: Sequence[int]) -> None:
        """Delete tasks and all that belongs to them."""
        self._json(
            "delete tasks",
            "POST",
            "api/dm/actions",
            params={"project": project_id, "id": "delete_tasks"},
            body={"selectedItems": {"all": False, "included": list(task_ids)}},
        )

    def people(self) -> dict[int, str]:
        """Return what annotators are called, by their number; nobody where that is a secret."""
        try:
            found = self._json("list the users", "GET", "api/users/")
        except DeniedError:
            return {}
        rows = found["results"] if isinstance(found, Mapping) else found
        return {
            int(one["id"]): str(one.get("username") or one.get("email") or one["id"])
            for one in rows
        }

    def me(self) -> str:
        """Return whose token it is; a wrong one is refused here."""
        return str(self._json("log in", "GET", "api/current-user/whoami")["email"])

    # Images

    def fetch(self, path: str) -> bytes | None:
        """Return a file by its path on the server, such as an image; None if it serves none."""
        try:
            return self._attempt("fetch an image", lambda: self._send("GET", path).content)
        except (GoneError, DeniedError):
            return None

    def document_root(self, project_id: int) -> str | None:
        """Return the folder that the server serves files from; None where it serves none.

        No request asks for it, but a refusal names it: nobody may serve files from `/`.
        """
        try:
            self._json(
                "ask for the document root",
                "POST",
                "api/storages/localfiles/validate",
                body={"project": project_id, "path": "/"},
            )
        except (RefusedError, DeniedError, GoneError) as error:
            named = _ROOT.search(str(error))
            return named[1] if named else None
        return None

    def storages(self, project_id: int) -> list[str]:
        """Return the folders that a project may serve files from."""
        rows = self._attempt(
            "list the storage connections",
            lambda: self._sdk.import_storage.local.list(project=project_id),
        )
        return [str(one.path) for one in rows if one.path]

    def add_storage(self, project_id: int, path: str) -> None:
        """Let a project serve files from a folder and those below it."""
        self._attempt(
            "add a storage connection",
            lambda: self._sdk.import_storage.local.create(
                project=project_id, path=path, title=f"images in {path}", use_blob_urls=True
            ),
        )

    def uploads(self, project_id: int) -> list[Json]:
        """Return what was uploaded: `id`, `file` (a path) and `size` of each."""
        return list(
            self._json(
                "list the uploads",
                "GET",
                f"api/projects/{project_id}/file-uploads",
                params={"all": "true"},
            )
        )

    def upload(self, project_id: int, files: Sequence[tuple[str, Path]]) -> None:
        """Upload images, each under a name; they become no tasks. At most `FILES_AT_ONCE`.

        Raises:
            UnsureError: They may be there all the same.
            LabelingError: One cannot be read, or the server does not take them.
        """
        with ExitStack() as opened:
            form: dict[str, tuple[str, Any, str]] = {}
            for i, (name, path) in enumerate(files):
                # A field each: of several files under one name, the server keeps the last.
                form[f"file{i}"] = (name, opened.enter_context(_open(path)), "image/*")
            self._json(
                "upload images",
                "POST",
                f"api/projects/{project_id}/import",
                params={"commit_to_project": "false"},
                files=form,
                repeatable=False,
            )

    # Webhooks

    def add_webhook(self, project_id: int, url: str, actions: Sequence[str]) -> int:
        """Have the server tell an address of these events; return the webhook's number."""
        made = self._json(
            "add a webhook",
            "POST",
            "api/webhooks/",
            body={
                "project": project_id,
                "url": url,
                "send_payload": False,
                "send_for_all_actions": False,
                "actions": list(actions),
                "is_active": True,
            },
            repeatable=False,
        )
        return int(made["id"])

    def webhooks(self, project_id: int) -> dict[int, str]:
        """Return the webhooks of a project: number and address."""
        rows = self._json(
            "list the webhooks", "GET", "api/webhooks/", params={"project": project_id}
        )
        return {int(one["id"]): str(one["url"]) for one in rows}

    def remove_webhook(self, webhook_id: int) -> None:
        """Remove a webhook; one that is gone is no error."""
        try:
            self._json("remove a webhook", "DELETE", f"api/webhooks/{webhook_id}/")
        except GoneError:
            logger.info("Webhook %d was gone already.", webhook_id)

    # One request

    def _json(
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
                failure = _Failure.of(error)
            if not failure.is_transient:
                raise self._explained(what, failure)
            if not (repeatable or failure.is_undone):
                raise UnsureError(self._unsure(what, failure))
            wait_s = next(waits_s, None)
            if wait_s is None:
                raise self._explained(what, failure)
            logger.info("Could not %s: %s. Once more in %.1f s.", what, failure.words, wait_s)
            self._sleep(max(wait_s, failure.retry_after_s))

    def _unsure(self, what: str, failure: _Failure) -> str:
        return f"Label Studio at {self.url} did not say whether it could {what}: {failure.words}."

    def _explained(self, what: str, failure: _Failure) -> LabelingError:
        """Return one line: what was tried, what came, and what to do."""
        where = f"Label Studio at {self.url}"
        status, words = failure.status, failure.words
        if failure.is_disk_full:
            return LabelingError(
                f"{where} could not {what}: its disk is full. Free it there, and repeat: "
                "nothing is done twice."
            )
        if status is None or status in (502, 503, 504):
            return LabelingError(
                f"{where} does not answer ({words}). Start it, or mend {URL}, and repeat: "
                "nothing is done twice."
            )
        if status == 401:
            return LabelingError(
                f"{where} does not accept the token in {TOKEN} (401). Create a personal access "
                "token there (Account & Settings), and set it."
            )
        if status == 403:
            return DeniedError(
                f"{where} does not let this user {what} (403: {words}). Ask its administrator "
                "for the right to change the project."
            )
        if status == 404:
            return GoneError(
                f"{where} could not {what}: it is not there, or not for this user (404)."
            )
        if status == 413:
            return TooLargeError(f"{where} could not {what}: the request is too large (413).")
        if 300 <= status < 400:
            return LabelingError(f"{where} redirects ({status}). Set {URL} to where it leads.")
        kind = RefusedError if status == 400 else LabelingError
        return kind(f"{where} could not {what} ({status}: {words}).")


@dataclass(frozen=True)
class _Failure:
    """Why a request failed.

    Attributes:
        status: Of the answer; None where there was none.
        words: What the server or the network said, shortened, without headers.
        is_undone: Whether the server surely has not done what was asked for.
        retry_after_s: What the server asks to wait.
    """

    status: int | None
    words: str
    is_undone: bool
    retry_after_s: float = 0.0

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        """Return what an error of the SDK or of httpx means."""
        if isinstance(error, ApiError):
            status = error.status_code or 500
            headers = {name.lower(): value for name, value in (error.headers or {}).items()}
            return cls(
                status=status,
                words=_said(error.body),
                is_undone=status == 429,
                retry_after_s=_seconds(headers.get("retry-after", "")),
            )
        if isinstance(error, ParsingError):
            return cls(error.status_code or 200, "an answer that its SDK does not expect", False)
        if isinstance(error, json.JSONDecodeError):
            return cls(None, "the answer is no JSON: something else answers there", False)
        name = type(error).__name__
        return cls(None, f"{name}: {error}" if str(error) else name, isinstance(error, _EARLY))

    @property
    def is_disk_full(self) -> bool:
        """Whether the server has no room left."""
        words = self.words.lower()
        return self.status == 507 or any(sign in words for sign in _NO_SPACE)

    @property
    def is_transient(self) -> bool:
        """Whether the same request may work later."""
        return not self.is_disk_full and (self.status is None or self.status in _TRANSIENT)


def _said(body: Any) -> str:
    """Return the reason in an answer, in at most a line."""
    content = body
    if isinstance(body, str):
        try:
            content = json.loads(body)
        except json.JSONDecodeError:
            content = body.strip()
    if isinstance(content, Mapping):
        reasons = content.get("validation_errors") or content.get("detail") or content
        content = reasons if isinstance(reasons, str) else json.dumps(reasons, ensure_ascii=False)
    text = " ".join(str(content).split())
    if text.startswith("<"):
        text = "a page of HTML"
    return text if len(text) <= 300 else f"{text[:300]}..."


def _seconds(text: str) -> float:
    """Return a Retry-After header's seconds; 0 where it gives a date, or nothing."""
    return min(float(text), 60.0) if text.isdecimal() else 0.0


def _project(row: Json) -> Project:
    return Project(
        id=int(row["id"]),
        title=str(row.get("title") or ""),
        description=str(row.get("description") or ""),
        label_config=str(row.get("label_config") or ""),
        overlap=max(int(row.get("maximum_annotations") or 1), 1),
    )


def _words(row: Json) -> str:
    return str(row.get("description") or "")


def _open(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise LabelingError(
            f"{path}: {error.strerror or error}. Put the image back, or remove the sample."
        ) from error
