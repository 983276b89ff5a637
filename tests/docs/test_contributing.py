"""The recipes of CONTRIBUTING.md, followed literally in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT

PAGE = ROOT / "CONTRIBUTING.md"
_SECTION = re.compile(r"^## (Add .*?)\n(.*?)(?=^## |\Z)", re.M | re.S)
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.M | re.S)
RECIPES = dict(_SECTION.findall(PAGE.read_text()))
COPIED = ("cascade", "curation", "plugins", "tests", "docs", "pyproject.toml", "Makefile")


@pytest.fixture
def clone(tmp_path):
    """A copy of the repository, without what git ignores, with the environment of this test."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *COPIED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    return tmp_path


def test_every_kind_of_contribution_has_a_recipe():
    kinds = ("stage", "operator", "panel", "labeling backend", "file format", "member")
    assert list(RECIPES) == [f"Add {'an' if kind[0] == 'o' else 'a'} {kind}" for kind in kinds]


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.parametrize("title", RECIPES)
def test_recipe_works_as_written(title, clone):
    commands = []
    for language, path, code in _BLOCK.findall(RECIPES[title]):
        if language == "sh":
            commands.append(code)
        else:
            assert path, f"{title}: a block without a title"
            assert not (clone / path).exists()
            (clone / path).parent.mkdir(parents=True, exist_ok=True)
            (clone / path).write_text(code)
    assert commands
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "FIFTYONE_"))
    }
    environment |= {"PYTHONPATH": str(clone), "PYTEST_ADDOPTS": "-p no:cacheprovider"}
    for command in commands:
        result = subprocess.run(
            ["bash", "-euc", command], cwd=clone, env=environment, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        assert "no tests ran" not in result.stdout
