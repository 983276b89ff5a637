"""MLflow model of an ensemble: images as paths or bytes in, decisions and boxes out.

MLflow runs this file as code (no pickle) and passes the ensemble's folder as an artifact. This
package must be installed where it is loaded. Model libraries are imported on load, so that
registering an ensemble does not import torch. A changed file is refused before anything is
built from it.
"""

import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, Schema

if TYPE_CHECKING:
    from cascade.imaging.batches import Image
    from cascade.inference.predictor import Verdict

ARTIFACT = "ensemble"  # key of the ensemble's folder
FILES = "files"  # key of the list of checksums
BATCH_SIZE = 16  # images in memory

SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec(DataType.string, "image", required=False),
            ColSpec(DataType.binary, "content", required=False),
        ]
    ),
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


def input_example() -> pd.DataFrame:
    """Return an example request: one small image as bytes, with a name."""
    from PIL import Image

    stream = io.BytesIO()
    Image.linear_gradient("L").resize((96, 64)).convert("RGB").save(stream, format="PNG")
    return pd.DataFrame({"image": ["gradient.png"], "content": [stream.getvalue()]})


class EnsembleModel(PythonModel):  # type: ignore[misc] # MLflow is not typed
    """MLflow model that loads the ensemble once and predicts tables of images."""

    def load_context(self, context: PythonModelContext) -> None:
        """Build the members from the logged folder.

        Raises:
            PublishError: A file differs from what was registered; the message names it.
        """
        from cascade.ensemble import Ensemble
        from cascade.inference.predictor import Predictor
        from curation.tracking.registry import checksums

        folder = Path(context.artifacts[ARTIFACT])
        registered = checksums.from_text(Path(context.artifacts[FILES]).read_text())
        checksums.verify(folder, registered, subject="The ensemble")
        self._predictor = Predictor(Ensemble.load(folder))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: None = None
    ) -> pd.DataFrame:
        """Return one row per image: see `SIGNATURE`.

        `p` is the probability of the image decision, NaN if no member may vote. `boxes` is a
        JSON list of `{label, score, box}`, `box` being relative corners `x1, y1, x2, y2`.

        Args:
            context: Context of the model.
            model_input: Table with image files as bytes in `content` (base64 over HTTP), or
                with paths readable on this machine in `image`. With content, `image` is only a
                name.
            params: Not used.

        Raises:
            ImageError: An image cannot be read.
        """
        names = _column(model_input, "image")
        contents = _column(model_input, "content")
        rows: list[dict[str, object]] = []
        for start in range(0, len(model_input), BATCH_SIZE):
            batch = slice(start, start + BATCH_SIZE)
            images = [_read(*row) for row in zip(names[batch], contents[batch], strict=True)]
            verdicts = self._predictor.predict(images)
            rows += [_row(*pair) for pair in zip(names[batch], verdicts, strict=True)]
        return pd.DataFrame(rows, columns=SIGNATURE.outputs.input_names())


def _column(table: pd.DataFrame, name: str) -> list[object]:
    """Return a column with None for missing values, or for a missing column."""
    if name not in table:
        return [None] * len(table)
    return [value if isinstance(value, (str, bytes)) else None for value in table[name]]


def _read(name: object, content: object) -> "Image":
    from cascade.errors import ImageError
    from cascade.imaging.batches import read

    if isinstance(content, bytes):
        with TemporaryDirectory(prefix="image-") as folder:
            path = Path(folder) / "content"
            path.write_bytes(content)
            return read(path)
    if name is None:
        raise ImageError("A row needs an image: a path in `image`, or bytes in `content`.")
    return read(str(name))


def _row(name: object, verdict: "Verdict") -> dict[str, object]:
    objects = verdict.objects
    boxes = [
        {"label": label, "score": score, "box": corners}
        for label, score, corners in zip(
            objects.labels, objects.scores.tolist(), objects.boxes_xyxy.tolist(), strict=True
        )
    ]
    return {
        "image": "" if name is None else name,
        "p": float("nan") if verdict.p is None else verdict.p,
        "yes": verdict.yes,
        "agreement": verdict.agreement,
        "n_voters": verdict.n_voters,
        "boxes": json.dumps(boxes),
    }


mlflow.models.set_model(EnsembleModel())
