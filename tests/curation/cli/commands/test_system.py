import re
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest
from PIL import Image

MANIFEST = """
name: mine
members:
  - {name: mobilenet, tier: embedding, adapter: mobilenet, license: MIT}
  - {name: far_away, tier: detection, adapter: center_point, source: SOURCE, license: MIT}
"""


def test_database_starts_and_stops(home):
    assert home.curate("db", "status").out.splitlines() == [
        "The embedded database is not running; commands that need it start it.",
        f"Its files: {home.settings.database_folder}",
    ]
    started = home.curate("db", "start").out
    address = re.fullmatch(r"The embedded database runs at (mongodb://127\.0\.0\.1:\d+)\n", started)
    assert home.curate("db", "start").out == started
    status = home.curate("db", "status").out
    assert re.match(rf"The embedded database runs at {address[1]} \(process \d+\)\.\n", status)
    assert home.curate("db", "stop").out == "The embedded database was stopped.\n"
    assert home.curate("db", "stop").out == "The embedded database is not running.\n"


def test_status_names_external_database(home):
    status = home.curate("db", "status", FIFTYONE_DATABASE_URI="mongodb://me:secret@elsewhere")
    assert "FIFTYONE_DATABASE_URI names another database" in status.out
    assert "secret" not in status.out


def test_invalid_database_address_is_one_line(home):
    done = home.curate("db", "status", code=1, FIFTYONE_DATABASE_URI="localhost:27017")
    assert done.err.startswith("Error: FIFTYONE_DATABASE_URI must begin with mongodb://")
    assert len(done.err.splitlines()) == 1


def test_narrow_manifest_show_cuts_nothing(home):
    done = home.curate("manifest", "show", "tiny", COLUMNS=60)
    assert done.out.startswith("tiny v1, hash ")
    assert "…" not in done.out
    assert done.err == ""


@pytest.mark.parametrize(
    ("source", "code", "expected"),
    [
        pytest.param("package:tiny_center", 0, r"ok: 2 members, [0-9a-f]{16}\n", id="right"),
        pytest.param("package:tiny_centre", 1, r"'tiny_centre'.*'tiny_center'", id="misspelt"),
        pytest.param("no/such/folder", 1, r"find a checkpoint at no/such/folder", id="absent"),
    ],
)
def test_manifest_check_covers_weights(home, source, code, expected):
    (home.user / "mine.yaml").write_text(MANIFEST.replace("SOURCE", source))
    done = home.curate("manifest", "check", "mine.yaml", code=code)
    assert re.search(expected, done.out + done.err)
    assert len((done.out + done.err).splitlines()) == 1


def test_plugins_install_and_uninstall(home):
    target = ("--target", home.user / "plugins")
    assert "no: run `curate plugins install`" in home.curate("plugins", "list", *target).out
    home.curate("plugins", "install", *target)
    placed = home.user / "plugins" / "@curation" / "rank_samples"
    assert placed.is_symlink()
    assert str(placed.parent.name) in home.curate("plugins", "list", *target).out
    home.curate("plugins", "install", "--copy", *target)
    assert placed.is_dir()
    assert not placed.is_symlink()
    assert "removed: " in home.curate("plugins", "uninstall", *target).out
    assert home.curate("plugins", "uninstall", *target).out == "Nothing was installed.\n"
    assert not placed.exists()


def test_foreign_plugin_is_not_replaced(home):
    foreign = home.user / "plugins" / "@curation" / "rank_samples"
    foreign.mkdir(parents=True)
    done = home.curate("plugins", "install", "--target", home.user / "plugins", code=1)
    assert "was not installed by us" in done.err
    assert len(done.err.splitlines()) == 1
    assert list(foreign.parent.iterdir()) == [foreign]


def test_narrow_doctor_cuts_nothing(home):
    done = home.curate("doctor", COLUMNS=50)
    assert "…" not in done.out
    joined = re.sub(r"\s+", "", done.out)
    assert "Userswhoreceive" not in joined or "(AGPL-3.0)" in joined
    assert len(re.findall(r"^ok  ", done.out, re.MULTILINE)) >= 8
    assert done.err == ""
    assert not home.folder.exists()


def test_used_port_is_refused_first(home):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = home.curate("app", "photos", "--port", port, code=1)
    assert done.err.startswith(f"Error: The App cannot use port {port} (Address already in use)")
    assert len(done.err.splitlines()) == 1
    assert not home.folder.exists()


@pytest.mark.slow
def test_app_is_served_on_loopback_until_ctrl_c(home):
    (home.user / "photos").mkdir()
    Image.new("RGB", (64, 48)).save(home.user / "photos" / "a.png")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    run = home.start("curate", "app", "photos", "--port", port, "--no-browser")
    while f"The App is at http://127.0.0.1:{port}/datasets/photos" not in run.out:
        assert run.is_running, run.err
        time.sleep(0.2)
    assert answers(port)
    with pytest.raises(
        OSError, match=r"refused|assign"
    ):  # served on all addresses, it would answer
        socket.create_connection(("127.0.0.2", port))
    assert run.signal(signal.SIGINT) == 0
    assert run.err == ""
    patience = time.monotonic() + 30  # FiftyOne's server goes on for a moment
    while answers(port):
        assert time.monotonic() < patience
        time.sleep(0.2)


def answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, TimeoutError):
        return False
