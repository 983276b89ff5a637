import os
import subprocess
import sys

import pytest

from curation.errors import PublishError
from curation.tracking import RunContents
from curation.tracking.wandb_mirror import mirror

ABOUT = RunContents(
    params={"seed": 3},
    metrics={"mcc": 0.9},
    curves={"tiny/train_loss": [2.0, 1.0]},
    tables={"verdict": {"outcome": "keep"}},
)


@pytest.fixture
def version(registry, tmp_path):
    folder = tmp_path / "ensemble"
    folder.mkdir()
    (folder / "manifest.yaml").write_text("a")
    return registry.register(folder, name="demo", identity="a", contents=ABOUT)


def test_offline_all_of_a_run_lies_on_this_disk(registry, version, tmp_path):
    """In a process of its own: W&B leaves threads and handlers behind."""
    pytest.importorskip("wandb", reason="needs the extra `wandb`")
    code = (
        "import sys; from pathlib import Path; from curation.tracking import Registry; "
        "from curation.tracking.wandb_mirror import mirror; "
        "r = Registry(sys.argv[1], Path(sys.argv[2])); "
        "print(mirror(r, 'demo', '1', project='road-work', folder=Path(sys.argv[2]) / 'there'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, registry.uri, tmp_path],
        env={**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (kept,) = (tmp_path / "there" / "wandb").glob("offline-run-*/*.wandb")
    content = kept.read_bytes()
    for expected in (b"tiny/train_loss", b"mcc", b"seed", b"tables/verdict.json"):
        assert expected in content
    assert "keep" in (kept.parent / "files" / "tables" / "verdict.json").read_text()


def test_without_wandb_it_says_what_to_install(registry, version, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(PublishError, match=r"pip install cascade-curation\[wandb\]"):
        mirror(registry, "demo", version, project="p", folder=tmp_path)
