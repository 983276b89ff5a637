"""Worker for RT-DETRv3 (Apache-2.0), which is available for PaddlePaddle only.

    python rt_detr_v3_worker.py FOLDER

Install paddlepaddle (or paddlepaddle-gpu), numpy, opencv-python-headless and pyyaml into a
separate environment. FOLDER is the output of PaddleDetection's `tools/export_model.py` for the
model's configuration: `model.pdmodel` (or `model.json`), `model.pdiparams`, `infer_cfg.yml`.

Not tested against Paddle: written from the documented interfaces of paddle.inference and of
PaddleDetection's exported detectors. Their inputs are `image` (stretched), `im_shape` and
`scale_factor`; they return rows of class, score, x1, y1, x2, y2 in pixels of the image, and the
number of rows per image.

- [0] https://github.com/clxia12/RT-DETRv3
- [1] https://github.com/PaddlePaddle/PaddleDetection, deploy/python
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from worker import Detector, serve

MIN_SCORE = 0.01
_NETWORKS = ("model.json", "model.pdmodel")


def load() -> Detector:
    """Load the exported model of the command line."""
    import cv2
    import numpy as np
    import yaml
    from paddle.inference import Config, create_predictor

    folder = Path(sys.argv[1])
    config = yaml.safe_load((folder / "infer_cfg.yml").read_text())
    names = [str(name) for name in config["label_list"]]
    steps = {step["type"]: step for step in config["Preprocess"]}
    height, width = steps["Resize"]["target_size"]
    if steps["Resize"].get("keep_ratio"):
        raise ValueError("This worker stretches images; the model keeps proportions.")
    normalize = steps["NormalizeImage"]
    mean, std = np.zeros(3, np.float32), np.ones(3, np.float32)
    if normalize.get("norm_type", "mean_std") == "mean_std":
        mean, std = (
            np.array(normalize["mean"], np.float32),
            np.array(normalize["std"], np.float32),
        )

    network = next(path for path in map(folder.joinpath, _NETWORKS) if path.exists())
    predictor = create_predictor(Config(str(network), str(folder / "model.pdiparams")))

    def detect_image(path: str) -> dict[str, Any]:
        image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
        stretched = cv2.resize(image, (width, height), interpolation=steps["Resize"]["interp"])
        pixels = stretched.astype(np.float32)
        if normalize.get("is_scale", True):
            pixels /= 255
        scale = [height / image.shape[0], width / image.shape[1]]
        inputs = {
            "image": ((pixels - mean) / std).transpose(2, 0, 1)[None],
            "im_shape": np.array([[height, width]], np.float32),
            "scale_factor": np.array([scale], np.float32),
        }
        for name in predictor.get_input_names():
            predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(inputs[name]))
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
        "RT-DETRv3", "Apache-2.0", names, lambda paths: [detect_image(path) for path in paths]
    )


if __name__ == "__main__":
    serve(load)
