"""Root and eye behind servers of OpenAI's dialect."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any

from cascade.adjudication.prompts import LONGEST_REASON, Message
from cascade.adjudication.sanitizing import as_json
from cascade.imaging.batches import Image
from cascade.models.language.client import LanguageClient, Question
from cascade.models.language.reply_parser import Reply, answer_of
from cascade.models.language.vision_language import jpeg
from cascade.predictions import Answer
from cascade.serving import defaults

ROOT_TOKENS = 1024  # of one reply: eight operations have some 400; a model that thinks needs more

_EYE_RULES = (
    "You get one close-up of a photograph and a question about it, quoted. Look for yourself. "
    'Answer in JSON with two keys: "answer", "yes" or "no"; "reason", one short sentence on what '
    "you see."
)
_EYE_SCHEMA = {
    "type": "object",
    "properties": {  # the answer first: its probability is then unmoved by the reasoning
        "answer": {"type": "string", "enum": ["yes", "no"]},
        "reason": {"type": "string", "maxLength": LONGEST_REASON},
    },
    "required": ["answer", "reason"],
    "additionalProperties": False,
}


class ServedRoot:
    """A text or vision model that decides what to ask for."""

    def __init__(self, client: LanguageClient, *, max_tokens: int = ROOT_TOKENS) -> None:
        """Ask nothing yet.

        Args:
            client: Its server and its name; whoever made it closes it.
            max_tokens: The longest reply, thoughts included.
        """
        self._client, self._max_tokens = client, max_tokens

    async def reply(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Reply:
        """Return what it says next in a conversation."""
        return await _asked(self._client, Question(tuple(messages), schema, self._max_tokens))


class ServedEye:
    """A vision model that answers yes or no, and how probably, about a crop."""

    def __init__(
        self,
        client: LanguageClient,
        *,
        max_side_px: int = defaults.MAX_SIDE_PX,
        max_tokens: int = defaults.MAX_TOKENS,
    ) -> None:
        """Ask nothing yet.

        Args:
            client: Its server and its name; whoever made it closes it.
            max_side_px: The longer side of what is sent, at most.
            max_tokens: The longest answer.
        """
        self._client = client
        self._max_side_px, self._max_tokens = max_side_px, max_tokens

    async def look(self, crop: Image, question: str) -> Answer:
        """Return the answer to a yes/no question about a crop."""
        encoded = base64.b64encode(jpeg(crop, max_side_px=self._max_side_px)).decode()
        shown = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{encoded}"}}
        content = [shown, {"type": "text", "text": as_json({"question": question})}]
        messages = (
            {"role": "system", "content": _EYE_RULES},
            {"role": "user", "content": content},
        )
        asked = Question(messages, _EYE_SCHEMA, self._max_tokens)
        return answer_of(await _asked(self._client, asked))


async def _asked(client: LanguageClient, question: Question) -> Reply:
    """Return the reply to a question; cancelled, the server is told.

    A client works on a loop of its own, so that its connections outlive ours.

    Raises:
        ServerError: There is none.
    """
    return await asyncio.wrap_future(client.submit(question))
