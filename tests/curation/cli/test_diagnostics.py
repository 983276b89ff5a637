import http.server
import threading
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cascade import manifest
from curation import settings
from curation.app import plugins
from curation.cli import diagnostics


def found(check):
    return check.status, check.detail


@pytest.mark.parametrize(
    ("version", "status"),
    [
        pytest.param((3, 11, 0), "ok", id="the oldest that we know"),
        pytest.param((3, 14, 1), "ok", id="a newer one"),
        pytest.param((3, 10, 14), "fail", id="too old"),
    ],
)
def test_python(version, status):
    assert diagnostics.check_python(version).status == status


VERSIONS = {"numpy": "2.2.6", "torch": "2.14.1"}


@pytest.mark.parametrize(
    ("requirements", "expected"),
    [
        pytest.param(["numpy>=2", "torch<2.15"], ("ok", "all 2 that are required"), id="all fit"),
        pytest.param(["pandas>=2"], ("fail", "pandas is missing"), id="one is absent"),
        pytest.param(
            ["numpy>=2.3", "pandas"],
            ("fail", "numpy is 2.2.6, not >=2.3; pandas is missing"),
            id="every problem is told at once",
        ),
        pytest.param([], ("warn", "cascade-curation itself is not installed"), id="bare checkout"),
    ],
)
def test_packages(requirements, expected):
    check = diagnostics.check_requirements(map(Requirement, requirements), VERSIONS.get)
    assert found(check) == expected
    assert (check.mend is None) == (check.status == "ok")


def test_a_package_that_is_there_but_does_not_load_is_named(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("raise RuntimeError('nms does not exist\\nmore')")
    monkeypatch.syspath_prepend(tmp_path)
    check = diagnostics.check_loading(["json", "half_installed", "not_there_at_all"])
    assert found(check) == (
        "fail",
        "half_installed: nms does not exist; not_there_at_all: No module named 'not_there_at_all'",
    )
    assert "rm -rf .venv && make install" in check.mend
    assert diagnostics.check_loading(["json"]).status == "ok"


@pytest.mark.parametrize(
    ("distributions", "status", "mend"),
    [
        pytest.param(["numpy", "opencv-python-headless"], "ok", None, id="one"),
        pytest.param(
            ["opencv-python-headless", "opencv-python"],
            "warn",
            "pip uninstall -y opencv-python opencv-python-headless",
            id="two in one folder",
        ),
        pytest.param(["numpy"], "fail", "pip install opencv-python-headless", id="none"),
        pytest.param(["opencv-python", "opencv-python"], "ok", None, id="one, listed twice"),
    ],
)
def test_opencv(distributions, status, mend):
    check = diagnostics.check_opencv(distributions)
    assert check.status == status
    assert mend is None or mend in check.mend


def test_home_is_not_made_by_looking(tmp_path):
    check = diagnostics.check_home(tmp_path / "a" / "b")
    assert check.status == "ok"
    assert "made when needed" in check.detail
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_written():
    check = diagnostics.check_home(Path("/proc/curation"))
    assert check.status == "fail"
    assert "set CURATION_HOME" in check.mend


@pytest.mark.parametrize(
    ("free_bytes", "expected"),
    [
        pytest.param(80e9, ("ok", "80.0 GB free for home"), id="plenty"),
        pytest.param(4.9e9, ("warn", "4.9 GB free for home"), id="little"),
        pytest.param(0.4e9, ("fail", "0.4 GB free for home"), id="less than the database needs"),
    ],
)
def test_disk(free_bytes, expected):
    assert found(diagnostics.check_disk("home", free_bytes)) == expected


def test_a_database_that_does_not_answer_is_named_without_its_password(monkeypatch):
    monkeypatch.setattr("curation.storage.database.mongod.ANSWER_S", 0.2)
    given = settings.from_environment(
        {"FIFTYONE_DATABASE_URI": "mongodb://user:secret@127.0.0.1:9"}
    )
    check = diagnostics.check_database(given)
    assert check.status == "fail"
    assert "mongodb://127.0.0.1:9" in check.detail
    assert "secret" not in f"{check.detail}{check.mend}"


def test_a_database_that_answers(database):
    given = settings.from_environment({"FIFTYONE_DATABASE_URI": database})
    check = diagnostics.check_database(given)
    assert check.status == "ok"
    assert "answers at mongodb://127.0.0.1" in check.detail


def test_our_own_database_is_started_for_the_check_and_leaves_nothing(tmp_path):
    ours = settings.from_environment({"CURATION_HOME": str(tmp_path / "home")})
    check = diagnostics.check_database(ours)
    assert check.status == "ok", check.detail
    assert "starts when needed" in check.detail
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_torch_cannot_use_is_not_passed_over():
    assert diagnostics.check_no_gpu(2, has_driver=False) == diagnostics.Check(
        "device", "ok", "CPU, 2 threads"
    )
    idle = diagnostics.check_no_gpu(2, has_driver=True)
    assert idle.status == "warn"
    assert "nvidia-smi" in idle.mend


def test_operators_that_the_app_does_not_find(tmp_path):
    assert diagnostics.check_plugins(tmp_path).mend == "Run `curate plugins install`."
    places = plugins.install(tmp_path)
    assert diagnostics.check_plugins(tmp_path).status == "ok"
    places[0].unlink()
    assert found(diagnostics.check_plugins(tmp_path)) == (
        "warn",
        f"missing in {tmp_path}: {places[0].name}",
    )
    places[1].unlink()
    places[1].symlink_to(tmp_path / "plugins" / places[1].name)
    assert found(diagnostics.check_plugins(tmp_path)) == (
        "warn",
        f"missing in {tmp_path}: {places[0].name}, {places[1].name}",
    ), "a link that leads nowhere is no plugin"


def test_operators_that_fiftyone_reads_in_place():
    assert diagnostics.check_plugins(plugins.shipped_folder()).status == "ok"


def tiny():
    return manifest.load("tiny")


def test_copyleft_is_said_plainly():
    check = diagnostics.check_licences(tiny(), missing=lambda _: ())
    assert check.status == "warn"
    assert "AGPL-3.0: tiny_yolo" in check.detail
    assert "source code (AGPL-3.0)" in check.detail
    assert check.mend.startswith("To do without: `pip uninstall ultralytics`")


def test_without_ultralytics_nothing_is_copyleft():
    absent = {"yolo": ("ultralytics",)}
    check = diagnostics.check_licences(tiny(), missing=lambda adapter: absent.get(adapter, ()))
    assert check.status == "ok"
    assert "AGPL" not in check.detail
    assert check.detail.endswith("not installed: tiny_yolo")


def test_copyleft_weights_without_a_package_of_their_own():
    plain = tiny().member("tiny_center").model_copy(update={"licence": "GPL-3.0-only"})
    check = diagnostics.check_licences(tiny().model_copy(update={"members": (plain,)}))
    assert check.status == "warn"
    assert check.mend == "To do without, take these members out of the manifest."


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_args):
        """Stay quiet."""


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_server_that_nobody_configured_is_no_problem():
    assert found(diagnostics.check_server("vLLM", None, "/health")) == (
        "ok",
        "not configured (optional)",
    )


def test_servers(server):
    address = server.removeprefix("http://")
    assert found(diagnostics.check_server("vLLM", f"{server}/", "/health")) == (
        "ok",
        f"answers at {server}/",
    )
    gone = diagnostics.check_server("vLLM", f"http://user:secret@{address}", "/elsewhere")
    assert gone.status == "fail"
    assert "secret" not in gone.detail
    wrong = diagnostics.check_server("vLLM", server, "/elsewhere")
    assert found(wrong) == ("fail", f"{server} answers 404 Not Found")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        pytest.param("http://127.0.0.1:9", "does not answer", id="nobody listens"),
        pytest.param("file:///etc/hostname", "is no http address", id="a file is no server"),
        pytest.param("127.0.0.1:8080", "is no http address", id="the scheme is missing"),
        pytest.param("http://[", "does not answer", id="no address at all"),
    ],
)
def test_servers_that_do_not_answer(url, says):
    check = diagnostics.check_server("Label Studio", url, "/health")
    assert check.status == "fail"
    assert says in check.detail
    assert check.mend


def test_mlflow_needs_no_server(server):
    assert diagnostics.check_tracking("sqlite:////tmp/mlflow.db").status == "ok"
    assert diagnostics.check_tracking(server).detail == f"answers at {server}"


def test_a_sound_installation_fails_nowhere(tmp_path):
    ours = settings.from_environment({"CURATION_HOME": str(tmp_path)})
    checks = diagnostics.check_all(ours, {"FIFTYONE_PLUGINS_DIR": str(tmp_path)})
    assert [(one.name, one.detail) for one in checks if one.status == "fail"] == []
    assert len({one.name for one in checks}) == len(checks)
    assert all(one.mend for one in checks if one.status != "ok")
