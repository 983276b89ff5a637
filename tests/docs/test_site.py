"""The documentation site: builds without warnings, needs no network, and matches the code."""

import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from pages import DOCS, ROOT, blocks

import curation as cu


class Fetched(HTMLParser):
    """Collects the resources that a browser loads with a page."""

    def __init__(self):
        super().__init__()
        self.urls = []

    def handle_starttag(self, tag, attrs):
        attributes = {"script": "src", "img": "src", "link": "href", "iframe": "src"}
        value = dict(attrs).get(attributes.get(tag, ""))
        if value:
            self.urls.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder


def test_pages_load_no_external_resources(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text())
        assert parser.urls
        assert [url for url in parser.urls if re.match(r"(https?:)?//", url)] == [], page


def test_links_to_sources_are_replaced_by_names(site):
    text = (site / "worker.html").read_text()
    assert "cascade/models/subprocess/foreign/worker.py" in text
    assert 'href="../cascade' not in text


def test_python_page_matches_docstrings():
    rows = dict(re.findall(r"^\| `cu\.([\w.]+)` \| (.*?) \|", (DOCS / "api.md").read_text(), re.M))
    functions = {name: getattr(cu, name) for name in cu.__all__ if name != "plots"}
    functions |= {
        f"plots.{name}": function
        for name, function in inspect.getmembers(cu.plots, inspect.isfunction)
        if name[0] != "_" and function.__module__ == cu.plots.__name__
    }
    assert rows == {
        name: " ".join(inspect.getdoc(function).split("\n\n")[0].split())
        for name, function in functions.items()
    }


def test_every_python_block_can_be_compiled():
    for page in sorted(DOCS.rglob("*.md")):
        for code in blocks(page, "python"):
            compile(code, str(page), "exec")
