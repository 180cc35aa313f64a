"""What the pictures of notebook 02 are drawn from, and that they say what they show."""

import pytest
import torch
from torch import nn

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule
from ddpm_lesson.lesson.ch02_closed_form_posterior.plots import (
    Curve,
    Gaussian,
    curves_picture,
    paths_picture,
    peaks,
    posterior_parts,
    schedule_time,
)


def test_posterior_parts_multiply():
    diffusion = DenoiseDiffusion(nn.Identity(), schedule=NoiseSchedule.linear(20, 0.02, 0.4))
    for t in (1, 7, 19):
        prior, likelihood, posterior = posterior_parts(diffusion, 0.7, -1.1, t)
        assert posterior.precision == pytest.approx(prior.precision + likelihood.precision, rel=1e-5)
        weighted = prior.mean * prior.precision + likelihood.mean * likelihood.precision
        assert posterior.mean == pytest.approx(weighted / posterior.precision, abs=1e-5)


def test_curve_of_a_point_is_a_needle():
    x, height = Gaussian(1.2, 0.0).curve()
    assert height.max() == 1
    assert x.max() - x.min() < 0.02


def test_peaks_are_counted():
    x = torch.linspace(-4, 4, 200)
    assert peaks((-(x**2)).exp().numpy()) == 1
    assert peaks(((-((x - 2) ** 2)).exp() + (-((x + 2) ** 2)).exp()).numpy()) == 2


def test_schedule_time_finds_alpha_bar_prev():
    schedule = NoiseSchedule.linear()
    assert schedule_time(schedule, 1.0) == 0
    assert float(schedule.alpha_bar_prev[schedule_time(schedule, 0.5)]) == pytest.approx(0.5, abs=0.01)


def test_pictures_have_words_and_a_fixed_size():
    x = torch.linspace(1, 10, 20)
    one = curves_picture([("title", "x", "y", [Curve("a", x, x, 5)])], "a straight line")
    two = curves_picture([("title", "x", "y", [Curve("a", x, x, 5)]), ("b", "x", "y", [Curve("b", x, -x, 5)])], "two")
    paths = paths_picture(torch.randn(30, 4), torch.zeros(30), torch.ones(30), "four paths")
    assert [p.alt for p in (one, two, paths)] == ["a straight line", "two", "four paths"]
    assert {(p.width, p.height) for p in (one, two, paths)} == {(880, 340)}
    assert one.png != two.png
