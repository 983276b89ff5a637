"""Sample sizes, checked by hand and by simulation."""

import numpy as np
import pytest

from cascade.metrics import classification
from curation.active_learning.gate import sample_size

SIZES = [
    pytest.param(0.02, 0.03, 0.5, 1856, id="3 % differ: 0.03 (2.487 x 2 / 0.02)^2"),
    pytest.param(0.04, 0.03, 0.5, 464, id="twice the effect, a quarter of the images"),
    pytest.param(0.02, 0.06, 0.5, 3712, id="twice the difference, twice the images"),
    pytest.param(0.02, 0.03, 0.2, 4531, id="rare answers: 0.03 (2.487 x 3.125 / 0.02)^2"),
]


@pytest.mark.parametrize(("effect", "discordant", "prevalence", "expected"), SIZES)
def test_images_needed(effect, discordant, prevalence, expected):
    n_images = sample_size.images_needed(effect, discordant=discordant, prevalence=prevalence)
    assert n_images == pytest.approx(expected, abs=1)


def test_images_needed_reach_the_power():
    # A nearly perfect pair: 1 % and 3 % wrong, independently; MCC .98 and .94 at half yes.
    effect, discordant = 0.04, 0.0394
    n = sample_size.images_needed(effect, discordant=discordant, prevalence=0.5)
    rng, shown = np.random.default_rng(0), 0
    for _ in range(200):
        truth = np.arange(n) % 2 == 0
        a, b = (truth ^ (rng.random(n) < error) for error in (0.03, 0.01))
        _, draws = classification.paired_delta_mcc(truth, a, b, range(n), draws=200)
        shown += np.quantile(draws, 0.05) > 0
    assert shown / 200 == pytest.approx(0.8, abs=0.1)


def test_images_needed_like_these():
    # Deviation .05 at 100 images: .05 x 2.487 = .124 can be shown, .0622 with four times more.
    assert sample_size.images_needed_like_these(0.1244, n=100, deviation=0.05) == 100
    assert sample_size.images_needed_like_these(0.0622, n=100, deviation=0.05) == 400


def test_explain_names_effects_and_assumptions():
    sentence = sample_size.explain(discordant=None, prevalence=None)
    assert sentence == (
        "To show a gain in MCC of 0.05 about 297 images are needed, of 0.02 about 1,856, of 0.01 "
        "about 7,423: 80 % power, half of them yes, the ensembles differing on 3.0% of them "
        "(assumed), each from another drive; more if images share drives."
    )
