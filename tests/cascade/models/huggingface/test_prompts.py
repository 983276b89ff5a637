"""Prompts of a taxonomy, captions, and the prompt of each token."""

import math

import pytest
import torch

from cascade import taxonomy
from cascade.errors import TaxonomyError
from cascade.models.huggingface import prompts
from cascade.models.huggingface.prompts import NO_OWNER

CONE, DRUM = 0, 1


def logit(score):
    return math.log(score / (1 - score))


def of_classes(*classes):
    head = "name: made\ndecision: {name: yes_no, question: 'Is it?'}\nclasses:\n"
    return taxonomy.parse(head + "\n".join(f"  - {{{name}, decides: true}}" for name in classes))


def words(text):
    """Count tokens like a tokenizer with two special tokens."""
    return len(text.replace(".", " .").split()) + 2


# --- prompts -----------------------------------------------------------------------------------


def test_class_without_prompts_uses_its_name():
    made = of_classes("name: cone, prompts: [an orange cone, a pylon]", "name: drum")
    assert prompts.prompts_of(made) == ("an orange cone", "a pylon", "drum")


def test_equal_spellings_appear_once():
    made = of_classes("name: cone, prompts: [Traffic cone, traffic-cone, pylon]")
    assert prompts.prompts_of(made) == ("Traffic cone", "pylon")


# --- captions ----------------------------------------------------------------------------------


def test_caption_ends_prompts_with_period():
    made = prompts.caption(["A Cat", "a dog"])
    assert made.text == "a cat. a dog."
    assert [made.text[low:high] for low, high in made.spans] == ["a cat", "a dog"]


def test_periods_within_prompt_are_dropped():
    made = prompts.caption(["sign no. 5?", "a  truck"])
    assert made.text == "sign no 5. a truck."
    assert [made.text[low:high] for low, high in made.spans] == ["sign no 5", "a truck"]


def test_prompt_without_word_is_refused():
    with pytest.raises(TaxonomyError, match=r"'\. \?' must contain at least one word"):
        prompts.caption(["a cat", ". ?"])


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        pytest.param(12, [("a red cone", "a bus", "a van")], id="just enough for all"),
        pytest.param(11, [("a red cone", "a bus"), ("a van",)], id="one token short"),
        pytest.param(7, [("a red cone",), ("a bus",), ("a van",)], id="one each"),
    ],
)
def test_prompts_fill_minimum_number_of_texts(limit, expected):
    # "a red cone." has 4 tokens, "a bus." and "a van." 3 each, and each text has 2 more.
    assert prompts.chunks(["a red cone", "a bus", "a van"], words, limit) == expected


def test_prompt_longer_than_text_is_refused():
    with pytest.raises(TaxonomyError, match="'a red cone' must have at most 5 tokens, got 6"):
        prompts.chunks(["a bus", "a red cone"], words, 5)


# --- tokens ------------------------------------------------------------------------------------


def test_token_belongs_to_prompt_of_its_span():
    made = prompts.caption(["a cone", "a drum"])  # "a cone. a drum."
    offsets = [(0, 0), (0, 1), (2, 4), (4, 6), (6, 7), (8, 9), (10, 14), (14, 15), (0, 0)]
    expected = [NO_OWNER, 0, 0, 0, NO_OWNER, 1, 1, NO_OWNER, NO_OWNER]
    assert prompts.token_owners(made.spans, offsets) == expected


# Tokens: [CLS] | orange cone | . | orange drum | padding
OWNERS = torch.tensor([NO_OWNER, CONE, CONE, NO_OWNER, DRUM, DRUM, NO_OWNER])


@pytest.mark.parametrize(
    ("scores", "prompt", "score"),
    [
        pytest.param((0.1, 0.2, 0.7, 0.1, 0.2, 0.1), CONE, 0.7, id="one word"),
        pytest.param((0.1, 0.3, 0.2, 0.1, 0.6, 0.5), DRUM, 0.6, id="two words against one"),
        pytest.param((0.1, 0.5, 0.5, 0.1, 0.6, 0.2), CONE, 0.5, id="more evidence, lower peak"),
        pytest.param((0.1, 0.02, 0.03, 0.1, 0.04, 0.01), DRUM, 0.04, id="no word is sure"),
        pytest.param((0.1, 1e-4, 0.9, 0.1, 0.3, 0.3), CONE, 0.9, id="unsaid words cost nothing"),
        pytest.param((0.9, 0.1, 0.3, 0.9, 0.1, 0.1), CONE, 0.3, id="full stops do not count"),
    ],
)
def test_box_gets_prompt_with_most_evidence(scores, prompt, score):
    logits = torch.tensor([*map(logit, scores), -math.inf])
    chosen, actual = prompts.best_prompts(logits, OWNERS, 2, 0.25)
    assert int(chosen) == prompt
    assert float(actual) == pytest.approx(score, abs=1e-6)


def test_boxes_of_batch_match_single_boxes():
    logits = torch.randn(3, 5, 7, generator=torch.manual_seed(0))
    chosen, scores = prompts.best_prompts(logits, OWNERS, 2, 0.25)
    for i in range(3):
        for j in range(5):
            alone = prompts.best_prompts(logits[i, j], OWNERS, 2, 0.25)
            assert (chosen[i, j], scores[i, j]) == alone
    assert set(chosen.flatten().tolist()) == {CONE, DRUM}
