import platform
from importlib import metadata

from packaging.requirements import Requirement

from curation.tracking import environment


def test_the_page_lists_what_is_installed():
    lines = environment.describe().splitlines()
    assert f"# python: {platform.python_version()}" in lines
    assert any(line.startswith("# gpu: ") for line in lines)
    found = {Requirement(line).name.lower() for line in lines if not line.startswith("#")}
    assert {"numpy", "torch", "mlflow"} <= found
    assert f"numpy=={metadata.version('numpy')}" in lines


def test_this_package_is_a_requirement():
    assert Requirement(environment.requirement()).name == "cascade-curation"
