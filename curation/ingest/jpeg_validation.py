"""Whether the data of JPEG files is whole.

libjpeg decodes what it can, guesses the rest, and only warns: on the stderr of the C library,
which neither Pillow nor OpenCV hands over. So a child process decodes, and what it says there
is read file by file. As `python -m curation.ingest.jpeg_validation` this module is that child.
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

# It also warns of a few bytes too many before a marker, which cheap cameras write: no harm.
_DAMAGE = re.compile(rb"premature end[^\n]*|bad \w+ code|found marker [^\n]* RST\d", re.IGNORECASE)
_LEAST_A_CHILD = 50  # files, below which another child costs more than it saves


def damaged(paths: Sequence[Path]) -> dict[Path, str]:
    """Return what is wrong with the data of those JPEG files that are not whole."""
    children = max(1, min(os.cpu_count() or 1, len(paths) // _LEAST_A_CHILD))
    shares = [paths[i::children] for i in range(children)]
    with ThreadPoolExecutor(children) as pool:
        return {path: why for found in pool.map(_of_child, shares) for path, why in found.items()}


def main() -> None:
    """Decode the files that stdin names; on stderr, each one's number goes before the warnings."""
    for number, name in enumerate(filter(None, sys.stdin.buffer.read().split(b"\0"))):
        os.write(2, b"\0%d\n" % number)
        cv2.imdecode(np.fromfile(os.fsdecode(name), np.uint8), cv2.IMREAD_COLOR)


def _of_child(paths: Sequence[Path]) -> dict[Path, str]:
    """Have a child decode the files; one that ends it is damaged, and the rest is for another."""
    if not paths:
        return {}
    done = subprocess.run(  # noqa: S603 - this module, with our own interpreter
        [sys.executable, "-P", "-m", __spec__.name],
        input=b"\0".join(os.fsencode(path) for path in paths),
        capture_output=True,
        check=False,
    )
    said = [one.split(b"\n", 1) for one in done.stderr.split(b"\0")[1:]]
    matches = {int(number): _DAMAGE.search(words) for number, words in said}
    found = {paths[i]: match.group().decode() for i, match in matches.items() if match}
    if done.returncode and not said:
        logger.warning(
            "The data of JPEG files is not checked: %s", done.stderr.decode(errors="replace")
        )
    elif done.returncode:
        last = int(said[-1][0])
        found |= {paths[last]: "ends the decoder"} | _of_child(paths[last + 1 :])
    return found


if __name__ == "__main__":
    main()
