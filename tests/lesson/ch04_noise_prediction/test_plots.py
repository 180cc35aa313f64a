"""Static pictures of notebook 04: the words beside them are true."""

import pytest
import torch

from ddpm_lesson.lesson.ch04_noise_prediction.plots import (
    BoundSummary,
    algorithms_picture,
    bound_picture,
    floor_picture,
    x0_guess_picture,
)
from ddpm_lesson.lesson.kit.curves import samples_picture
from tests.lesson.shown import drawn


@pytest.fixture
def summary():
    return BoundSummary(terms=[-1.0, 0.5, 1.0, 0.25], sampled=0.76, nll=0.5, gap=0.25, entropy=0.4)


def test_bound_is_the_sum_of_its_terms_in_picture_and_words(summary):
    shown = bound_picture(summary)
    drawn(shown)
    assert "L_0 -1.000, L_1 0.500, L_2 1.000, L_T 0.250 add up to 0.750 nats" in shown.alt
    assert "sampled directly 0.760" in shown.alt
    assert "plus the gap 0.250 is 0.750" in shown.alt


def test_another_bound_is_another_picture(summary):
    assert bound_picture(summary).png != bound_picture(summary._replace(gap=0.2)).png


def test_floor_and_what_is_above_it_are_told():
    floor = torch.linspace(1, 0, 21)
    shown = floor_picture(floor, torch.full((21,), 0.125))
    drawn(shown)
    assert "1.00 at 0, 0.90 at 2, 0.50 at 10; the network's loss lies above it by 0.1250 on average" in shown.alt
    assert shown.png != floor_picture(floor, torch.zeros(21)).png


def test_samples_are_described():
    samples = torch.tensor([0.0, 1.0, 2.0])
    x = torch.linspace(-1, 3, 50)
    shown = samples_picture(samples, x, torch.ones(50))
    drawn(shown)
    assert "3 samples, mean 1.00 and standard deviation 1.00" in shown.alt


def test_algorithms_stand_on_white_and_are_told_in_words():
    shown = algorithms_picture()
    assert drawn(shown).getpixel((1, 1)) == (255, 255, 255)  # legible in a dark theme too
    assert all(word in shown.alt for word in ("Training", "Sampling", "eps_theta", "none at t = 1"))


def test_error_of_each_guess_stands_below_it_and_the_picture_cannot_show_what_is_beyond_its_range():
    x0 = torch.zeros(3, 1, 8, 8)
    far, clipped = (x0_guess_picture(x0, x0, torch.full_like(x0, value), "t = 5") for value in (3.0, 1.0))
    assert "RMSE of all 3.000" in far.alt
    one, other = drawn(far), drawn(clipped)
    end = one.height - 34  # the captions and the gap over them
    assert one.crop((0, 0, one.width, end)).tobytes() == other.crop((0, 0, one.width, end)).tobytes()
    for column in range(3):
        right = one.width - (2 - column) * 114 - 10
        box = (right - 104, end, right, one.height)
        assert one.crop(box).tobytes() != other.crop(box).tobytes()
