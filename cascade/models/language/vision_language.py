"""A vision-language model behind a server, asked the taxonomy's question about every image.

One request an image, all of a batch in flight at once. What the server does not answer is a
`Failure` at that image's place and costs no other image anything; what it answers without saying
yes or no is the empty `Answer`.
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
_LEAST_CROP_PX = 224  # the longer side; less is a handful of a vision model's patches


class VisionLanguage:
    """A model that a server of OpenAI's dialect offers, for example vLLM (`curate serve`)."""

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
        """Connect to nothing yet: the server may start later.

        Args:
            checkpoint: None; the weights are the server's.
            taxonomy: Whose question is asked.
            model: The name that the server gives the model.
            server: The URL of its API; None for that in CURATION_VLM_URL, else vLLM's own on this
                machine.
            crops: How many close-ups of doubtful boxes are shown beside the whole image, at most.
            max_side_px: The longer side of what is sent, at most.
            max_tokens: The longest answer.
            concurrency: Requests in flight at once.
            timeout_s: For one attempt.
            key_variable: The environment variable that holds the server's key, where it wants one.

        Raises:
            CheckpointError: A checkpoint was given.
            ServerError: The URL is none.
        """
        if checkpoint is not None:
            raise CheckpointError(
                f"{checkpoint} cannot be loaded here: the weights of a language model are its "
                "server's. Leave `source` out and name the served model in `params`."
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
        """Return one question per image: it, its close-ups, and what was found in it."""
        found = batch.detections or (None,) * len(batch)
        asked = [self._question(*one) for one in zip(batch.images, found, strict=True)]
        return {"questions": asked}

    def forward(self, tensors: Tensors) -> list[Reply | ServerError]:
        """Return the server's reply to each question, or why there is none."""
        return self.client.ask_all(tensors["questions"])

    def decode(self, raw: Sequence[Reply | ServerError], batch: Batch) -> list[Answer | Failure]:
        """Return one answer per image, in order; a `Failure` where the server gave none."""
        failed = [one for one in raw if isinstance(one, ServerError)]
        if failed:
            logger.warning(
                "%s left %d of %d images unanswered: %s",
                self.client.model, len(failed), len(batch), failed[0],
            )  # fmt: skip
        return [_result(one) for one in raw]

    def _question(self, image: Image, found: Detections | None) -> Question:
        crops = prompt.crops_of(found, self._crops) if found is not None else ()
        shown = [jpeg(image, max_side_px=self._max_side_px)]
        shown += [
            jpeg(_cut(image, one.xyxy), max_side_px=self._max_side_px, min_side_px=_LEAST_CROP_PX)
            for one in crops
        ]
        text = prompt.user_text(self._taxonomy, found, crops)
        content = [*map(_image_part, shown), {"type": "text", "text": text}]
        return Question(
            messages=(
                {"role": "system", "content": prompt.system_text(self._taxonomy)},
                {"role": "user", "content": content},
            ),
            schema=self._schema,
            max_tokens=self._max_tokens,
        )


def jpeg(image: Image, *, max_side_px: int, min_side_px: int = 1) -> bytes:
    """Return an image as JPEG, its longer side brought within bounds."""
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


def _cut(image: Image, xyxy: tuple[float, float, float, float]) -> Image:
    """Return the pixels of a relative box: at least one, whatever the box."""
    height, width = image.shape[:2]
    x1, y1 = min(int(xyxy[0] * width), width - 1), min(int(xyxy[1] * height), height - 1)
    x2, y2 = int(np.ceil(xyxy[2] * width)), int(np.ceil(xyxy[3] * height))
    return image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]


def _image_part(encoded: bytes) -> dict[str, Any]:
    url = f"data:image/jpeg;base64,{base64.b64encode(encoded).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _result(raw: Reply | ServerError) -> Answer | Failure:
    if isinstance(raw, ServerError):
        return Failure(type(raw).__name__, " ".join(str(raw).split()))
    return answer_of(raw)
