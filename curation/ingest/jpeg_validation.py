"""Detection of damaged JPEG data.

libjpeg decodes as much as it can, guesses the remainder, and only warns: on the stderr of the C
library, which neither Pillow nor OpenCV exposes. A child process therefore decodes the files, and
its stderr is parsed file by file. Run as `python -m curation.ingest.jpeg_validation`, this module
is that child.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

logger = logging.getLogger(__name__)

# libjpeg also warns of extra bytes before a marker, which cheap cameras write and are harmless.
_DAMAGE = re.compile(rb"premature end[^\n]*|bad \w+ code|found marker [^\n]* RST\d", re.IGNORECASE)
_MIN_FILES_PER_CHILD = 50  # below this, starting another child costs more than it saves


def find_damage(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the reason for each JPEG file whose data is damaged."""
    n_children = max(1, min(os.cpu_count() or 1, len(paths) // _MIN_FILES_PER_CHILD))
    shares = [paths[i::n_children] for i in range(n_children)]
    with ThreadPoolExecutor(n_children) as pool:
        return {
            path: reason
            for damage in pool.map(_decode_in_child, shares)
            for path, reason in damage.items()
        }


def main() -> None:
    """Decode the files listed on stdin; each file's number precedes its warnings on stderr."""
    for number, name in enumerate(filter(None, sys.stdin.buffer.read().split(b"\0"))):
        os.write(2, b"\0%d\n" % number)
        cv2.imdecode(np.fromfile(os.fsdecode(name), np.uint8), cv2.IMREAD_COLOR)


def _decode_in_child(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the damage of files decoded in a child.

    A file that crashes the child is damaged; the files after it go to another child.
    """
    if not paths:
        return {}
    process = subprocess.run(  # noqa: S603 - this module, with our own interpreter
        [sys.executable, "-P", "-m", __spec__.name],
        input=b"\0".join(os.fsencode(path) for path in paths),
        capture_output=True,
        check=False,
    )
    reports = [report.split(b"\n", 1) for report in process.stderr.split(b"\0")[1:]]
    matches = {int(number): _DAMAGE.search(warnings) for number, warnings in reports}
    damage = {paths[i]: match.group().decode() for i, match in matches.items() if match}
    if process.returncode and not reports:
        logger.warning(
            "The data of JPEG files is not checked: %s", process.stderr.decode(errors="replace")
        )
    elif process.returncode:
        last = int(reports[-1][0])
        damage |= {paths[last]: "crashes the decoder"} | _decode_in_child(paths[last + 1 :])
    return damage


if __name__ == "__main__":
    main()
