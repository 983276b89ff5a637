"""How long `curate --help` takes, beside a Python that does nothing.

    python tests/benchmarks/bench_cold_start.py

Ends with 1 where it takes more than 0.6 s.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from machine import describe, side_by_side, table

MOST_S = 0.6


def main() -> int:
    """Run it and return the exit code."""
    curate = Path(sys.executable).with_name("curate")
    found = side_by_side(
        {
            "curate --help": lambda: _run(curate, "--help"),
            "python -c pass": lambda: _run(sys.executable, "-c", "pass"),
        },
        times=9,
    )
    rows = [[name, seconds] for name, (seconds, _) in found.items()]
    taken, bare = (one[0] for one in found.values())
    print(f"{describe()}\n{table(['command', 'seconds, median of 9'], rows)}")  # noqa: T201
    print(f"curate --help over python: {taken / bare:.1f}; ok: {taken <= MOST_S}")  # noqa: T201
    return int(taken > MOST_S)


def _run(*words: object) -> None:
    subprocess.run([str(one) for one in words], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
