"""MkDocs hook that replaces links out of docs/ by file names.

Such links work in the repository, but not on the built site.
"""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace links to files outside the documentation by their names."""
    source = ROOT / "docs" / page.file.src_path

    def named(link: re.Match[str]) -> str:
        text, target = link[1], (source.parent / link[2]).resolve()
        if target.is_relative_to(ROOT / "docs"):
            return link[0]
        if not target.exists():
            raise FileNotFoundError(
                f"{page.file.src_path} links to {link[2]}, which does not exist."
            )
        path = target.relative_to(ROOT).as_posix()
        return f"`{path}`" if text.strip("`").endswith(target.name) else f"{text} (`{path}`)"

    return _LINK.sub(named, markdown)
