"""A worker for RT-DETRv3 (Apache-2.0), which exists for PaddlePaddle only.

    python rt_detr_v3_worker.py FOLDER

Install paddlepaddle (or paddlepaddle-gpu), numpy, opencv-python-headless and pyyaml into an
environment of their own. FOLDER is what PaddleDetection's `tools/export_model.py` writes for the
configuration of the model: `model.pdmodel` (or `model.json`), `model.pdiparams`, `infer_cfg.yml`.

Not tested against Paddle, which cannot be installed here: written from the documented interfaces
of paddle.inference and of PaddleDetection's exported detectors. Those take `image` (stretched),
`im_shape` and `scale_factor`, and return rows of class, score, x1, y1, x2, y2 in pixels of the
image, and how many rows each image has.

- [0] https://github.com/clxia12/RT-DETRv3
- [1] https://github.com/PaddlePaddle/PaddleDetection, deploy/python
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from worker import Detector, serve

MIN_SCORE = 0.01


def load() -> Detector:
    """Load the exported model that the command line names."""
    import cv2
    import numpy as np
    import yaml
    from paddle.inference import Config, create_predictor

    folder = Path(sys.argv[1])
    told = yaml.safe_load((folder / "infer_cfg.yml").read_text())
    names = [str(one) for one in told["label_list"]]
    steps = {one["type"]: one for one in told["Preprocess"]}
    height, width = steps["Resize"]["target_size"]
    if steps["Resize"].get("keep_ratio"):
        raise ValueError("This worker stretches images; the model expects their proportions.")
    normal = steps["NormalizeImage"]
    mean, std = np.zeros(3, np.float32), np.ones(3, np.float32)
    if normal.get("norm_type", "mean_std") == "mean_std":
        mean, std = np.array(normal["mean"], np.float32), np.array(normal["std"], np.float32)

    network = next(one for one in (folder / "model.json", folder / "model.pdmodel") if one.exists())
    predictor = create_predictor(Config(str(network), str(folder / "model.pdiparams")))

    def detect_one(path: str) -> dict[str, Any]:
        image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
        stretched = cv2.resize(image, (width, height), interpolation=steps["Resize"]["interp"])
        pixels = stretched.astype(np.float32)
        if normal.get("is_scale", True):
            pixels /= 255
        scale = [height / image.shape[0], width / image.shape[1]]
        given = {
            "image": ((pixels - mean) / std).transpose(2, 0, 1)[None],
            "im_shape": np.array([[height, width]], np.float32),
            "scale_factor": np.array([scale], np.float32),
        }
        for name in predictor.get_input_names():
            predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(given[name]))
        predictor.run()
        rows = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
        rows = rows[(rows[:, 0] >= 0) & (rows[:, 1] >= MIN_SCORE)]
        sides = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
        return {
            "boxes_xyxy": (rows[:, 2:6] / sides).clip(0, 1).tolist(),
            "scores": rows[:, 1].tolist(),
            "labels": [names[int(i)] for i in rows[:, 0]],
        }

    return Detector(
        "RT-DETRv3", "Apache-2.0", names, lambda paths: [detect_one(one) for one in paths]
    )


if __name__ == "__main__":
    serve(load)
