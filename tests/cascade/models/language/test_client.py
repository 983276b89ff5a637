import asyncio
import gc
import threading
import time
import weakref

import pytest
from language_server import YES, LanguageServer, Told

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
    """Return the maker of clients of the server; they are closed afterwards."""
    made = []

    def make(url=None, **options):
        options = {"timeout_s": 5.0, "cooldown_s": 60.0} | options
        made.append(LanguageClient(url=url or server.url, model="tiny", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def always(**told):
    return lambda number, asked: Told(**told)


def in_turn(*told):
    return lambda number, asked: told[min(number, len(told) - 1)]


def test_a_question_reaches_the_server_as_it_was_asked(server, connect):
    (reply,) = connect().ask_all([QUESTION])
    assert reply.text == YES
    (asked,) = server.requests
    assert asked["messages"] == [{"role": "user", "content": "Is it so?"}]
    assert (asked["model"], asked["max_tokens"], asked["temperature"]) == ("tiny", 9, 0)
    assert asked["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert asked["logprobs"] is True


def test_a_submitted_question_is_answered_as_the_others_are(server, connect):
    client = connect(retries=0)
    assert client.submit(QUESTION).result(5).text == YES
    server.stop()
    with pytest.raises(ServerError, match="did not answer"):
        client.submit(QUESTION).result(5)


def test_a_cancelled_question_frees_its_slot(server, connect):
    asked, released = threading.Event(), threading.Event()

    def hang(number, _):
        if number == 0:
            asked.set()
            released.wait(10)
        return Told()

    server.tell = hang
    client = connect(concurrency=1)
    first, second = client.submit(QUESTION), client.submit(QUESTION)
    assert asked.wait(5)
    assert not second.done()
    first.cancel()
    assert second.result(5).text == YES
    released.set()


def test_no_question_asks_nothing(server, connect):
    assert connect().ask_all([]) == []
    assert server.requests == []


def test_probabilities_come_along(server, connect):
    server.tell = always(text="yes", tokens=(("yes", {"yes": -0.1, "no": -2.5}),))
    (reply,) = connect().ask_all([QUESTION])
    assert reply.tokens[0].text == "yes"
    assert dict(reply.tokens[0].alternatives) == {"yes": -0.1, "no": -2.5}


def test_a_token_is_among_its_own_alternatives(server, connect):
    server.tell = always(text="yes", tokens=(("yes", {"no": -2.5}),))
    (reply,) = connect().ask_all([QUESTION])
    assert dict(reply.tokens[0].alternatives) == {"yes": 0.0, "no": -2.5}


def test_replies_keep_the_order_of_the_questions(server, connect):
    server.tell = lambda number, asked: Told(
        text=asked["messages"][0]["content"], after_s=0.05 if number % 2 else 0.0
    )
    asked = [
        Question(({"role": "user", "content": f"{i}"},), schema={}, max_tokens=9) for i in range(12)
    ]
    assert [one.text for one in connect().ask_all(asked)] == [f"{i}" for i in range(12)]


def test_as_many_as_allowed_are_in_flight_and_no_more(server, connect):
    server.tell = always(after_s=0.1)
    connect(concurrency=6).ask_all([QUESTION] * 24)
    assert server.most_at_once == 6


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(Told(status=500, body=b'{"error": {"message": "oops"}}'), id="an error"),
        pytest.param(Told(status=503, body=b"<html>no</html>"), id="a proxy's error"),
        pytest.param(Told(status=429, headers={"retry-after": "0.05"}), id="too many requests"),
        pytest.param(Told(hangs_up=True), id="a connection that is cut"),
        pytest.param(Told(after_s=1.0), id="a slow answer"),
        pytest.param(Told(drips_s=0.05), id="an answer that comes byte by byte"),
    ],
)
def test_what_passes_is_tried_again(server, connect, trouble):
    server.tell = in_turn(trouble, Told())
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
def test_garbage_is_an_error_of_the_server(server, connect, body, headers):
    server.tell = always(body=body, headers=headers)
    (reply,) = connect(retries=0).ask_all([QUESTION])
    assert isinstance(reply, ServerError)
    assert "not that of a language server" in str(reply)


def test_retries_are_bounded(server, connect):
    server.tell = always(status=500, body=b"{}")
    (reply,) = connect(retries=1).ask_all([QUESTION])
    assert isinstance(reply, ServerError)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_refusal_is_not_tried_again_and_says_why(server, connect, status):
    server.tell = always(status=status, body=b'{"error": {"message": "no such model"}}')
    client = connect(failures=1)
    (reply,) = client.ask_all([QUESTION])
    assert f"status {status}" in str(reply)
    assert "no such model" in str(reply)
    assert len(server.requests) == 1
    assert client.breaker.state == "closed"  # a server that refuses is alive


def test_one_failure_leaves_the_other_replies_alone(server, connect):
    server.tell = lambda number, asked: Told(status=400 if number == 3 else 200)
    replies = connect(concurrency=1).ask_all([QUESTION] * 6)
    assert [isinstance(one, ServerError) for one in replies] == [i == 3 for i in range(6)]


def test_a_dead_server_is_soon_not_asked_any_more(server, connect):
    client = connect(failures=4)
    server.stop()
    began = time.monotonic()
    replies = client.ask_all([QUESTION] * 200)
    assert all(isinstance(one, ServerError) for one in replies)
    assert client.breaker.state == "open"
    assert time.monotonic() - began < 3
    began = time.monotonic()
    (reply,) = client.ask_all([QUESTION])
    assert time.monotonic() - began < 0.1
    assert "is paused for" in str(reply)
    assert "no connection" in str(reply)


def test_a_server_that_hangs_costs_one_timeout(server, connect):
    server.tell = always(after_s=3.0)
    client = connect(timeout_s=0.4, failures=4, concurrency=8)
    began = time.monotonic()
    replies = client.ask_all([QUESTION] * 100)
    assert all(isinstance(one, ServerError) for one in replies)
    assert time.monotonic() - began < 2.5
    assert len(server.requests) <= 8


def test_a_server_that_is_back_is_asked_again(server, connect):
    client = connect(failures=2, cooldown_s=0.3)
    server.stop()
    client.ask_all([QUESTION] * 4)
    server.start()
    assert isinstance(client.ask_all([QUESTION])[0], ServerError)
    time.sleep(0.3)
    replies = client.ask_all([QUESTION] * 20)
    assert [one.text for one in replies] == [YES] * 20  # none is lost while one feels its way


def test_the_key_is_sent_and_never_shown(server, connect, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    body = b'{"error": {"message": "the key sk-very-secret is not known"}}'
    server.tell = always(status=401, body=body)
    caplog.set_level("DEBUG")
    (reply,) = connect(key_variable="MY_KEY").ask_all([QUESTION])
    assert server.headers[0]["authorization"] == "Bearer sk-very-secret"
    assert "the key *** is not known" in str(reply)
    assert "sk-very-secret" not in caplog.text


def test_an_account_at_openai_is_not_shown_to_other_servers(server, connect, monkeypatch):
    private = {
        "OPENAI_API_KEY": "sk-private", "OPENAI_ADMIN_KEY": "sk-private",
        "OPENAI_ORG_ID": "org-private", "OPENAI_PROJECT_ID": "proj-private",
    }  # fmt: skip
    for name, value in private.items():
        monkeypatch.setenv(name, value)
    connect().ask_all([QUESTION])
    assert "private" not in str(server.headers)


def test_a_password_in_the_address_is_not_shown(server, connect):
    client = connect(url=f"http://me:hunter2@127.0.0.1:{server.port}/v1", retries=0)
    server.stop()
    (reply,) = client.ask_all([QUESTION])
    assert f"http://127.0.0.1:{server.port}/v1" in str(reply)
    assert "hunter2" not in str(reply)


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "ftp://x/v1", "http://", "http://x:port"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ServerError, match="URL"):
        LanguageClient(url=url, model="tiny")


def test_it_works_within_a_running_loop(connect):
    async def notebook():
        return connect().ask_all([QUESTION])

    assert [one.text for one in asyncio.run(notebook())] == [YES]


def test_it_leaves_no_thread_behind(server):
    client = LanguageClient(url=server.url, model="tiny")
    client.ask_all([QUESTION])
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    assert "requests" not in [one.name for one in threading.enumerate()]
