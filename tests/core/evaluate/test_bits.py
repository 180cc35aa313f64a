"""Bits per dimension, held against the full bound."""

import pytest
import torch
from torch import nn

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule
from ddpm_lesson.bound import variational_bound
from ddpm_lesson.evaluate import bits_per_dim, rate_distortion
from ddpm_lesson.evaluate.bits import spread_times, time_probabilities

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def full(model, digits):
    """The full bound of all test images."""
    return bits_per_dim(model, digits[1], generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def estimates(model, digits):
    """Its estimates, by the number of times drawn for an image."""
    return {n: bits_per_dim(model, digits[1], n, torch.Generator().manual_seed(1)) for n in (1, 4, 20)}


def test_full_bound_over_a_set_is_the_mean_of_its_images(model, digits):
    images = digits[1][:6]
    result = bits_per_dim(model, images, generator=torch.Generator().manual_seed(1))
    bound = variational_bound(model, images, torch.Generator().manual_seed(1))
    assert result.total == pytest.approx(float(bound.total.mean()), rel=1e-5)
    assert result.error == pytest.approx(float(bound.total.std()) / 6**0.5, rel=1e-4)
    torch.testing.assert_close(result.L_t, bound.L_t.double().mean(0))
    assert result.rate + result.distortion == pytest.approx(result.total)
    assert (result.n_images, result.n_times) == (6, 59)


@pytest.mark.parametrize("n_times", [1, 4, 20])
def test_estimate_is_the_full_bound_within_its_standard_error(full, estimates, n_times):
    few = estimates[n_times]
    assert abs(few.total - full.total) < 3.5 * few.error
    assert abs(few.rate - full.rate) < 3.5 * few.error
    assert few.error < 0.1 * few.total
    assert few.L_t is None
    assert (few.n_images, few.n_times) == (297, n_times)


def test_estimate_gets_better_with_more_times(estimates):
    assert estimates[20].error < estimates[1].error


def test_times_come_up_as_often_as_their_probability_says():
    p = time_probabilities(50)
    assert float(p.sum()) == pytest.approx(1)
    assert float(p[0]) == 0
    assert float(p[1:].min()) > 0.5 / 50
    times = spread_times(p, 20_000, 3, torch.Generator().manual_seed(0))
    counts = torch.bincount(times.flatten(), minlength=50) / times.numel()
    error = (p * (1 - p) / times.numel()).sqrt()
    assert ((counts - p).abs() <= 4 * error).all()


def test_rate_adds_up_and_the_guess_gets_better(model, digits):
    images = digits[1][:8]
    curve = rate_distortion(model, images, torch.Generator().manual_seed(0))
    bound = variational_bound(model, images, torch.Generator().manual_seed(0))
    torch.testing.assert_close(curve.bits, bound.L_t.double().mean(0), rtol=1e-5, atol=1e-6)
    rate = float((bound.total - bound.L_0).mean())
    assert float(curve.rate[0]) == pytest.approx(rate, rel=1e-4)
    assert float(curve.rate[-1]) == pytest.approx(float(bound.L_T.mean()), abs=1e-5)
    assert (curve.rate.diff() <= 0).all()


def test_error_of_a_model_that_answers_grey_is_that_of_grey(digits):
    class Grey(nn.Module):
        def forward(self, xt, t):  # the noise of someone who believes that x0 is 0
            return xt / (1 - schedule.alpha_bar[t].view(-1, 1, 1, 1)).sqrt()

    schedule = NoiseSchedule.linear(10, 0.01, 0.5)
    curve = rate_distortion(DenoiseDiffusion(Grey(), schedule=schedule), digits[1])
    expected = 127.5 * digits[1].square().mean().sqrt().double()
    torch.testing.assert_close(curve.rmse, expected.expand(10), rtol=1e-4, atol=0)


def test_bits_of_one_image_or_of_no_times_are_refused(model, digits):
    with pytest.raises(ValueError, match=r"images must hold at least two images.*got 1"):
        bits_per_dim(model, digits[1][:1])
    with pytest.raises(ValueError, match=r"n_times must lie in 1 .. 59.*got 60"):
        bits_per_dim(model, digits[1][:3], 60)
