"""The built wheel, in an environment that has never seen this checkout."""

import fnmatch
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERBS = sorted(file.parent.name for file in (ROOT / "plugins").glob("*/fiftyone.yml"))

pytestmark = pytest.mark.slow

# Two members that agree on the first image and not on the second.
OPERATOR = """
import json
import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.operators.registry import OperatorRegistry

def boxes(label, confidence):
    box = fo.Detection(label=label, bounding_box=[0.1, 0.1, 0.5, 0.5], confidence=confidence)
    return fo.Detections(detections=[box])

dataset = fo.Dataset("from_the_wheel")
size = fo.ImageMetadata(width=640, height=480)
dataset.add_samples([
    fo.Sample(filepath="/easy.jpg", metadata=size, a=boxes("cone", 0.97), b=boxes("cone", 0.96)),
    fo.Sample(filepath="/hard.jpg", metadata=size, a=boxes("cone", 0.95), b=fo.Detections()),
])
outcome = foo.execute_operator(
    "@curation/rank_samples/score_hardness", dataset=dataset, params={"members": ["a", "b"]}
)
print(json.dumps({
    "error": outcome.error_message or outcome.error,
    "hardness": dataset.values("hardness") if dataset.has_field("hardness") else None,
    "errors": OperatorRegistry().list_errors(),
    "builtin": foo.operator_exists("@voxel51/operators/list_workspaces"),
}))
"""


def run(*command, cwd, **environment):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """Return the folder of a fresh environment with the wheel, and its dependencies by path.

    A path file lends it our site-packages without what *their* path files bring in, which is
    where an editable install of this checkout would come from.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=folder)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder


def test_wheel_contains_two_packages(names):
    """A top-level `plugins` would overwrite FiftyOne's own."""
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"cascade", "curation"}


@pytest.mark.parametrize("package", ["cascade", "curation"])
def test_wheel_contains_every_file_of(names, package):
    files = [
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    ]
    assert [file for file in files if file not in names] == []


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param("cascade/manifests/tiny.yaml", id="manifests"),
        pytest.param("cascade/taxonomies/*.yaml", id="taxonomies"),
        pytest.param("cascade/weights/*/weights.safetensors", id="weights"),
        pytest.param("curation/*.html*", id="the report's template"),
        pytest.param("curation/_plugins/*/fiftyone.yml", id="plugins"),
        pytest.param("*.dist-info/licenses/LICENSE", id="the licence"),
    ],
)
def test_wheel_contains(names, pattern):
    assert fnmatch.filter(names, pattern) != []


def test_wheel_contains_every_plugin(names):
    plugins = {name.split("/")[2] for name in names if name.startswith("curation/_plugins/")}
    assert sorted(plugins) == VERBS


def test_wheel_is_small(wheel):
    assert wheel.stat().st_size < 12e6, "three sets of weights of at most 2 MB, and code"


def test_operator_runs_from_wheel(environment, database, tmp_path):
    plugins = tmp_path / "plugins"
    scripts = environment / "bin"
    run(scripts / "curate", "plugins", "install", "--target", plugins, cwd=tmp_path)
    assert sorted(place.name for place in (plugins / "@curation").iterdir()) == VERBS
    for place in (plugins / "@curation").iterdir():
        assert place.resolve().is_relative_to(environment), "not the plugins of this checkout"

    printed = run(
        scripts / "python",
        "-c",
        OPERATOR,
        cwd=tmp_path,
        FIFTYONE_DATABASE_URI=database,
        FIFTYONE_DATABASE_NAME="from_the_wheel",
        FIFTYONE_PLUGINS_DIR=str(plugins),
    )
    outcome = json.loads(printed.splitlines()[-1])
    assert outcome["error"] is None
    assert outcome["errors"] == []
    assert outcome["builtin"], "FiftyOne's own operators must stay"
    easy, hard = outcome["hardness"]
    assert easy < hard
