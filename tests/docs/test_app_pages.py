"""The pages on the App name every operator and every panel that the plugins have."""

import ast
import re

import yaml
from pages import DOCS, ROOT

PREFIX = "Curation: "


def labels(plugin):
    """Return the labels in a plugin, as the App shows them, read without running it."""
    for node in ast.walk(ast.parse((plugin / "__init__.py").read_text())):
        if isinstance(node, ast.keyword) and node.arg == "label":
            text = ast.unparse(node.value).replace("{_PREFIX}", PREFIX)
            found = re.fullmatch(r"f?['\"](Curation: .*)['\"]", text)
            if found:
                yield found[1]


def test_every_label_is_in_the_tables():
    said = (DOCS / "app.md").read_text() + (DOCS / "panels.md").read_text()
    rows = re.findall(r"^\| (Curation: .*?) \|", said, re.M)
    plugins = [one.parent for one in sorted((ROOT / "plugins").glob("*/fiftyone.yml"))]
    shown = {label for plugin in plugins for label in labels(plugin)}
    assert len(shown) > 15
    assert sorted(shown - set(rows)) == []
    assert sorted(set(rows) - shown) == []


def test_there_is_a_label_for_every_operator_and_panel():
    for file in (ROOT / "plugins").glob("*/fiftyone.yml"):
        content = yaml.safe_load(file.read_text())
        names = [*(content.get("operators") or []), *(content.get("panels") or [])]
        assert len(list(labels(file.parent))) == len(names), file.parent.name
