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

ROOT = Path(__file__).parents[2]

LOOK = """
import json
import fiftyone.operators as foo
from fiftyone.operators.registry import OperatorRegistry

registry = OperatorRegistry()
print(json.dumps({
    "ours": sorted(o.uri for o in registry.list_operators() if o.uri.startswith("@curation/")),
    "builtin": foo.operator_exists("@voxel51/operators/list_workspaces"),
    "errors": registry.list_errors(),
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


def test_our_operators_register(found):
    assert found["ours"] == [
        "@curation/predict_cascade/predict_cascade",
        "@curation/rank_samples/choose_samples",
        "@curation/rank_samples/score_hardness",
    ]


def test_nothing_failed_to_register(found):
    assert found["errors"] == []


def test_fiftyones_own_operators_stay(found):
    assert found["builtin"]
