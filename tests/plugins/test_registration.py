"""Registration of our operators and FiftyOne's, from the root of this repository.

A subprocess has the root first on its path, where a package `plugins` of ours would hide
FiftyOne's.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FIFTYONE_OPERATORS = 61  # of FiftyOne 1.22

SCRIPT = """
import json
import sys
import fiftyone.operators as foo
from fiftyone.operators.registry import OperatorRegistry

registry = OperatorRegistry()
print(json.dumps({
    "ours": sorted({o.uri for o in registry.list_operators() if o.uri.startswith("@curation/")}),
    "own": len([o for o in registry.list_operators() if o.builtin]),
    "builtin": foo.operator_exists("@voxel51/operators/list_workspaces"),
    "errors": registry.list_errors(),
    "torch": "torch" in sys.modules,
}))
"""


@pytest.fixture(scope="module")
def registry(database):
    printed = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=os.environ
        | {"FIFTYONE_DATABASE_URI": database, "FIFTYONE_PLUGINS_DIR": str(ROOT / "plugins")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return json.loads(printed.splitlines()[-1])


def listed():
    """Return the URIs of the operators and panels in our definitions."""
    return sorted(
        f"{definition['name']}/{name}"
        for file in (ROOT / "plugins").glob("*/fiftyone.yml")
        for definition in [yaml.safe_load(file.read_text())]
        for name in [*definition.get("operators", []), *definition.get("panels", [])]
    )


def test_app_starts_without_torch(registry):
    """Torch takes seconds to import; only forms and stages that need it import it."""
    assert not registry["torch"]


def test_listed_operators_register(registry):
    assert registry["ours"] == listed()
    assert len(registry["ours"]) >= 25


def test_registration_has_no_errors(registry):
    assert registry["errors"] == []


def test_operators_of_fiftyone_stay(registry):
    assert registry["builtin"]
    assert registry["own"] >= FIFTYONE_OPERATORS
