"""Protocols of the two models that the adjudicator uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cascade.adjudication.prompts import Message
from cascade.imaging.batches import Image
from cascade.models.language.reply_parser import Reply
from cascade.predictions import Answer


class Planner(Protocol):
    """Chooses the next operations of a conversation; needs no vision."""

    async def reply(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Reply:
        """Return the next turn of a conversation, as JSON that follows the schema.

        Raises:
            ServerError: The model did not answer.
        """
        ...


class VisionModel(Protocol):
    """Answers questions about crops."""

    async def look(self, crop: Image, question: str) -> Answer:
        """Return the answer to a yes/no question; an empty answer if it is neither.

        Raises:
            ServerError: The model did not answer.
        """
        ...
