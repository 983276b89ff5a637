import http.server
import threading
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cascade import manifest
from curation import settings
from curation.app import plugins
from curation.cli import diagnostics


def status_and_detail(check):
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
        pytest.param(
            ["numpy>=2", "torch<2.15"],
            ("ok", "all 2 required packages are installed"),
            id="all fit",
        ),
        pytest.param(["pandas>=2"], ("fail", "pandas is missing"), id="one is absent"),
        pytest.param(
            ["numpy>=2.3", "pandas"],
            ("fail", "numpy is 2.2.6, not >=2.3; pandas is missing"),
            id="all problems are listed",
        ),
        pytest.param([], ("warn", "cascade-curation itself is not installed"), id="bare checkout"),
    ],
)
def test_packages(requirements, expected):
    check = diagnostics.check_requirements(map(Requirement, requirements), VERSIONS.get)
    assert status_and_detail(check) == expected
    assert (check.fix is None) == (check.status == "ok")


def test_package_that_fails_to_load_is_named(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("raise RuntimeError('nms does not exist\\nmore')")
    monkeypatch.syspath_prepend(tmp_path)
    check = diagnostics.check_loading(["json", "half_installed", "not_there_at_all"])
    assert status_and_detail(check) == (
        "fail",
        "half_installed: nms does not exist; not_there_at_all: No module named 'not_there_at_all'",
    )
    assert "rm -rf .venv && make install" in check.fix
    assert diagnostics.check_loading(["json"]).status == "ok"


@pytest.mark.parametrize(
    ("distributions", "status", "fix"),
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
def test_opencv(distributions, status, fix):
    check = diagnostics.check_opencv(distributions)
    assert check.status == status
    assert fix is None or fix in check.fix


def test_home_check_creates_nothing(tmp_path):
    check = diagnostics.check_home(tmp_path / "a" / "b")
    assert check.status == "ok"
    assert "created when needed" in check.detail
    assert list(tmp_path.iterdir()) == []


def test_unwritable_home_fails():
    check = diagnostics.check_home(Path("/proc/curation"))
    assert check.status == "fail"
    assert "set CURATION_HOME" in check.fix


@pytest.mark.parametrize(
    ("free_bytes", "expected"),
    [
        pytest.param(80e9, ("ok", "80.0 GB free for home"), id="plenty"),
        pytest.param(4.9e9, ("warn", "4.9 GB free for home"), id="little"),
        pytest.param(0.4e9, ("fail", "0.4 GB free for home"), id="less than the database needs"),
    ],
)
def test_disk(free_bytes, expected):
    assert status_and_detail(diagnostics.check_disk("home", free_bytes)) == expected


def test_unreachable_database_is_named_without_its_password(monkeypatch):
    monkeypatch.setattr("curation.storage.database.mongod.ANSWER_S", 0.2)
    external = settings.from_environment(
        {"FIFTYONE_DATABASE_URI": "mongodb://user:secret@127.0.0.1:9"}
    )
    check = diagnostics.check_database(external)
    assert check.status == "fail"
    assert "mongodb://127.0.0.1:9" in check.detail
    assert "secret" not in f"{check.detail}{check.fix}"


def test_external_database_answers(database):
    external = settings.from_environment({"FIFTYONE_DATABASE_URI": database})
    check = diagnostics.check_database(external)
    assert check.status == "ok"
    assert "answers at mongodb://127.0.0.1" in check.detail


def test_embedded_database_is_started_and_leaves_nothing(tmp_path):
    ours = settings.from_environment({"CURATION_HOME": str(tmp_path / "home")})
    check = diagnostics.check_database(ours)
    assert check.status == "ok", check.detail
    assert "starts when needed" in check.detail
    assert list(tmp_path.iterdir()) == []


def test_unusable_gpu_warns():
    assert diagnostics.check_no_gpu(2, has_driver=False) == diagnostics.Check(
        "device", "ok", "CPU, 2 threads"
    )
    idle = diagnostics.check_no_gpu(2, has_driver=True)
    assert idle.status == "warn"
    assert "nvidia-smi" in idle.fix


def test_missing_operators_warn(tmp_path):
    assert diagnostics.check_plugins(tmp_path).fix == "Run `curate plugins install`."
    places = plugins.install(tmp_path)
    assert diagnostics.check_plugins(tmp_path).status == "ok"
    places[0].unlink()
    assert status_and_detail(diagnostics.check_plugins(tmp_path)) == (
        "warn",
        f"missing in {tmp_path}: {places[0].name}",
    )
    places[1].unlink()
    places[1].symlink_to(tmp_path / "plugins" / places[1].name)
    assert status_and_detail(diagnostics.check_plugins(tmp_path)) == (
        "warn",
        f"missing in {tmp_path}: {places[0].name}, {places[1].name}",
    ), "a link that leads nowhere is no plugin"


def test_operators_read_in_place_are_ok():
    assert diagnostics.check_plugins(plugins.shipped_folder()).status == "ok"


def tiny():
    return manifest.load("tiny")


def test_copyleft_license_warns():
    check = diagnostics.check_licenses(tiny(), missing=lambda _: ())
    assert check.status == "warn"
    assert "AGPL-3.0: tiny_yolo" in check.detail
    assert "entire source code (AGPL-3.0)" in check.detail
    assert check.fix.startswith("To work without: `pip uninstall ultralytics`")


def test_no_copyleft_without_ultralytics():
    absent = {"yolo": ("ultralytics",)}
    check = diagnostics.check_licenses(tiny(), missing=lambda adapter: absent.get(adapter, ()))
    assert check.status == "ok"
    assert "AGPL" not in check.detail
    assert check.detail.endswith("not installed: tiny_yolo")


def test_copyleft_weights_without_package_name_members():
    plain = tiny().member("tiny_center").model_copy(update={"license": "GPL-3.0-only"})
    check = diagnostics.check_licenses(tiny().model_copy(update={"members": (plain,)}))
    assert check.status == "warn"
    assert check.fix == "To work without, remove these members from the manifest."


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


def test_unconfigured_server_is_ok():
    assert status_and_detail(diagnostics.check_server("vLLM", None, "/health")) == (
        "ok",
        "not configured (optional)",
    )


def test_servers(server):
    address = server.removeprefix("http://")
    assert status_and_detail(diagnostics.check_server("vLLM", f"{server}/", "/health")) == (
        "ok",
        f"answers at {server}/",
    )
    gone = diagnostics.check_server("vLLM", f"http://user:secret@{address}", "/elsewhere")
    assert gone.status == "fail"
    assert "secret" not in gone.detail
    wrong = diagnostics.check_server("vLLM", server, "/elsewhere")
    assert status_and_detail(wrong) == ("fail", f"{server} answers 404 Not Found")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        pytest.param("http://127.0.0.1:9", "does not answer", id="nobody listens"),
        pytest.param("file:///etc/hostname", "is not an HTTP address", id="a file is no server"),
        pytest.param("127.0.0.1:8080", "is not an HTTP address", id="the scheme is missing"),
        pytest.param("http://[", "does not answer", id="no address at all"),
    ],
)
def test_unreachable_server_fails(url, says):
    check = diagnostics.check_server("Label Studio", url, "/health")
    assert check.status == "fail"
    assert says in check.detail
    assert check.fix


def test_language_models_are_checked_at_their_variable(server, tmp_path):
    home = settings.from_environment({"CURATION_HOME": str(tmp_path)})
    variables = {"CURATION_VLM_URL": server, "FIFTYONE_PLUGINS_DIR": str(tmp_path)}
    checks = {check.name: check for check in diagnostics.check_all(home, variables)}
    assert checks["language models"].detail == f"{server} answers 404 Not Found"


def test_local_mlflow_store_needs_no_server(server):
    assert diagnostics.check_tracking("sqlite:////tmp/mlflow.db").status == "ok"
    assert diagnostics.check_tracking(server).detail == f"answers at {server}"


def test_sound_installation_has_no_failures(tmp_path):
    ours = settings.from_environment({"CURATION_HOME": str(tmp_path)})
    checks = diagnostics.check_all(ours, {"FIFTYONE_PLUGINS_DIR": str(tmp_path)})
    assert [(check.name, check.detail) for check in checks if check.status == "fail"] == []
    assert len({check.name for check in checks}) == len(checks)
    assert all(check.fix for check in checks if check.status != "ok")
