import pytest
from PIL import Image
from typer.testing import CliRunner

from curation.cli import app
from curation.cli.commands import rounds

MANIFEST = """
name: one
members:
  - {name: mobilenet, tier: embedding, adapter: mobilenet, license: MIT}
  - {name: plain, tier: detection, adapter: center_point, source: "package:tiny_center",
     license: Apache-2.0}
"""


@pytest.mark.slow
def test_waiting_round_has_exit_code_3(home):
    photos = home.user / "photos"
    photos.mkdir()
    for i in range(4):
        Image.new("RGB", (64, 48), (60 * i, 90, 120)).save(photos / f"{i}.png")
    (home.user / "one.yaml").write_text(MANIFEST)
    command = ("label", "photos", "--manifest", "one.yaml", "--budget", 2, "--labeler", "files")
    first = home.curate(*command, code=3)
    assert "Round 1 waits for labels of 2 chosen samples." in first.out
    assert "Run the same command again when they are labeled." in first.out
    assert first.err == ""
    again = home.curate(*command[:-2], "--labels", "files", code=3)  # its other name
    assert "predict" not in again.out


@pytest.mark.parametrize("verb", ["round", "train", "publish"])
def test_focus_and_sign_off_reach_the_plan(verb, monkeypatch):
    plans = []
    monkeypatch.setattr(rounds, "connect", lambda *_: None)
    monkeypatch.setattr(rounds, "_run_rounds", lambda *_, plan, **__: plans.append(plan))
    for words in ([], ["--focus"], ["--sign-off"]):
        assert CliRunner().invoke(app, [verb, "demo", *words]).exit_code == 0
    assert [(one.focus, one.sign_off) for one in plans] == [
        (False, False), (True, False), (False, True)
    ]  # fmt: skip
