"""Prompts of a taxonomy, and which of them the tokens of a text speak of.

- [0] Liu et al., Grounding DINO: Marrying DINO with Grounded Pre-Training, ECCV 2024
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cascade.errors import TaxonomyError
from cascade.taxonomy import Taxonomy, fold

NOBODY = -1  # owns the tokens between prompts


def prompts_of(taxonomy: Taxonomy) -> tuple[str, ...]:
    """Return what to ask an open-vocabulary member for: each class's prompts, else its name.

    Classes keep their order, and prompts theirs; words that a taxonomy takes for the same
    stand there once.
    """
    found: dict[str, str] = {}
    for one in taxonomy.classes:
        for prompt in one.prompts or (one.name,):
            found.setdefault(fold(prompt), prompt)
    return tuple(found.values())


@dataclass(frozen=True)
class Caption:
    """Several prompts in one text: `a traffic cone. a truck.` [0].

    Attributes:
        text: The text.
        spans: Where each prompt begins and ends in it, in characters.
    """

    text: str
    spans: tuple[tuple[int, int], ...]


def caption(prompts: Sequence[str]) -> Caption:
    """Return the prompts as one text, in lower case, each ended by a full stop.

    Full stops and question marks inside a prompt are left out: to the model they end it.

    Raises:
        TaxonomyError: A prompt holds no word.
    """
    text, spans = "", []
    for prompt in prompts:
        phrase = " ".join(re.sub("[.?]", " ", prompt.lower()).split())
        if not phrase:
            raise TaxonomyError(f"The prompt {prompt!r} must hold at least one word.")
        start = len(text) + (1 if text else 0)
        spans.append((start, start + len(phrase)))
        text = f"{text} {phrase}." if text else f"{phrase}."
    return Caption(text, tuple(spans))


def chunks(
    prompts: Sequence[str], length: Callable[[str], int], limit: int
) -> list[tuple[str, ...]]:
    """Return the prompts, in order, in as few captions as fit.

    Args:
        prompts: The prompts.
        length: Tells how many tokens a text has, those that the tokenizer adds included.
        limit: The most tokens that a text may have.

    Raises:
        TaxonomyError: A prompt alone is longer.
    """
    found: list[tuple[str, ...]] = []
    for prompt in prompts:
        if found and length(caption([*found[-1], prompt]).text) <= limit:
            found[-1] = (*found[-1], prompt)
            continue
        alone = length(caption([prompt]).text)
        if alone > limit:
            raise TaxonomyError(
                f"The prompt {prompt!r} must have at most {limit} tokens, got {alone}. Shorten it."
            )
        found.append((prompt,))
    return found


def owners(spans: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Return which prompt each token belongs to, `NOBODY` for full stops and special tokens.

    Args:
        spans: Of the prompts, as in `Caption`.
        offsets: Where each token begins and ends in the text; empty for special tokens.
    """
    return [
        next(
            (i for i, (low, high) in enumerate(spans) if low <= start < stop <= high),
            NOBODY,
        )
        for start, stop in offsets
    ]


def likeliest(
    logits: Tensor, token_owners: Tensor, prompts: int, threshold: float
) -> tuple[Tensor, Tensor]:
    """Return which prompt each box speaks of, and the score of that prompt's surest token.

    The tokens that reach the threshold are the phrase of the box. Where it lies in one prompt,
    that prompt it is; where it is scattered over several, the one with the most evidence: the
    sum of what its tokens' logits exceed the threshold by, so that every further word counts
    for its prompt however long others are. Where no token reaches the threshold the surest
    token decides.

    Args:
        logits: Of boxes and T tokens, shape (..., T).
        token_owners: Of each token, shape (T,), `NOBODY` or below `prompts`.
        prompts: How many there are.
        threshold: The least score of a token that belongs to the phrase, in (0, 1).

    Returns:
        Index of the prompt and score in [0, 1], each of shape (...).
    """
    logits = logits.float()
    places = torch.where(token_owners < 0, prompts, token_owners).expand(logits.shape)
    columns = (*logits.shape[:-1], prompts + 1)  # the last collects what is nobody's
    excess = (logits - math.log(threshold / (1 - threshold))).clamp(min=0)
    evidence = excess.new_zeros(columns).scatter_add(-1, places, excess)[..., :-1]
    peaks = logits.new_full(columns, -torch.inf).scatter_reduce(-1, places, logits, "amax")
    peaks = peaks[..., :-1]
    chosen = torch.where((evidence > 0).any(dim=-1), evidence.argmax(dim=-1), peaks.argmax(dim=-1))
    return chosen, peaks.gather(-1, chosen[..., None])[..., 0].sigmoid()
