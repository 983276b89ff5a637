"""Vision-language model on a server, which answers the taxonomy's question about every image.

Each image is one request, and all requests of a batch are in flight concurrently. An image
without an answer gets a `Failure` and does not affect other images; an answer that is neither yes
nor no is the empty `Answer`.
"""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import nn

from cascade.errors import CheckpointError, ServerError
from cascade.imaging.batches import Batch, Image
from cascade.models.language import prompt
from cascade.models.language.client import LanguageClient, Question
from cascade.models.language.reply_parser import Reply, answer_of
from cascade.predictions import Answer, Detections, Failure
from cascade.protocols import Tensors
from cascade.serving import defaults
from cascade.taxonomy import Taxonomy

logger = logging.getLogger(__name__)

_JPEG_QUALITY = 90
_MIN_CROP_PX = 224  # longer side; a smaller crop has too few patches for a vision model


class VisionLanguage:
    """Model on an OpenAI-compatible server, for example vLLM (`curate serve`)."""

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        taxonomy: Taxonomy,
        model: str,
        server: str | None = None,
        crops: int = 0,
        max_side_px: int = defaults.MAX_SIDE_PX,
        max_tokens: int = defaults.MAX_TOKENS,
        concurrency: int = defaults.CONCURRENCY,
        timeout_s: float = defaults.TIMEOUT_S,
        key_variable: str = defaults.KEY_VARIABLE,
    ) -> None:
        """Set up the client without a connection: the server may start later.

        Args:
            checkpoint: None, since the server holds the weights.
            taxonomy: Source of the question.
            model: Name of the model on the server.
            server: URL of the API; None for CURATION_VLM_URL, or else vLLM's default on this
                machine.
            crops: Maximum number of close-ups of uncertain boxes in addition to the full image.
            max_side_px: Maximum longer side of the sent images.
            max_tokens: Maximum length of an answer.
            concurrency: Maximum number of requests in flight.
            timeout_s: Time limit of one attempt.
            key_variable: Environment variable of the server's key, if it needs one.

        Raises:
            CheckpointError: A checkpoint was passed.
            ServerError: The URL is invalid.
        """
        if checkpoint is not None:
            raise CheckpointError(
                f"Cannot load {checkpoint}: the server loads the weights of a language model. "
                "Omit `source` and name the served model in `params`."
            )
        self.module = nn.Identity()
        self._taxonomy, self._schema = taxonomy, prompt.schema(taxonomy)
        self._crops, self._max_side_px, self._max_tokens = crops, max_side_px, max_tokens
        self.client = LanguageClient(
            url=server or os.environ.get(defaults.URL_VARIABLE) or defaults.URL,
            model=model,
            key_variable=key_variable,
            concurrency=concurrency,
            timeout_s=timeout_s,
        )

    def prepare(self, batch: Batch) -> Tensors:
        """Return one question per image, with its close-ups and detections."""
        detections = batch.detections or (None,) * len(batch)
        rows = zip(batch.images, detections, strict=True)
        return {"questions": [self._question(*row) for row in rows]}

    def forward(self, tensors: Tensors) -> list[Reply | ServerError]:
        """Return the server's reply to each question, or its error."""
        return self.client.ask_all(tensors["questions"])

    def decode(self, raw: Sequence[Reply | ServerError], batch: Batch) -> list[Answer | Failure]:
        """Return one answer per image, in order; a `Failure` for a missing one."""
        errors = [reply for reply in raw if isinstance(reply, ServerError)]
        if errors:
            logger.warning(
                "%s did not answer for %d of %d images: %s",
                self.client.model, len(errors), len(batch), errors[0],
            )  # fmt: skip
        return [_to_answer(reply) for reply in raw]

    def _question(self, image: Image, detections: Detections | None) -> Question:
        crops = prompt.select_crops(detections, self._crops) if detections is not None else ()
        limit = self._max_side_px
        pictures = [encode_jpeg(image, max_side_px=limit)]
        pictures += [
            encode_jpeg(_crop(image, crop.xyxy), max_side_px=limit, min_side_px=_MIN_CROP_PX)
            for crop in crops
        ]
        text = prompt.user_text(self._taxonomy, detections, crops)
        content = [*map(_image_part, pictures), {"type": "text", "text": text}]
        return Question(
            messages=(
                {"role": "system", "content": prompt.system_text(self._taxonomy)},
                {"role": "user", "content": content},
            ),
            schema=self._schema,
            max_tokens=self._max_tokens,
        )


def encode_jpeg(image: Image, *, max_side_px: int, min_side_px: int = 1) -> bytes:
    """Return an image as JPEG, resized to keep its longer side within bounds."""
    height, width = image.shape[:2]
    longer = max(height, width)
    scale = min(max(longer, min_side_px), max_side_px) / longer
    if scale != 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(
            image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        )
    _, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    return encoded.tobytes()


def _crop(image: Image, xyxy: tuple[float, float, float, float]) -> Image:
    """Return the pixels of a relative box, at least one."""
    height, width = image.shape[:2]
    x1, y1 = min(int(xyxy[0] * width), width - 1), min(int(xyxy[1] * height), height - 1)
    x2, y2 = int(np.ceil(xyxy[2] * width)), int(np.ceil(xyxy[3] * height))
    return image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]


def _image_part(encoded: bytes) -> dict[str, Any]:
    url = f"data:image/jpeg;base64,{base64.b64encode(encoded).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _to_answer(reply: Reply | ServerError) -> Answer | Failure:
    if isinstance(reply, ServerError):
        return Failure(type(reply).__name__, " ".join(str(reply).split()))
    return answer_of(reply)
