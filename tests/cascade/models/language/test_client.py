import asyncio
import gc
import threading
import time
import weakref

import pytest
from language_server import YES, LanguageServer, ServerReply

from cascade.errors import ServerError
from cascade.models.language.client import LanguageClient, Question

QUESTION = Question(
    messages=({"role": "user", "content": "Is it so?"},), schema={"type": "object"}, max_tokens=9
)


@pytest.fixture
def server():
    with LanguageServer() as made:
        yield made


@pytest.fixture
def connect(server):
    """Return a factory of clients of the server, which are closed afterwards."""
    made = []

    def make(url=None, **options):
        options = {"timeout_s": 5.0, "cooldown_s": 60.0} | options
        made.append(LanguageClient(url=url or server.url, model="tiny", **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


def always(**options):
    return lambda number, request: ServerReply(**options)


def in_turn(*replies):
    return lambda number, request: replies[min(number, len(replies) - 1)]


def test_question_reaches_server_unchanged(server, connect):
    (reply,) = connect().ask_all([QUESTION])
    assert reply.text == YES
    (request,) = server.requests
    assert request["messages"] == [{"role": "user", "content": "Is it so?"}]
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("tiny", 9, 0)
    assert request["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert request["logprobs"] is True


def test_submitted_question_is_answered(server, connect):
    client = connect(retries=0)
    assert client.submit(QUESTION).result(5).text == YES
    server.stop()
    with pytest.raises(ServerError, match="did not answer"):
        client.submit(QUESTION).result(5)


def test_canceled_question_frees_slot(server, connect):
    arrived, released = threading.Event(), threading.Event()

    def hang(number, _):
        if number == 0:
            arrived.set()
            released.wait(10)
        return ServerReply()

    server.respond = hang
    client = connect(concurrency=1)
    first, second = client.submit(QUESTION), client.submit(QUESTION)
    assert arrived.wait(5)
    assert not second.done()
    first.cancel()
    assert second.result(5).text == YES
    released.set()


def test_no_questions_send_no_requests(server, connect):
    assert connect().ask_all([]) == []
    assert server.requests == []


def test_reply_contains_probabilities(server, connect):
    server.respond = always(text="yes", tokens=(("yes", {"yes": -0.1, "no": -2.5}),))
    (reply,) = connect().ask_all([QUESTION])
    assert reply.tokens[0].text == "yes"
    assert dict(reply.tokens[0].alternatives) == {"yes": -0.1, "no": -2.5}


def test_token_is_among_its_alternatives(server, connect):
    server.respond = always(text="yes", tokens=(("yes", {"no": -2.5}),))
    (reply,) = connect().ask_all([QUESTION])
    assert dict(reply.tokens[0].alternatives) == {"yes": 0.0, "no": -2.5}


def test_replies_keep_order_of_questions(server, connect):
    server.respond = lambda number, request: ServerReply(
        text=request["messages"][0]["content"], after_s=0.05 if number % 2 else 0.0
    )
    questions = [
        Question(({"role": "user", "content": f"{i}"},), schema={}, max_tokens=9) for i in range(12)
    ]
    assert [reply.text for reply in connect().ask_all(questions)] == [f"{i}" for i in range(12)]


def test_concurrency_is_bounded(server, connect):
    server.respond = always(after_s=0.1)
    connect(concurrency=6).ask_all([QUESTION] * 24)
    assert server.max_in_flight == 6


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(
            ServerReply(status=500, body=b'{"error": {"message": "oops"}}'), id="an error"
        ),
        pytest.param(ServerReply(status=503, body=b"<html>no</html>"), id="a proxy's error"),
        pytest.param(
            ServerReply(status=429, headers={"retry-after": "0.05"}), id="too many requests"
        ),
        pytest.param(ServerReply(hangs_up=True), id="a connection that is cut"),
        pytest.param(ServerReply(after_s=1.0), id="a slow answer"),
        pytest.param(ServerReply(byte_pause_s=0.05), id="an answer that comes byte by byte"),
    ],
)
def test_transient_failures_are_retried(server, connect, trouble):
    server.respond = in_turn(trouble, ServerReply())
    (reply,) = connect(timeout_s=0.5).ask_all([QUESTION])
    assert reply.text == YES
    assert len(server.requests) == 2


GARBAGE = [
    pytest.param(b"<html>Welcome</html>", {"content-type": "text/html"}, id="a web page"),
    pytest.param(b"<html>Welcome</html>", {}, id="a web page that says it is JSON"),
    pytest.param(b"{", {}, id="half a JSON"),
    pytest.param(b"[]", {}, id="a list"),
    pytest.param(b"null", {}, id="nothing"),
    pytest.param(b"\xff\xfe\xfd", {}, id="bytes"),
    pytest.param(b"{}", {}, id="an empty object"),
    pytest.param(b'{"choices": []}', {}, id="no choice"),
    pytest.param(b'{"choices": [{}]}', {}, id="no message"),
    pytest.param(b'{"choices": [3]}', {}, id="a number"),
    pytest.param(
        b'{"choices": [{"message": {"content": "x"}, "logprobs": {"content": [{}]}}]}', {},
        id="a token without text",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("body", "headers"), GARBAGE)
def test_invalid_answer_is_server_error(server, connect, body, headers):
    server.respond = always(body=body, headers=headers)
    (reply,) = connect(retries=0).ask_all([QUESTION])
    assert isinstance(reply, ServerError)
    assert "not that of a language server" in str(reply)


def test_retries_are_bounded(server, connect):
    server.respond = always(status=500, body=b"{}")
    (reply,) = connect(retries=1).ask_all([QUESTION])
    assert isinstance(reply, ServerError)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_refusal_is_not_retried_and_has_reason(server, connect, status):
    server.respond = always(status=status, body=b'{"error": {"message": "no such model"}}')
    client = connect(failures=1)
    (reply,) = client.ask_all([QUESTION])
    assert f"status {status}" in str(reply)
    assert "no such model" in str(reply)
    assert len(server.requests) == 1
    assert client.breaker.state == "closed"  # a server that refuses is alive


def test_one_failure_does_not_affect_other_replies(server, connect):
    server.respond = lambda number, request: ServerReply(status=400 if number == 3 else 200)
    replies = connect(concurrency=1).ask_all([QUESTION] * 6)
    assert [isinstance(reply, ServerError) for reply in replies] == [i == 3 for i in range(6)]


def test_dead_server_is_paused(server, connect):
    client = connect(failures=4)
    server.stop()
    began = time.monotonic()
    replies = client.ask_all([QUESTION] * 200)
    assert all(isinstance(reply, ServerError) for reply in replies)
    assert client.breaker.state == "open"
    assert time.monotonic() - began < 3
    began = time.monotonic()
    (reply,) = client.ask_all([QUESTION])
    assert time.monotonic() - began < 0.1
    assert "is paused for" in str(reply)
    assert "no connection" in str(reply)


def test_hanging_server_costs_one_timeout(server, connect):
    server.respond = always(after_s=3.0)
    client = connect(timeout_s=0.4, failures=4, concurrency=8)
    began = time.monotonic()
    replies = client.ask_all([QUESTION] * 100)
    assert all(isinstance(reply, ServerError) for reply in replies)
    assert time.monotonic() - began < 2.5
    assert len(server.requests) <= 8


def test_recovered_server_is_used_again(server, connect):
    client = connect(failures=2, cooldown_s=0.3)
    server.stop()
    client.ask_all([QUESTION] * 4)
    server.start()
    assert isinstance(client.ask_all([QUESTION])[0], ServerError)
    time.sleep(0.3)
    replies = client.ask_all([QUESTION] * 20)
    assert [reply.text for reply in replies] == [YES] * 20  # none is lost during the probe


def test_key_is_sent_but_not_shown(server, connect, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    body = b'{"error": {"message": "the key sk-very-secret is not known"}}'
    server.respond = always(status=401, body=body)
    caplog.set_level("DEBUG")
    (reply,) = connect(key_variable="MY_KEY").ask_all([QUESTION])
    assert server.headers[0]["authorization"] == "Bearer sk-very-secret"
    assert "the key *** is not known" in str(reply)
    assert "sk-very-secret" not in caplog.text


def test_openai_account_is_not_sent_to_other_servers(server, connect, monkeypatch):
    private = {
        "OPENAI_API_KEY": "sk-private", "OPENAI_ADMIN_KEY": "sk-private",
        "OPENAI_ORG_ID": "org-private", "OPENAI_PROJECT_ID": "proj-private",
    }  # fmt: skip
    for name, value in private.items():
        monkeypatch.setenv(name, value)
    connect().ask_all([QUESTION])
    assert "private" not in str(server.headers)


def test_password_in_url_is_not_shown(server, connect):
    client = connect(url=f"http://me:hunter2@127.0.0.1:{server.port}/v1", retries=0)
    server.stop()
    (reply,) = client.ask_all([QUESTION])
    assert f"http://127.0.0.1:{server.port}/v1" in str(reply)
    assert "hunter2" not in str(reply)


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "ftp://x/v1", "http://", "http://x:port"])
def test_invalid_url_is_refused(url):
    with pytest.raises(ServerError, match="URL"):
        LanguageClient(url=url, model="tiny")


def test_client_works_within_running_loop(connect):
    async def notebook():
        return connect().ask_all([QUESTION])

    assert [reply.text for reply in asyncio.run(notebook())] == [YES]


def test_closed_client_has_no_thread(server):
    client = LanguageClient(url=server.url, model="tiny")
    client.ask_all([QUESTION])
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    assert "requests" not in [thread.name for thread in threading.enumerate()]
