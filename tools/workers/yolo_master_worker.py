"""Worker for YOLO-Master, Tencent's fork of ultralytics (AGPL-3.0) under the same package name.

    python yolo_master_worker.py WEIGHTS.pt [IMAGE_SIDE]

Install the fork into a separate environment, see its README; the member's `command` is
`["/opt/yolo_master/bin/python", "tools/workers/yolo_master_worker.py", "{checkpoint}"]`. The
weights are a pickle, and loading executes its content: use only trusted files.

Not tested against the fork: written from its documented Python interface, which equals that of
ultralytics.

- [0] https://github.com/Tencent/YOLO-Master
"""

from __future__ import annotations

import sys
from typing import Any

from worker import Detector, serve

MIN_SCORE = 0.01
MAX_BOXES = 100


def load() -> Detector:
    """Load the weights of the command line."""
    from ultralytics import YOLO

    weights, side = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 640
    network = YOLO(weights)
    names = [network.names[i] for i in range(len(network.names))]

    def detect(paths: list[str]) -> list[dict[str, Any]]:
        results = network.predict(
            paths, imgsz=side, conf=MIN_SCORE, max_det=MAX_BOXES, verbose=False
        )
        return [
            {
                "boxes_xyxy": result.boxes.xyxyn.tolist(),
                "scores": result.boxes.conf.tolist(),
                "labels": [names[int(i)] for i in result.boxes.cls],
            }
            for result in results
        ]

    return Detector("YOLO-Master", "AGPL-3.0", names, detect)


if __name__ == "__main__":
    serve(load)
