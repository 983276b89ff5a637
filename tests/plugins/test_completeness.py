"""Comparison of plugin definitions with the code, both ways, without executing it.

FiftyOne silently drops an operator that its definition does not list.
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
    """Return `{class: keyword arguments of its operator_config or panel_config}`."""
    classes = [node for node in module(plugin).body if isinstance(node, ast.ClassDef)]
    return {
        node.name: {keyword.arg: keyword.value for keyword in call.keywords}
        for node in classes
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) in ("operator_config", "panel_config")
    }


def registered(plugin):
    """Return the classes that `register(plugin)` registers."""
    (function,) = [
        node
        for node in module(plugin).body
        if isinstance(node, ast.FunctionDef) and node.name == "register"
    ]
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    return [call.args[0].id for call in calls if ast.unparse(call.func).endswith(".register")]


def test_there_are_plugins():
    assert len(PLUGINS) >= 2


@pytest.mark.parametrize("plugin", PLUGINS)
def test_listed_operators_are_registered(plugin):
    listed = definition(plugin).get("operators", []) + definition(plugin).get("panels", [])
    names = {cls: keywords["name"].value for cls, keywords in configs(plugin).items()}
    assert sorted(listed) == sorted(names[cls] for cls in registered(plugin))
    assert sorted(names) == sorted(registered(plugin)), "an operator without registration"


@pytest.mark.parametrize("plugin", PLUGINS)
def test_definition_has_our_name_and_the_supported_version(plugin):
    name = PUBLIC_NAMES.get(plugin.name, plugin.name)
    assert definition(plugin)["name"] == f"@curation/{name}"
    assert definition(plugin)["license"] == "Apache-2.0"
    assert definition(plugin)["fiftyone"]["version"] == ">=1.22,<2"


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_operator_declares_its_risk(plugin):
    """The default is dangerous, which agents refuse."""
    undeclared = [cls for cls, keywords in configs(plugin).items() if "risk_level" not in keywords]
    assert undeclared == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_no_input_is_required(plugin):
    """FiftyOne does not apply a form's defaults when an operator is called from Python."""
    required = [
        ast.unparse(call)
        for call in ast.walk(module(plugin))
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "required" and keyword.value.value is not False
    ]
    assert required == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_form_opens_without_loading_torch(plugin):
    """A plugin is executed for every request, so heavy modules are imported in `run` only."""
    heavy = (
        "torch",
        "cascade.ensemble",
        "cascade.engine.run",
        "curation.stages",
        "curation.storage.writer",
    )
    names = [
        alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
        for node in module(plugin).body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    ]
    assert [name for name in names if name.startswith(heavy)] == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugin_is_thin(plugin):
    for file in plugin.rglob("*.py"):
        assert len(file.read_text().splitlines()) < 200, f"{file.name}: move logic to a stage"
