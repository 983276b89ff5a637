"""The site is built without a warning, opens without a network, and says what the code says."""

import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from pages import DOCS, ROOT, blocks

import curation as cu


class Fetched(HTMLParser):
    """Collects what a browser fetches by itself when it opens a page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        wanted = {"script": "src", "img": "src", "link": "href", "iframe": "src"}
        value = dict(attrs).get(wanted.get(tag, ""))
        if value:
            self.found.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_browser_fetches_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text())
        assert parser.found
        assert [one for one in parser.found if re.match(r"(https?:)?//", one)] == [], page


def test_links_to_sources_became_their_names(site):
    text = (site / "worker.html").read_text()
    assert "cascade/models/subprocess/foreign/worker.py" in text
    assert 'href="../cascade' not in text


def test_the_python_page_says_what_the_docstrings_say():
    rows = dict(re.findall(r"^\| `cu\.([\w.]+)` \| (.*?) \|", (DOCS / "api.md").read_text(), re.M))
    drawn = [one for one in vars(cu.plots) if inspect.isfunction(vars(cu.plots)[one])]
    ours = [
        one
        for one in drawn
        if one[0] != "_" and vars(cu.plots)[one].__module__ == cu.plots.__name__
    ]
    expected = {one: getattr(cu, one) for one in cu.__all__ if one != "plots"}
    expected |= {f"plots.{one}": getattr(cu.plots, one) for one in ours}
    said = {
        one: " ".join(inspect.getdoc(of).split("\n\n")[0].split()) for one, of in expected.items()
    }
    assert rows == said


def test_every_python_block_can_be_compiled():
    for page in sorted(DOCS.rglob("*.md")):
        for code in blocks(page, "python"):
            compile(code, str(page), "exec")
