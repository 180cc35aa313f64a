"""Static pictures of notebook 01."""

import pytest
import torch

from ddpm_lesson.lesson.ch01_from_kl_to_elbo.plots import (
    chain_picture,
    fits_picture,
    likelihood_picture,
    terms_picture,
)
from tests.lesson.shown import drawn

X = torch.linspace(-1, 1, 21)


def test_fits_are_named_and_drawn():
    one = fits_picture(X, X**2, {"left": X.abs()})
    two = fits_picture(X, X**2, {"left": X.abs(), "right": 1 - X.abs()})
    assert two.alt.endswith("left; right")
    assert len(drawn(two).getcolors(1 << 24)) > len(drawn(one).getcolors(1 << 24))


def test_likelihood_picture_says_where_the_curves_are_lowest():
    picture = likelihood_picture(X, (X - 0.3) ** 2, (X - 0.3) ** 2 + 1, 1.0)
    assert picture.alt.endswith("both are lowest near 0.30")


def test_terms_picture_says_bound_and_exact_value_of_every_model():
    picture = terms_picture({"good": [0.1, 0.2, 0.3], "bad": [0.4, 0.5, 0.6]}, {"good": 0.55, "bad": 1.25}, 0.5)
    assert "good: bound 0.600, exact 0.550 nats; bad: bound 1.500, exact 1.250 nats" in picture.alt
    assert picture.width == pytest.approx(880, abs=2)


def test_chain_is_drawn_and_told():
    shown = chain_picture()
    assert min(drawn(shown).getpixel((10, 10))) > 250  # legible in a dark theme too
    assert "from the data x0 to the noise x4" in shown.alt
