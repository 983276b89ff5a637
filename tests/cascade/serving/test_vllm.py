import json
import os
import socket
import subprocess
import sys
import time

import pytest

from cascade.errors import ManifestError, ServerError
from cascade.manifest import Member
from cascade.serving import vllm
from cascade.serving.vllm import Load, Plan

QWEN = "Qwen/Qwen3-VL-4B-Instruct"


def member(adapter="vision_language", tier="language", source=None, **params):
    return Member(
        name="vlm", tier=tier, adapter=adapter, licence="Apache-2.0", source=source,
        revision="abc123", params=params,
    )  # fmt: skip


def flags(words):
    """Return the options of a command with their values."""
    pairs = zip(words, [*words[1:], "--"], strict=True)
    return {
        word: None if value.startswith("--") else value
        for word, value in pairs
        if word.startswith("--")
    }


def test_a_member_is_served_as_its_adapter_asks():
    plan = vllm.plan(member(model=QWEN, crops=2, max_side_px=560, concurrency=7), port=8123)
    assert (plan.model, plan.served_name, plan.revision) == (QWEN, QWEN, "abc123")
    assert (plan.images, plan.max_side_px, plan.concurrency) == (3, 560, 7)
    assert plan.url == "http://127.0.0.1:8123/v1"


PORTS = [
    pytest.param(None, None, 8000, id="vLLM's own"),
    pytest.param("http://127.0.0.1:8001/v1", None, 8001, id="the member's server's"),
    pytest.param("http://127.0.0.1:8001/v1", 8123, 8123, id="as asked"),
    pytest.param("http://localhost/v1", None, 8000, id="a server without a port"),
]


@pytest.mark.parametrize(("server", "asked", "expected"), PORTS)
def test_a_member_is_served_where_its_adapter_looks(server, asked, expected):
    assert vllm.plan(member(model=QWEN, server=server), port=asked).port == expected


@pytest.mark.parametrize(("crops", "tokens"), [(0, 3072), (1, 4096), (4, 8192)])
def test_the_context_holds_the_images_the_words_and_the_answer(crops, tokens):
    assert vllm.plan(member(model=QWEN, crops=crops)).context_tokens == tokens


def test_a_folder_or_hub_id_may_have_another_served_name():
    assert vllm.plan(member(source="hub:Org/Model", model="mine")).model == "Org/Model"
    assert vllm.plan(member(source="/models/mine", model="mine")).served_name == "mine"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (member(adapter="center_point", tier="detection"), "needs no server"),
        (member(), "params.model"),
    ],
)
def test_a_member_that_cannot_be_served_is_refused(wrong, message):
    with pytest.raises(ManifestError, match=message):
        vllm.plan(wrong)


def test_the_command_for_a_gpu():
    words = vllm.command(Plan(QWEN, "fast", revision="abc", gpus=2, images=3), "/opt/vllm")
    assert words[:3] == ["/opt/vllm", "serve", QWEN]
    given = flags(words)
    assert given["--served-model-name"] == "fast"
    assert given["--host"] == "127.0.0.1"
    assert given["--revision"] == "abc"
    assert given["--tensor-parallel-size"] == "2"
    assert given["--gpu-memory-utilization"] == "0.9"
    limits = json.loads(given["--limit-mm-per-prompt"])
    assert limits == {"image": {"count": 3, "width": 1024, "height": 1024}, "video": 0}
    assert json.loads(given["--mm-processor-kwargs"]) == {"max_pixels": 1024 * 1024}
    assert json.loads(given["--structured-outputs-config"])["disable_any_whitespace"] is True
    assert "--enforce-eager" not in given


def test_the_command_for_a_cpu():
    plan = Plan("/models/tiny", "tiny", device="cpu")
    given = flags(vllm.command(plan))
    assert given["--dtype"] == "bfloat16"
    assert "--enforce-eager" in given
    assert not {"--gpu-memory-utilization", "--revision", "--mm-processor-kwargs"} & set(given)
    assert vllm.environment(plan)["VLLM_CPU_KVCACHE_SPACE"] == "4"
    assert "VLLM_TARGET_DEVICE" not in vllm.environment(Plan(QWEN, "fast"))


def test_no_flag_is_out_of_date():
    gone = {
        "--speculative-model", "--num-speculative-tokens", "--guided-decoding-backend",
        "--use-v2-block-manager", "--task", "--speculative-config",
    }  # fmt: skip
    for device in ("cpu", "gpu"):
        plan = Plan(QWEN, "fast", revision="abc", gpus=2, device=device)
        assert not gone & set(flags(vllm.command(plan)))


def test_the_key_goes_by_the_environment():
    plan = Plan(QWEN, "fast")
    given = {"PATH": "/bin", "CURATION_VLM_API_KEY": "sk-secret"}
    told = vllm.server_environment(plan, given)
    assert told["VLLM_API_KEY"] == "sk-secret"
    assert told["PATH"] == "/bin"
    assert "sk-secret" not in " ".join(vllm.command(plan))
    assert "VLLM_API_KEY" not in vllm.server_environment(plan, {})


@pytest.fixture
def stand_in(tmp_path):
    """Return the maker of a command that does something else under vLLM's name."""

    def make(script, name="vllm"):
        path = tmp_path / name
        path.write_text(f"#!{sys.executable}\n{script}")
        path.chmod(0o755)
        return str(path)

    return make


def test_the_command_is_found_as_asked_or_by_the_environment(stand_in, monkeypatch):
    path = stand_in("")
    assert vllm.find_executable(path) == path
    monkeypatch.setenv("CURATION_VLLM", path)
    assert vllm.find_executable() == path
    monkeypatch.delenv("CURATION_VLLM")
    monkeypatch.setenv("PATH", os.path.dirname(path))
    assert vllm.find_executable() == path


def test_an_absent_command_is_refused_with_what_to_install(monkeypatch, tmp_path):
    monkeypatch.delenv("CURATION_VLLM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerError, match="pip install vllm"):
        vllm.find_executable()


SERVES = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
    def log_message(self, *_):
        pass
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_alive(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return state.stdout.strip() not in ("", "Z", "Zs")


def test_a_server_is_stopped_with_all_that_it_started(stand_in, tmp_path):
    plan = Plan("m", "m", port=free_port())
    log = tmp_path / "log"
    with log.open("wb") as output:
        server = vllm.launch(plan, executable=stand_in(SERVES), output=output)
    try:
        server.wait_until_ready(30)
        assert vllm.is_healthy(plan.url)
        child = int(log.read_text())
        assert is_alive(child)
    finally:
        server.stop()
    assert not vllm.is_healthy(plan.url)
    until = time.monotonic() + 5
    while is_alive(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_alive(child)
    server.stop()  # a second time does nothing


def test_a_server_that_ends_at_once_is_reported(stand_in):
    server = vllm.launch(
        Plan("m", "m", port=free_port()), executable=stand_in("raise SystemExit(3)")
    )
    with pytest.raises(ServerError, match="exit code 3"):
        server.wait_until_ready(30)


def test_a_server_that_does_not_come_up_is_stopped(stand_in):
    idle = stand_in("import time; time.sleep(600)")
    server = vllm.launch(Plan("m", "m", port=free_port()), executable=idle)
    with pytest.raises(ServerError, match="not ready after 0 s"):
        server.wait_until_ready(0.1)
    assert server.process.poll() is not None


METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 2.0
vllm:num_requests_running{engine="1",model_name="tiny"} 1.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 5.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 4.0
vllm:prompt_tokens_total{engine="0",model_name="tiny"} 203.0
vllm:prompt_tokens_created{engine="0",model_name="tiny"} 1.79e+09
vllm:generation_tokens_total{engine="0",model_name="tiny"} 1.71e+02
"""


def test_metrics_are_summed_over_engines():
    assert vllm.parse_metrics(METRICS) == Load(
        running=3, waiting=5, prompt_tokens=203, generated_tokens=171
    )


def test_metrics_of_something_else_are_refused():
    with pytest.raises(ServerError, match="no metrics of vLLM"):
        vllm.parse_metrics("python_info 1.0\n")


def test_the_load_of_a_server_that_is_down_is_an_error():
    with pytest.raises(ServerError, match="cannot be read"):
        vllm.load(f"http://127.0.0.1:{free_port()}/v1")
