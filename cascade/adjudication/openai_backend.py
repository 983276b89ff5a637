"""Planner and vision model on servers with an OpenAI-compatible API.

A client runs its event loop in a separate thread, and its connections survive the loop of a call.
Canceling a call also cancels its request at the server.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any

from cascade.adjudication.prompts import MAX_REASON_CHARS, Message
from cascade.adjudication.sanitizing import to_json
from cascade.imaging.batches import Image
from cascade.models.language.client import LanguageClient, Question
from cascade.models.language.reply_parser import Reply, answer_of
from cascade.models.language.vision_language import encode_jpeg
from cascade.predictions import Answer
from cascade.serving import defaults

PLANNER_TOKENS = 1024  # per reply; eight operations take about 400, a reasoning model needs more

_VISION_RULES = (
    "You get one close-up of a photograph and a question about it, quoted. Look for yourself. "
    'Answer in JSON with two keys: "answer", "yes" or "no"; "reason", one short sentence on what '
    "you see."
)
_VISION_SCHEMA = {
    "type": "object",
    "properties": {  # the answer comes first, before the reasoning can change its probability
        "answer": {"type": "string", "enum": ["yes", "no"]},
        "reason": {"type": "string", "maxLength": MAX_REASON_CHARS},
    },
    "required": ["answer", "reason"],
    "additionalProperties": False,
}


class ServedPlanner:
    """A text or vision model that chooses the operations.

    Args:
        client: Client with the server and the model's name; closed by its creator.
        max_tokens: Maximal length of a reply, including thoughts.
    """

    def __init__(self, client: LanguageClient, *, max_tokens: int = PLANNER_TOKENS) -> None:
        self._client, self._max_tokens = client, max_tokens

    async def reply(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Reply:
        """Return the next turn of a conversation."""
        question = Question(tuple(messages), schema, self._max_tokens)
        return await asyncio.wrap_future(self._client.submit(question))


class ServedVisionModel:
    """A vision model that answers yes or no, with a probability, about a crop.

    Args:
        client: Client with the server and the model's name; closed by its creator.
        max_side_px: Maximal longer side of a sent image, in pixels.
        max_tokens: Maximal length of an answer.
    """

    def __init__(
        self,
        client: LanguageClient,
        *,
        max_side_px: int = defaults.MAX_SIDE_PX,
        max_tokens: int = defaults.MAX_TOKENS,
    ) -> None:
        self._client = client
        self._max_side_px, self._max_tokens = max_side_px, max_tokens

    async def look(self, crop: Image, question: str) -> Answer:
        """Return the answer to a yes/no question about a crop."""
        encoded = base64.b64encode(encode_jpeg(crop, max_side_px=self._max_side_px)).decode()
        image = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{encoded}"}}
        text = {"type": "text", "text": to_json({"question": question})}
        messages = (
            {"role": "system", "content": _VISION_RULES},
            {"role": "user", "content": [image, text]},
        )
        query = Question(messages, _VISION_SCHEMA, self._max_tokens)
        return answer_of(await asyncio.wrap_future(self._client.submit(query)))
