import json
import os
import sys

import pytest

from cascade.errors import ManifestError, ServerError
from cascade.manifest import Member
from cascade.serving import vllm
from cascade.serving.vllm import Plan

QWEN = "Qwen/Qwen3-VL-4B-Instruct"


def member(adapter="vision_language", tier="language", source=None, **params):
    return Member(
        name="vlm", tier=tier, adapter=adapter, license="Apache-2.0", source=source,
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


def test_plan_matches_the_requests_of_the_adapter():
    plan = vllm.plan(member(model=QWEN, crops=2, max_side_px=560, concurrency=7), port=8123)
    assert (plan.model, plan.served_name, plan.revision) == (QWEN, QWEN, "abc123")
    assert (plan.images, plan.max_side_px, plan.concurrency) == (3, 560, 7)
    assert plan.url == "http://127.0.0.1:8123/v1"


PORTS = [
    pytest.param(None, None, 8000, id="default of vLLM"),
    pytest.param("http://127.0.0.1:8001/v1", None, 8001, id="server of the member"),
    pytest.param("http://127.0.0.1:8001/v1", 8123, 8123, id="argument"),
    pytest.param("http://localhost/v1", None, 8000, id="server without a port"),
]


@pytest.mark.parametrize(("server", "port", "expected"), PORTS)
def test_plan_port(server, port, expected):
    assert vllm.plan(member(model=QWEN, server=server), port=port).port == expected


@pytest.mark.parametrize(("crops", "tokens"), [(0, 3072), (1, 4096), (4, 8192)])
def test_context_covers_images_text_and_answer(crops, tokens):
    assert vllm.plan(member(model=QWEN, crops=crops)).context_tokens == tokens


def test_source_and_served_name_may_differ():
    assert vllm.plan(member(source="hub:Org/Model", model="mine")).model == "Org/Model"
    assert vllm.plan(member(source="/models/mine", model="mine")).served_name == "mine"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (member(adapter="center_point", tier="detection"), "needs no server"),
        (member(), "params.model"),
    ],
)
def test_plan_of_a_member_without_server_raises(wrong, message):
    with pytest.raises(ManifestError, match=message):
        vllm.plan(wrong)


def test_command_for_a_gpu():
    words = vllm.command(Plan(QWEN, "fast", revision="abc", gpus=2, images=3), "/opt/vllm")
    assert words[:3] == ["/opt/vllm", "serve", QWEN]
    options = flags(words)
    assert options["--served-model-name"] == "fast"
    assert options["--host"] == "127.0.0.1"
    assert options["--revision"] == "abc"
    assert options["--tensor-parallel-size"] == "2"
    assert options["--gpu-memory-utilization"] == "0.9"
    limits = json.loads(options["--limit-mm-per-prompt"])
    assert limits == {"image": {"count": 3, "width": 1024, "height": 1024}, "video": 0}
    assert json.loads(options["--mm-processor-kwargs"]) == {"max_pixels": 1024 * 1024}
    assert json.loads(options["--structured-outputs-config"])["disable_any_whitespace"] is True
    assert "--enforce-eager" not in options


def test_command_for_a_cpu():
    plan = Plan("/models/tiny", "tiny", device="cpu")
    options = flags(vllm.command(plan))
    assert options["--dtype"] == "bfloat16"
    assert "--enforce-eager" in options
    assert not {"--gpu-memory-utilization", "--revision", "--mm-processor-kwargs"} & set(options)
    assert vllm.server_environment(plan, {})["VLLM_CPU_KVCACHE_SPACE"] == "4"
    assert "VLLM_TARGET_DEVICE" not in vllm.server_environment(Plan(QWEN, "fast"), {})


def test_command_uses_no_removed_flag():
    removed = {
        "--speculative-model", "--num-speculative-tokens", "--guided-decoding-backend",
        "--use-v2-block-manager", "--task", "--speculative-config",
    }  # fmt: skip
    for device in ("cpu", "gpu"):
        plan = Plan(QWEN, "fast", revision="abc", gpus=2, device=device)
        assert not removed & set(flags(vllm.command(plan)))


def test_key_is_passed_in_the_environment():
    plan = Plan(QWEN, "fast")
    environment = {"PATH": "/bin", "CURATION_VLM_API_KEY": "sk-secret"}
    variables = vllm.server_environment(plan, environment)
    assert variables["VLLM_API_KEY"] == "sk-secret"
    assert variables["PATH"] == "/bin"
    assert "sk-secret" not in " ".join(vllm.command(plan))
    assert "VLLM_API_KEY" not in vllm.server_environment(plan, {})


@pytest.fixture
def stand_in(tmp_path):
    """Return a function that writes a script under vLLM's name."""

    def make(script, name="vllm"):
        path = tmp_path / name
        path.write_text(f"#!{sys.executable}\n{script}")
        path.chmod(0o755)
        return str(path)

    return make


def test_find_executable_by_argument_variable_and_path(stand_in, monkeypatch):
    path = stand_in("")
    assert vllm.find_executable(path) == path
    monkeypatch.setenv("CURATION_VLLM", path)
    assert vllm.find_executable() == path
    monkeypatch.delenv("CURATION_VLLM")
    monkeypatch.setenv("PATH", os.path.dirname(path))
    assert vllm.find_executable() == path


def test_missing_executable_error_says_how_to_install(monkeypatch, tmp_path):
    monkeypatch.delenv("CURATION_VLLM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerError, match="pip install vllm"):
        vllm.find_executable()
