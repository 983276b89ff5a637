import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

LANGUAGE = """
name: talkative
members:
  - {name: vlm_a, tier: language, adapter: vision_language, license: Apache-2.0,
     params: {model: Org/A}}
  - {name: vlm_b, tier: language, adapter: vision_language, license: Apache-2.0,
     params: {model: Org/B}}
"""


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "talkative.yaml"
    path.write_text(LANGUAGE)
    return path


def test_print_only_prints_command(home, manifest):
    words = ("serve", "vlm_b", "-m", manifest, "--print", "--device", "cpu", "--port", 8123)
    (line,) = home.curate(*words).out.splitlines()
    assert re.search(r"VLLM_TARGET_DEVICE=cpu .*vllm serve Org/B .*--port 8123", line)


def test_member_is_required_if_there_are_several(home, manifest):
    error = home.curate("serve", "-m", manifest, code=1).err
    assert "Name the language member of 'talkative' to serve: vlm_a, vlm_b." in error


def test_manifest_without_language_member_is_refused(home):
    assert "has no language member" in home.curate("serve", "-m", "tiny", code=1).err


def test_missing_vllm_advises_installation(home, manifest):
    error = home.curate("serve", "vlm_a", "-m", manifest, "--vllm", "no-such-vllm", code=1).err
    assert "Cannot find the command 'no-such-vllm'" in error
    assert "pip install vllm" in error


def test_running_server_is_not_started_again(home, manifest):
    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port
        words = ("serve", "vlm_a", "-m", manifest, "--vllm", "/bin/true", "--port", port)
        assert "answers at" in home.curate(*words, code=1).err
        server.shutdown()


def test_process_becomes_vllm(home, manifest, tmp_path):
    stand_in = tmp_path / "vllm"
    stand_in.write_text('#!/bin/sh\necho "$VLLM_HOST_IP $2"\nexit 7\n')
    stand_in.chmod(0o755)
    done = home.curate("serve", "vlm_a", "-m", manifest, "--vllm", stand_in, "--port", 1, code=7)
    assert done.out.splitlines()[-1] == "127.0.0.1 Org/A"
