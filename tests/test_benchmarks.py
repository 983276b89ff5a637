"""Benchmarks that need a GPU run dry elsewhere, so that they are whole on the day of one."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent / "benchmarks"


def test_the_benchmark_of_members_runs_dry(tmp_path):
    done = subprocess.run(
        [
            sys.executable, BENCHMARKS / "bench_members.py", "--tiny",
            "--only", "dinov3_hplus,yolo26x", "--out", tmp_path,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "members.json").read_text())
    assert [one["member"] for one in report["members"]] == ["dinov3_hplus", "yolo26x"]
    assert all(one["images_s"] > 0 for one in report["members"])
