"""FiftyOne drops an operator that its definition does not list, and says nothing.

So the definitions are compared with the code, both ways, by reading alone.
"""

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2] / "plugins"
PLUGINS = [
    pytest.param(file.parent, id=file.parent.name) for file in sorted(ROOT.glob("*/fiftyone.yml"))
]

PUBLIC_NAMES = {  # plugins whose folder was renamed keep the operator URIs of release 0.1
    "cascade_panel": "watch_cascade",
    "hardness_panel": "look_at_hardness",
    "quality_panel": "watch_quality",
    "registry_panel": "promote_ensembles",
    "round_panel": "follow_rounds",
    "runs_panel": "follow_runs",
    "sample_panel": "compare_members",
}


def definition(plugin):
    return yaml.safe_load((plugin / "fiftyone.yml").read_text())


def module(plugin):
    return ast.parse((plugin / "__init__.py").read_text())


def configs(plugin):
    """Return `{class: keywords of its OperatorConfig or PanelConfig}`."""
    found = {}
    for one in ast.walk(module(plugin)):
        if not isinstance(one, ast.ClassDef):
            continue
        for call in ast.walk(one):
            name = isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2]
            if name in ("OperatorConfig", "PanelConfig"):
                found[one.name] = {word.arg: word.value for word in call.keywords}
    return found


def registered(plugin):
    """Return the classes that `register(plugin)` hands over."""
    (function,) = [
        one
        for one in module(plugin).body
        if isinstance(one, ast.FunctionDef) and one.name == "register"
    ]
    calls = [one for one in ast.walk(function) if isinstance(one, ast.Call)]
    return [call.args[0].id for call in calls if ast.unparse(call.func).endswith(".register")]


def test_there_are_plugins():
    assert len(PLUGINS) >= 2


@pytest.mark.parametrize("plugin", PLUGINS)
def test_what_is_listed_is_what_is_registered(plugin):
    listed = definition(plugin).get("operators", []) + definition(plugin).get("panels", [])
    names = {cls: words["name"].value for cls, words in configs(plugin).items()}
    assert sorted(listed) == sorted(names[cls] for cls in registered(plugin))
    assert sorted(names) == sorted(registered(plugin)), "an operator that nobody registers"


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_definition_is_ours_and_says_what_it_fits(plugin):
    name = PUBLIC_NAMES.get(plugin.name, plugin.name)
    assert definition(plugin)["name"] == f"@curation/{name}"
    assert definition(plugin)["license"] == "Apache-2.0"
    assert definition(plugin)["fiftyone"]["version"] == ">=1.22,<2"


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_operator_declares_its_risk(plugin):
    """Undeclared means dangerous, and agents then refuse it."""
    undeclared = [cls for cls, words in configs(plugin).items() if "risk_level" not in words]
    assert undeclared == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_no_input_is_required(plugin):
    """FiftyOne does not apply a form's defaults when an operator is called from Python."""
    required = [
        ast.unparse(call)
        for call in ast.walk(module(plugin))
        if isinstance(call, ast.Call)
        for word in call.keywords
        if word.arg == "required" and word.value.value is not False
    ]
    assert required == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_form_opens_without_loading_torch(plugin):
    """A plugin is executed anew at every request; what it needs to work is imported to work."""
    heavy = (
        "torch",
        "cascade.ensemble",
        "cascade.engine.run",
        "curation.stages",
        "curation.storage.writer",
    )
    names = [
        alias.name if isinstance(one, ast.Import) else f"{one.module}.{alias.name}"
        for one in module(plugin).body
        if isinstance(one, (ast.Import, ast.ImportFrom))
        for alias in one.names
    ]
    assert [name for name in names if name.startswith(heavy)] == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_door_is_thin(plugin):
    for file in plugin.rglob("*.py"):
        assert len(file.read_text().splitlines()) < 200, f"{file.name}: move logic to a stage"
