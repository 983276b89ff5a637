"""What mkdocs makes of a link that leads out of docs/: the file's name, if the file is there.

Beside the sources such a link works; the built pages lie elsewhere, and have no sources by them.
"""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace links to files that are not documentation by what they point at."""
    source = ROOT / "docs" / page.file.src_path

    def named(link: re.Match[str]) -> str:
        text, target = link[1], (source.parent / link[2]).resolve()
        if target.is_relative_to(ROOT / "docs"):
            return link[0]
        if not target.exists():
            raise FileNotFoundError(f"{page.file.src_path} links to {link[2]}, which is not there.")
        path = target.relative_to(ROOT).as_posix()
        return f"`{path}`" if text.strip("`").endswith(target.name) else f"{text} (`{path}`)"

    return _LINK.sub(named, markdown)
