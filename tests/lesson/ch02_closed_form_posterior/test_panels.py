"""The panels of notebook 02 show what the formulas say."""

import re

import pytest

from ddpm_lesson import NoiseSchedule
from ddpm_lesson.lesson.ch02_closed_form_posterior.panels import show_is_it_gaussian, show_posterior
from ddpm_lesson.lesson.kit.mixture import GaussianMixture
from tests.lesson.shown import shown

DATA = GaussianMixture([0.6, 0.4], [-0.8, 1.1], [0.25, 0.15])
PANELS = {
    "show_posterior": lambda: show_posterior(NoiseSchedule.linear(20, 0.02, 0.4)),
    "show_is_it_gaussian": lambda: show_is_it_gaussian(DATA, NoiseSchedule.linear()),
}


@pytest.fixture
def posterior():
    return PANELS["show_posterior"]()


@pytest.fixture
def gaussian():
    return PANELS["show_is_it_gaussian"]()


def numbers(alt, words):
    """Mean and standard deviation that follow a name in an alternative text."""
    return [float(x) for x in re.search(rf"{words} mean (-?[\d.]+) and std ([\d.]+)", alt).groups()]


def test_posterior_lies_between_prior_and_likelihood_and_is_narrower(posterior):
    for t in range(1, 20):
        posterior.controls["t"].value = t
        words = shown(posterior)[1]
        (m1, s1), (m2, s2), (m, s) = (numbers(words, part) for part in ("prior", "likelihood", "posterior"))
        assert min(m1, m2) - 0.01 <= m <= max(m1, m2) + 0.01
        assert s <= min(s1, s2) + 0.01
        assert 1 / s**2 == pytest.approx(1 / s1**2 + 1 / s2**2, rel=0.1)  # two digits


def test_at_the_first_step_the_posterior_is_x0(posterior):
    posterior.controls["t"].value = 0
    assert numbers(shown(posterior)[1], "posterior") == [1.2, 0.0]
    assert "100% of the precision" in shown(posterior)[1]


def test_both_panels_name_both_counts_of_time(posterior, gaussian):
    posterior.controls["t"].value = 7
    assert "t = 7 (the paper's 8)" in shown(posterior)[1]
    assert re.search(r"t = (\d+) \(the paper's (\d+)\), beta", shown(gaussian)[1])


def test_large_step_has_two_peaks_and_small_step_one(gaussian):
    assert "no Gaussian, 2 peaks" in shown(gaussian)[1]
    gaussian.controls["beta"].value = 0.001
    assert "as good as a Gaussian, 1 peak." in shown(gaussian)[1]


def test_divergence_shrinks_with_the_step(gaussian):
    gaps = []
    for beta in (0.5, 0.1, 0.01, 0.001):
        gaussian.controls["beta"].value = beta
        gaps.append(float(re.search(r"fit (\S+) nats", shown(gaussian)[1]).group(1)))
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-5 * gaps[0]
