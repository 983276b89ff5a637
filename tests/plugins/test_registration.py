"""FiftyOne finds our operators, and its own, from the root of this repository.

In a process of its own whose path begins with the root: that is where a package `plugins` of
ours would hide the one that FiftyOne brings along.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FIFTYONES_OWN = 61  # operators that FiftyOne 1.22 registers by itself

LOOK = """
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
def found(database):
    printed = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=ROOT,
        env=os.environ
        | {"FIFTYONE_DATABASE_URI": database, "FIFTYONE_PLUGINS_DIR": str(ROOT / "plugins")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return json.loads(printed.splitlines()[-1])


def listed():
    """Return the URIs of all that our definitions list, operators and panels."""
    return sorted(
        f"{definition['name']}/{one}"
        for file in (ROOT / "plugins").glob("*/fiftyone.yml")
        for definition in [yaml.safe_load(file.read_text())]
        for one in [*definition.get("operators", []), *definition.get("panels", [])]
    )


def test_the_app_starts_without_torch(found):
    """It takes seconds to import; a form or a stage that needs it brings it."""
    assert not found["torch"]


def test_all_that_we_list_registers(found):
    assert found["ours"] == listed()
    assert len(found["ours"]) >= 25


def test_nothing_failed_to_register(found):
    assert found["errors"] == []


def test_fiftyones_own_operators_stay(found):
    assert found["builtin"]
    assert found["own"] >= FIFTYONES_OWN
