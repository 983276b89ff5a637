"""curate manifest: tables, what a check finds, plans, and pins from a hub that is a server here."""

import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import yaml
from typer.testing import CliRunner

from cascade import manifest as manifests
from cascade.errors import CheckpointError, ManifestError
from curation.cli import app
from curation.cli.app import console

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TINY = {
    "name": "one", "tier": "detection", "adapter": "center_point", "license": "MIT",
    "source": "package:tiny_center",
}  # fmt: skip
HUB = {
    "name": "far", "tier": "detection", "adapter": "detr", "license": "AGPL-3.0",
    "source": "hub:some/model", "optional": True, "gated": True,
}  # fmt: skip
SERVED = {
    "name": "vlm", "tier": "language", "adapter": "vision_language", "license": "MIT",
    "optional": True, "params": {"model": "some/vlm"},
}  # fmt: skip


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """Run `curate manifest ...` in an empty home, 80 columns wide."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "width", 80)

    def run(*words, code=0):
        done = CliRunner().invoke(app, ["manifest", *map(str, words)])
        if isinstance(done.exception, Exception):
            raise done.exception
        assert done.exit_code == code, done.output
        return done.output

    return run


def write(folder, *members, **more):
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "members": list(members), **more}))
    return path


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", manifests.packaged_names())
def test_show_fits_terminal_without_cuts(manifest, monkeypatch, name, columns):
    monkeypatch.setattr(console, "width", columns)
    out = manifest("show", name)
    packaged = manifests.load(name)
    assert out.startswith(f"{name} v{packaged.version}, hash {packaged.identity}")
    assert "…" not in out
    tables = out.split("* required")[0]
    assert max(map(len, tables.splitlines())) <= columns
    for member in packaged.members:
        assert len(re.findall(rf"^{member.name} ", tables, re.MULTILINE)) == 3


def test_show_lists_cost_and_terms(manifest, tmp_path):
    cost = {"parameters_m": 262.144, "gflops": 1500, "memory_mb": 2000, "batch_size": 4}
    out = manifest("show", write(tmp_path, TINY, HUB | cost, SERVED))
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert "one * fp32 16 ? ? yes" in rows
    assert "far fp32 4 2,000 1,500 to fetch" in rows
    assert "far detr 1 no copyleft, gated" in rows
    assert "far some/model AGPL-3.0" in rows
    assert "vlm fp32 16 ? ? server" in rows
    assert "one center_point 1 - permissive" in rows


def test_check_accepts_available_members(manifest):
    tiny = manifests.load("tiny")
    assert manifest("check", "tiny") == f"ok: 4 members, {tiny.identity}\n"


def test_check_lists_problems_without_download(manifest, tmp_path):
    lost = {**HUB, "name": "lost", "source": "no/such/folder"}
    out = manifest("check", write(tmp_path, TINY, HUB, SERVED, lost))
    assert out.splitlines()[:-1] == [
        "left out: lost: Cannot find a checkpoint at no/such/folder.",
        "not pinned (`curate manifest pin` pins them): far, vlm",
        "gated: accept their license on the hub and set HF_TOKEN: far",
        "not on this machine yet: the first run downloads them: far",
        "on a server: start it with `curate serve`: vlm",
    ]
    assert out.splitlines()[-1].startswith("ok: 3 members, ")
    assert not (tmp_path / "hub").exists()


def test_check_finds_weights_in_hub_cache(manifest, tmp_path):
    snapshot = tmp_path / "hub" / "models--some--model" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    out = manifest("check", write(tmp_path, TINY, {**HUB, "revision": COMMIT, "gated": False}))
    assert len(out.splitlines()) == 1


def test_check_finds_release_in_cache(manifest, tmp_path):
    mine = write(tmp_path, {**TINY, "adapter": "ultralytics", "source": "release:a.pt"})
    assert "not on this machine yet" in manifest("check", mine)
    (tmp_path / "cache" / "cascade-curation").mkdir(parents=True)
    (tmp_path / "cache" / "cascade-curation" / "a.pt").touch()
    assert "not on this machine yet" not in manifest("check", mine)


def test_check_fails_for_required_member(manifest, tmp_path):
    needed = {**HUB, "source": "no/such/folder", "optional": False}
    out = manifest("check", write(tmp_path, TINY, needed), code=1)
    assert out == "Error: far: Cannot find a checkpoint at no/such/folder.\n"


def test_check_with_license_leaves_out_or_refuses(manifest, tmp_path):
    out = manifest("check", write(tmp_path, TINY, HUB), "--license", "permissive")
    assert (
        "left out: far: The license AGPL-3.0 of far is copyleft; only permissive is allowed." in out
    )
    needed = write(tmp_path, TINY, {**HUB, "optional": False})
    with pytest.raises(ManifestError, match=r"not permissive: far \(AGPL-3.0\)"):
        manifest("check", needed, "--license", "permissive")


def test_plan_places_members_and_estimates_times(manifest):
    out = manifest("plan", "roadwork", "--gpu", "H100:80", "--gpu", "H100:80", "--images", "1000")
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert max(map(len, out.split("vlm_fast_a: its")[0].splitlines())) <= 80
    for row in (
        r"mm_grounding_dino_l 1,000 2 1,306 17,560 [01] 2 min",
        r"vlm_precision 1,000 64 63,623 ~11,264 [01] \d+ min",
    ):
        assert any(re.fullmatch(row, line) for line in rows), row
    assert "byte_track 1,000 16 0 0 - 0 s" in rows
    assert "not counted, because their cost is not stated: yolo_master_n" in rows
    assert re.search(r"`curate predict` runs .*mm_grounding_dino_l.* on cuda:0, cuda:1", out, re.S)
    assert "fits nowhere" not in out


def test_routed_plan_uses_measured_shares(manifest):
    words = ("plan", "roadwork", "--gpu", "H100:80", "--mode", "routed", "--share", "precision=.02")
    rows = [" ".join(line.split()) for line in manifest(*words).splitlines()]
    assert any(row.startswith("sam3 200 ") for row in rows)
    assert any(row.startswith("vlm_fast_a 1,000 ") for row in rows)
    assert any(row.startswith("fits nowhere: vlm_precision: remove it, or") for row in rows)


def test_plan_fails_if_required_member_does_not_fit(manifest):
    out = manifest("plan", "roadwork", "--gpu", "T4:4", code=1)
    assert "fits nowhere: mm_grounding_dino_l: remove it, or add a GPU with 11 GB" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gpu", "H100"], "must be NAME:GB"),
        (["--gpu", ":80"], "must be NAME:GB"),
        (["--gpu", "H100:0"], "must be NAME:GB"),
        (["--gpu", "H100:80", "--share", "stop=0.1"], "must be PATH=SHARE"),
        (["--gpu", "H100:80", "--share", "precision=2"], "must be PATH=SHARE"),
    ],
)
def test_plan_refuses_invalid_options(manifest, words, message):
    assert message in " ".join(manifest("plan", "tiny", *words, code=2).split())


@contextmanager
def hub(commits):
    """A server that answers as the hub does when it is asked for a model."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            repository = self.path.removeprefix("/api/models/").split("?")[0]
            commit = commits.get(repository)
            body = json.dumps({"id": repository, "sha": commit}).encode()
            self.send_response(200 if commit else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def asking(monkeypatch, address, *, offline=False):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)


def test_pin_reads_commits_of_unpinned_members(manifest, tmp_path, monkeypatch):
    mine = write(tmp_path, TINY, HUB, {**HUB, "name": "kept", "revision": "b" * 40}, SERVED)
    commits = {"some/model": COMMIT, "some/vlm": "a" * 40}
    with hub(commits) as address:
        asking(monkeypatch, address)
        out = manifest("pin", mine, tmp_path / "out.yaml")
    pinned = manifests.load(tmp_path / "out.yaml")
    assert [member.revision for member in pinned.members] == [None, COMMIT, "b" * 40, "a" * 40]
    assert f"pinned: far: {COMMIT}" in out
    assert f"2 members pinned, hash {pinned.identity}" in " ".join(out.split())
    assert all(member.is_pinned for member in pinned.members)


def test_pin_offline_writes_nothing(manifest, tmp_path, monkeypatch):
    asking(monkeypatch, "http://127.0.0.1:9", offline=True)
    with pytest.raises(
        CheckpointError, match=r"commit of 'some/model' from the hub \(OfflineModeIsEnabled\)"
    ):
        manifest("pin", write(tmp_path, TINY, HUB), tmp_path / "out.yaml")
    assert not (tmp_path / "out.yaml").exists()


def test_pin_of_unknown_repository_is_an_error(manifest, tmp_path, monkeypatch):
    with hub({}) as address:
        asking(monkeypatch, address)
        with pytest.raises(CheckpointError, match="Cannot read the commit of 'some/mod"):
            manifest("pin", write(tmp_path, HUB), tmp_path / "out.yaml")


def test_pin_refuses_existing_file(manifest, tmp_path):
    mine = write(tmp_path, TINY)
    for out in (mine, tmp_path / "out.txt"):
        with pytest.raises(ManifestError, match=r"must be a new file with the suffix \.yaml"):
            manifest("pin", mine, out)
