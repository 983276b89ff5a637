"""The ensemble as MLflow serves it: image paths in, decisions and boxes out.

MLflow runs this file as code (no pickle) and hands it the ensemble's folder as an artifact. It
needs this package where it is loaded. Models are imported when the ensemble is, so that to
register one costs no torch.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, Schema

if TYPE_CHECKING:
    from cascade.predictor import Verdict

ARTIFACT = "ensemble"  # the key under which the folder is logged
AT_A_TIME = 16  # images in memory

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "image")]),
    outputs=Schema(
        [
            ColSpec(DataType.string, "image"),
            ColSpec(DataType.double, "p"),
            ColSpec(DataType.boolean, "yes"),
            ColSpec(DataType.double, "agreement"),
            ColSpec(DataType.long, "n_voters"),
            ColSpec(DataType.string, "boxes"),
        ]
    ),
)


class EnsembleModel(PythonModel):  # type: ignore[misc] # MLflow is not typed
    """Loads the ensemble once and answers for tables of image paths."""

    def load_context(self, context: PythonModelContext) -> None:
        """Build the members from the logged folder."""
        from cascade.ensemble import Ensemble
        from cascade.predictor import Predictor

        folder = Path(context.artifacts[ARTIFACT])
        self._predictor = Predictor(Ensemble.load(folder))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: None = None
    ) -> pd.DataFrame:
        """Return one row per path: see `SIGNATURE`.

        `p` is the probability of the image decision, NaN where no member may vote. `boxes` is a
        JSON list of `{label, score, box}`, `box` being relative corners `x1, y1, x2, y2`.

        Args:
            context: What `load_context` was given.
            model_input: The column `image` holds paths that can be read where this runs.
            params: There are none.

        Raises:
            ImageError: A path cannot be read as an image.
        """
        from cascade.images import read

        paths = [str(path) for path in model_input["image"]]
        rows: list[dict[str, object]] = []
        for start in range(0, len(paths), AT_A_TIME):
            group = paths[start : start + AT_A_TIME]
            verdicts = self._predictor.predict([read(path) for path in group])
            rows += [_row(path, one) for path, one in zip(group, verdicts, strict=True)]
        return pd.DataFrame(rows, columns=SIGNATURE.outputs.input_names())


def _row(path: str, verdict: "Verdict") -> dict[str, object]:
    objects = verdict.objects
    boxes = [
        {"label": label, "score": score, "box": corners}
        for label, score, corners in zip(
            objects.labels, objects.scores.tolist(), objects.boxes_xyxy.tolist(), strict=True
        )
    ]
    return {
        "image": path,
        "p": float("nan") if verdict.p is None else verdict.p,
        "yes": verdict.yes,
        "agreement": verdict.agreement,
        "n_voters": verdict.n_voters,
        "boxes": json.dumps(boxes),
    }


mlflow.models.set_model(EnsembleModel())
