"""The ensemble as MLflow serves it: images in, as paths or as bytes; decisions and boxes out.

MLflow runs this file as code (no pickle) and hands it the ensemble's folder as an artifact. It
needs this package where it is loaded. Models are imported when the ensemble is, so that to
register one costs no torch. A file that is not what was registered is refused by its name,
before anything is built from it.
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

ARTIFACT = "ensemble"  # the key under which the folder is logged
FILES = "files"  # the key of the list of its hashes
AT_A_TIME = 16  # images in memory

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
    """Return one small image as bytes, with a name for it: what a caller sends."""
    from PIL import Image

    stream = io.BytesIO()
    Image.linear_gradient("L").resize((96, 64)).convert("RGB").save(stream, format="PNG")
    return pd.DataFrame({"image": ["gradient.png"], "content": [stream.getvalue()]})


class EnsembleModel(PythonModel):  # type: ignore[misc] # MLflow is not typed
    """Loads the ensemble once and answers for tables of images."""

    def load_context(self, context: PythonModelContext) -> None:
        """Build the members from the logged folder.

        Raises:
            PublishError: A file is not what was registered; the message names it.
        """
        from cascade.ensemble import Ensemble
        from cascade.inference.predictor import Predictor
        from curation.tracking.registry import checksums

        folder = Path(context.artifacts[ARTIFACT])
        registered = checksums.from_text(Path(context.artifacts[FILES]).read_text())
        checksums.expect(folder, registered, what="The ensemble")
        self._predictor = Predictor(Ensemble.load(folder))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: None = None
    ) -> pd.DataFrame:
        """Return one row per image: see `SIGNATURE`.

        `p` is the probability of the image decision, NaN where no member may vote. `boxes` is a
        JSON list of `{label, score, box}`, `box` being relative corners `x1, y1, x2, y2`.

        Args:
            context: What `load_context` was given.
            model_input: The column `content` holds files of images as bytes (base64 over HTTP);
                where it holds none, the column `image` holds paths that can be read where this
                runs. Beside content, `image` is only a name.
            params: There are none.

        Raises:
            ImageError: An image cannot be read.
        """
        names = _column(model_input, "image")
        contents = _column(model_input, "content")
        rows: list[dict[str, object]] = []
        for start in range(0, len(model_input), AT_A_TIME):
            some = slice(start, start + AT_A_TIME)
            images = [_read(*one) for one in zip(names[some], contents[some], strict=True)]
            verdicts = self._predictor.predict(images)
            rows += [_row(name, one) for name, one in zip(names[some], verdicts, strict=True)]
        return pd.DataFrame(rows, columns=SIGNATURE.outputs.input_names())


def _column(table: pd.DataFrame, name: str) -> list[object]:
    """Return a column, None where a value or the whole column is absent."""
    if name not in table:
        return [None] * len(table)
    return [one if isinstance(one, (str, bytes)) else None for one in table[name]]


def _read(name: object, content: object) -> "Image":
    from cascade.errors import ImageError
    from cascade.imaging.batches import read

    if isinstance(content, bytes):
        with TemporaryDirectory(prefix="image-") as folder:
            path = Path(folder) / "content"
            path.write_bytes(content)
            return read(path)
    if name is None:
        raise ImageError("A row needs an image: its path in `image`, or its bytes in `content`.")
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
