"""Prompts of a taxonomy, and their tokens in a text.

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

NO_OWNER = -1  # owner of the tokens between prompts


def prompts_of(taxonomy: Taxonomy) -> tuple[str, ...]:
    """Return the prompts for an open-vocabulary member: each class's prompts, or else its name.

    Classes and prompts keep their order; spellings that a taxonomy treats as equal appear once.
    """
    prompts: dict[str, str] = {}
    for item in taxonomy.classes:
        for prompt in item.prompts or (item.name,):
            prompts.setdefault(fold(prompt), prompt)
    return tuple(prompts.values())


@dataclass(frozen=True)
class Caption:
    """Several prompts in one text: `a traffic cone. a truck.` [0].

    Attributes:
        text: Text.
        spans: Start and end of each prompt in the text, in characters.
    """

    text: str
    spans: tuple[tuple[int, int], ...]


def caption(prompts: Sequence[str]) -> Caption:
    """Return the prompts as one text, in lower case, each followed by a period.

    Periods and question marks within a prompt are dropped, since the model would end it there.

    Raises:
        TaxonomyError: A prompt contains no word.
    """
    text, spans = "", []
    for prompt in prompts:
        phrase = " ".join(re.sub("[.?]", " ", prompt.lower()).split())
        if not phrase:
            raise TaxonomyError(f"The prompt {prompt!r} must contain at least one word.")
        start = len(text) + (1 if text else 0)
        spans.append((start, start + len(phrase)))
        text = f"{text} {phrase}." if text else f"{phrase}."
    return Caption(text, tuple(spans))


def chunks(
    prompts: Sequence[str], length: Callable[[str], int], limit: int
) -> list[tuple[str, ...]]:
    """Return the prompts, in order, grouped into as few captions as possible.

    Args:
        prompts: Prompts.
        length: Returns the number of tokens of a text, including special tokens.
        limit: Maximum number of tokens of a text.

    Raises:
        TaxonomyError: A single prompt exceeds the limit.
    """
    groups: list[tuple[str, ...]] = []
    for prompt in prompts:
        if groups and length(caption([*groups[-1], prompt]).text) <= limit:
            groups[-1] = (*groups[-1], prompt)
            continue
        alone = length(caption([prompt]).text)
        if alone > limit:
            raise TaxonomyError(
                f"The prompt {prompt!r} must have at most {limit} tokens, got {alone}. Shorten it."
            )
        groups.append((prompt,))
    return groups


def token_owners(spans: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Return the prompt index of each token; `NO_OWNER` for periods and special tokens.

    Args:
        spans: Spans of the prompts, as in `Caption`.
        offsets: Start and end of each token in the text; empty for special tokens.
    """
    return [
        next(
            (i for i, (low, high) in enumerate(spans) if low <= start < stop <= high),
            NO_OWNER,
        )
        for start, stop in offsets
    ]


def best_prompts(
    logits: Tensor, owners: Tensor, prompts: int, threshold: float
) -> tuple[Tensor, Tensor]:
    """Return the prompt that each box depicts, and the score of that prompt's best token.

    The tokens that reach the threshold are the phrase of the box. For a phrase across several
    prompts, the prompt with the most evidence wins: the sum by which its tokens' logits exceed
    the threshold, which counts every further word regardless of the length of other prompts.
    Without a phrase, the best token decides.

    Args:
        logits: Logits of boxes and T tokens, shape (..., T).
        owners: Owner of each token, shape (T,), `NO_OWNER` or below `prompts`.
        prompts: Number of prompts.
        threshold: Minimum score of a token of the phrase, in (0, 1).

    Returns:
        Index of the prompt and score in [0, 1], each of shape (...).
    """
    logits = logits.float()
    columns = torch.where(owners < 0, prompts, owners).expand(logits.shape)
    shape = (*logits.shape[:-1], prompts + 1)  # the last column collects tokens without owner
    excess = (logits - math.log(threshold / (1 - threshold))).clamp(min=0)
    evidence = excess.new_zeros(shape).scatter_add(-1, columns, excess)[..., :-1]
    peaks = logits.new_full(shape, -torch.inf).scatter_reduce(-1, columns, logits, "amax")
    peaks = peaks[..., :-1]
    best = torch.where((evidence > 0).any(dim=-1), evidence.argmax(dim=-1), peaks.argmax(dim=-1))
    return best, peaks.gather(-1, best[..., None])[..., 0].sigmoid()
