"""Colours that stay, and that nobody confuses."""

import numpy as np
import pytest

from curation.labeling import palette

# Oklab distance that is just noticed: about 0.02
APART = [
    pytest.param(7, 0.07, id="as far as Okabe and Ito's seven are"),
    pytest.param(22, 0.06, id="the classes of the road-work taxonomy"),
    pytest.param(40, 0.04, id="still twice what is just noticed"),
]


@pytest.mark.parametrize(("n", "least"), APART)
def test_colours_differ_for_every_colour_vision(n, least):
    apart = palette.distances(palette.distinct(n))
    assert apart[np.triu_indices(n, 1)].min() >= least


def test_the_distance_is_what_the_weakest_vision_sees():
    red, green, black, white = "#ff0000", "#00a000", "#000000", "#ffffff"
    apart = palette.distances((red, green, black, white))
    assert apart[2, 3] == pytest.approx(1.0, abs=0.01)  # lightness from 0 to 1, in every vision
    assert apart[0, 1] < 0.2  # Oklab says 0.4 for the usual vision: red against green
    assert np.array_equal(apart, apart.T)
    assert not apart.diagonal().any()


def test_a_colour_stays_when_others_come_after_it():
    assert palette.distinct(30)[:8] == palette.distinct(8)


def test_there_are_colours_for_any_number_of_classes():
    many = palette.distinct(1000)
    assert len(many) == 1000
    assert len(set(many[:250])) == 250
    assert palette.distinct(0) == ()
