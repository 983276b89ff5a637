import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from curation.report import compose
from curation.report.page import Cell, Gallery, Page, Picture, Section, Table
from curation.report.render import html, terminal

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Balance(HTMLParser):
    """Notes tags that are not closed, and addresses that lead out of the file."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses = [], []

    def handle_starttag(self, tag, attributes):
        self.addresses += [v for name, v in attributes if name in ("src", "href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(make_facts, make_round_record):
    return compose.compose(make_facts(), make_round_record(2), [make_round_record(1)])


def test_the_page_needs_nothing_else(page):
    text = html.render(page)
    parsed = Balance()
    parsed.feed(text)
    assert parsed.open == []
    assert {address.partition(":")[0].partition("#")[0] for address in parsed.addresses} == {
        "",
        "data",
    }
    assert "<script" not in text
    assert "url(" not in text


def test_links_within_the_page_have_a_goal(page):
    text = html.render(page)
    for goal in re.findall(r'href="#([^"]+)"', text):
        assert f'id="{goal}"' in text


def test_pictures_are_small_images(page):
    uris = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html.render(page))
    assert len(uris) == 18
    for uri in uris:
        with Image.open(io.BytesIO(base64.b64decode(uri))) as image:
            assert max(image.size) <= 320


def test_nothing_that_comes_from_data_is_markup(make_boxes):
    evil = '<script>alert("x")</script>'
    page = Page(
        title=evil,
        headline=evil,
        tone="",
        facts=((evil, evil),),
        sections=(
            Section(
                title=evil,
                text=(evil,),
                tables=(Table.of(evil, [[Cell(evil, bar=0.5)], [evil]], evil),),
                galleries=(
                    Gallery(evil, evil, (Picture(f"/{evil}.jpg", evil, evil, None, make_boxes()),)),
                ),
            ),
            Section(title="empty", not_run=evil),
        ),
    )
    text = html.render(page)
    assert "<script" not in text
    parsed = Balance()
    parsed.feed(text)
    assert parsed.open == []


def test_the_terminal_says_the_same(page):
    from rich.console import Console

    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(terminal.render(page))
    printed = console.export_text()
    for section in page.sections:
        assert section.title in printed
        for table in section.tables:
            for row in table.rows:
                assert row[0].text in printed
    assert page.headline in printed
    assert "drive00_frame0000.jpg" in printed


def test_brackets_in_data_are_no_style(page):
    from rich.console import Console

    odd = replace(page, title="[bold]x", facts=(("a [red]", "[/]"),))
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(terminal.render(odd))
    printed = console.export_text()
    assert "[bold]x" in printed
    assert "a [red]" in printed
