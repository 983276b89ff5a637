"""Planner and vision model on a real HTTP server with an OpenAI-compatible API."""

import json
import threading
import time

import cv2
import numpy as np
import pytest
from adjudication_cases import TAXONOMY, case, look, turn, verdict
from language_server import LanguageServer, ServerReply, images_of, text_of

from cascade.adjudication.adjudicate import adjudicate
from cascade.adjudication.limits import Bounds
from cascade.adjudication.openai_backend import ServedPlanner, ServedVisionModel
from cascade.adjudication.tools import schema
from cascade.models.language.client import LanguageClient


def is_look(request):
    return isinstance(request["messages"][-1]["content"], list)


class Play:
    """Scripts the server: two concurrent looks, then a verdict with their probability."""

    def __init__(self):
        self.barrier = threading.Barrier(2)

    def __call__(self, number, request):
        if is_look(request):
            self.barrier.wait(10)
            return ServerReply('{"answer":"yes","reason":"Orange."}', tokens=_yes(0.75))
        if len(request["messages"]) == 2:
            return ServerReply(turn(look("o1"), look("o2")))
        results = json.loads(request["messages"][-1]["content"])["results"]
        return ServerReply(verdict(results[0]["p_yes"]), tokens=(("x", {}),) * 5)


def _yes(p):
    return (
        ('{"answer":"', {}),
        ("yes", {"yes": np.log(p), "no": np.log(1 - p)}),
        ('","reason":"Orange."}', {}),
    )


@pytest.fixture
def server():
    with LanguageServer(Play()) as server:
        yield server


@pytest.fixture
def models(server):
    """Planner and vision model on separate clients."""
    clients = [
        LanguageClient(url=server.url, model=name, timeout_s=10, retries=0)
        for name in ("planner", "vision")
    ]
    yield ServedPlanner(clients[0]), ServedVisionModel(clients[1])
    for client in clients:
        client.close()


def test_case_is_settled_over_http(server, models):
    (result,) = adjudicate([case()], *models)
    assert result.outcome == "verdict"
    assert result.p_yes == pytest.approx(0.75)
    assert [request["model"] for request in server.requests] == [
        "planner", "vision", "vision", "planner",
    ]  # fmt: skip
    assert [(step.operation, step.tokens) for step in result.trace.steps] == [
        ("reply", None), ("look", None), ("look", None), ("reply", 5),
    ]  # fmt: skip
    first, second, *_ = server.requests
    assert first["response_format"]["json_schema"]["schema"] == schema(TAXONOMY)
    assert json.loads(text_of(second)) == {"question": "Is it a cone?"}


def test_vision_model_gets_only_the_crop(server, models):
    adjudicate([case()], *models)
    looks = [request for request in server.requests if is_look(request)]
    assert [len(images_of(request)) for request in looks] == [1, 1]
    means = []
    for request in looks:
        (encoded,) = images_of(request)
        crop = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        assert min(crop.shape[:2]) > 200  # 32 pixels of the image, enlarged eightfold
        means.append(crop.mean())
    assert sorted(mean > 80 for mean in means) == [False, True]  # the white box, the black one


def test_models_are_reusable(server, models):
    """Their connections survive the event loop of the first call."""
    for _ in range(3):
        assert adjudicate([case()], *models)[0].outcome == "verdict"


def test_stopped_server_falls_back_to_weighted_mean(server, models):
    server.stop()
    results = adjudicate([case(), case()], *models)
    assert [(result.p_yes, result.outcome) for result in results] == [(0.4, "server")] * 2
    assert "did not answer" in results[0].reason


def test_hanging_server_times_out(server, models):
    released = threading.Event()

    def hang(number, request):
        released.wait(10)
        return ServerReply(verdict(0.9))

    server.respond = hang
    start = time.monotonic()
    (result,) = adjudicate([case()], *models, Bounds(wall_s=0.3))
    assert time.monotonic() - start < 5
    released.set()
    assert (result.p_yes, result.outcome) == (0.4, "wall_time")


def test_cancelled_question_closes_its_connection(server, models):
    received, released = threading.Event(), threading.Event()

    def hang(number, _):
        received.set()
        released.wait(10)
        return ServerReply(verdict(0.9))

    server.respond = hang
    (result,) = adjudicate([case()], *models, Bounds(wall_s=0.3))
    assert result.outcome == "wall_time"
    assert received.is_set()
    assert server.is_hung_up(within_s=5)
    released.set()


def test_cases_are_in_flight_concurrently(server, models):
    server.respond = lambda number, request: ServerReply(verdict(0.9), after_s=0.2)
    results = adjudicate([case()] * 12, *models, concurrency=12)
    assert {result.outcome for result in results} == {"verdict"}
    assert server.max_in_flight >= 8
