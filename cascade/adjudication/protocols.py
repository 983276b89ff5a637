"""The two models of the adjudicator. Whatever answers these calls can be one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cascade.adjudication.prompts import Message
from cascade.imaging.batches import Image
from cascade.models.language.reply_parser import Reply
from cascade.predictions import Answer


class Root(Protocol):
    """Decides what to ask for next; it may well be blind."""

    async def reply(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Reply:
        """Return what it says next in a conversation, as JSON of the schema.

        Raises:
            ServerError: There is no answer.
        """
        ...


class Eye(Protocol):
    """Looks at crops."""

    async def look(self, crop: Image, question: str) -> Answer:
        """Return the answer to a yes/no question; the empty one where it is neither.

        Raises:
            ServerError: There is no answer.
        """
        ...
