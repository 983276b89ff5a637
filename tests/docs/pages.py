"""The pages of the documentation, and the code in them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)


def blocks(page, *languages):
    """Return the code blocks of a page that are in one of the languages, in order."""
    return [code for language, code in _BLOCK.findall(page.read_text()) if language in languages]


def name(page):
    return page.relative_to(DOCS).as_posix() if page.is_relative_to(DOCS) else page.name
