"""The bound, term by term, against integrals, sums and published numbers."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule
from ddpm_lesson.bound import (
    bound_term,
    decoder_log_likelihood,
    gaussian_kl,
    loss_weights,
    prior_bits,
    variational_bound,
)
from ddpm_lesson.data import from_bytes


def bytes_batch(n=3, seed=0):
    pixels = torch.randint(0, 256, (n, 1, 4, 4), generator=torch.Generator().manual_seed(seed))
    return from_bytes(pixels).double()


class PerfectModel(nn.Module):
    """Knows x0, and so the noise."""

    def __init__(self, x0, schedule):
        super().__init__()
        self.x0, self.schedule = x0, schedule.to(torch.float64)

    def forward(self, xt, t):
        alpha_bar = self.schedule.alpha_bar[t].view(-1, 1, 1, 1)
        return (xt - alpha_bar.sqrt() * self.x0) / (1 - alpha_bar).sqrt()


@pytest.mark.parametrize(("m1", "v1", "m2", "v2"), [(0.0, 1.0, 0.0, 1.0), (0.3, 0.5, -1.0, 2.0), (2.0, 3.0, 1.0, 0.4)])
def test_gaussian_kl_is_the_integral(m1, v1, m2, v2):
    x = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    m1, v1, m2, v2 = (torch.tensor(value, dtype=torch.float64) for value in (m1, v1, m2, v2))
    p, q = torch.distributions.Normal(m1, v1.sqrt()), torch.distributions.Normal(m2, v2.sqrt())
    expected = torch.trapezoid(p.log_prob(x).exp() * (p.log_prob(x) - q.log_prob(x)), x)
    kl = gaussian_kl(m1, v1, m2, v2)
    assert float(kl) == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.parametrize(("power", "published"), [(0.26, 7e-6), (0.93, 2.7e-5)])
def test_prior_bits_of_the_papers_schedule(power, published):
    x0 = torch.full((1, 10), power**0.5, dtype=torch.float64)
    assert float(prior_bits(NoiseSchedule.linear(), x0)) == pytest.approx(published, rel=0.1)


def test_prior_bits_are_those_of_the_kl_divergence_of_torch():
    x0, schedule = bytes_batch(), NoiseSchedule.linear(50)
    alpha_bar = schedule.to(torch.float64).alpha_bar[-1]
    end = torch.distributions.Normal(alpha_bar.sqrt() * x0, (1 - alpha_bar).sqrt())
    prior = torch.distributions.Normal(torch.zeros(()).double(), torch.ones(()).double())
    kl = torch.distributions.kl_divergence(end, prior).mean((1, 2, 3)) / math.log(2)
    torch.testing.assert_close(prior_bits(schedule, x0), kl)


@pytest.mark.parametrize("std", [0.001, 0.05, 2.0])
@pytest.mark.parametrize("mean", [-1.2, 0.0, 0.7])
def test_decoder_is_a_distribution_over_bytes(mean, std):
    x0 = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    logp = decoder_log_likelihood(x0, torch.tensor(mean).double(), torch.tensor(std).double() ** 2)
    assert float(logp.exp().sum()) == pytest.approx(1, abs=1e-9)
    assert logp.isfinite().all()


def test_decoder_weighs_the_bin_around_a_byte():
    x0, mean, std = from_bytes(torch.tensor([100])).double(), torch.tensor(-0.2).double(), 0.05
    normal = torch.distributions.Normal(mean, torch.tensor(std).double())
    expected = (normal.cdf(x0 + 1 / 255) - normal.cdf(x0 - 1 / 255)).log()
    torch.testing.assert_close(decoder_log_likelihood(x0, mean, torch.tensor(std**2).double()), expected)


def cost_of_the_authors_decoder(x0, means, betas):
    """Bits a dimension by the rule of Ho et al.'s code, written in its own names, (B,).

    The log-variance of the last step, where the posterior has none, is cut off at that of the step before.
    """
    alphas_cumprod = np.cumprod(1 - betas)
    posterior_variance = betas[1:] * (1 - alphas_cumprod[:-1]) / (1 - alphas_cumprod[1:])
    log_scales = 0.5 * np.log(posterior_variance[0])
    plus_in, min_in = (x0 - means + 1 / 255) / np.exp(log_scales), (x0 - means - 1 / 255) / np.exp(log_scales)
    cdf_delta = norm.cdf(plus_in) - norm.cdf(min_in)
    mass = np.where(x0 < -0.999, norm.cdf(plus_in), np.where(x0 > 0.999, norm.sf(min_in), cdf_delta))
    return -np.log2(mass).reshape(len(x0), -1).mean(1)


@pytest.mark.parametrize("sigma", ["beta", "posterior"])
def test_the_last_step_costs_what_the_authors_decoder_says(sigma):
    """With a network whose guess is known, so that it is the mean of the last step."""
    x0 = torch.cat((bytes_batch(), torch.ones(1, 1, 4, 4).double(), -torch.ones(1, 1, 4, 4).double()))
    schedule, guess = NoiseSchedule.linear(5, 0.01, 0.05), 0.9 * x0 + 0.03
    diffusion = DenoiseDiffusion(lambda xt, t: guess, schedule=schedule, sigma=sigma, prediction="x0").double()
    expected = cost_of_the_authors_decoder(x0.numpy(), guess.numpy(), np.linspace(0.01, 0.05, 5))
    found = variational_bound(diffusion, x0).L_0
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-6, atol=0)


@pytest.mark.parametrize("sigma", ["beta", "posterior"])
def test_loss_weights_turn_noise_errors_into_kl_divergences(sigma, rng):
    """A model that is off by delta in eps has a term of weight * delta^2 (Ho et al. 2020, Eq. 12)."""
    x0, delta, t = bytes_batch(1), 0.1, 7
    schedule = NoiseSchedule.linear(20, 0.01, 0.3)
    perfect = PerfectModel(x0, schedule)
    kinds = [DenoiseDiffusion(m, schedule=schedule, sigma=sigma, clip_x0=False).double() for m in (perfect, None)]
    kinds[1].eps_model = lambda xt, t: perfect(xt, t) + delta
    exact, off = (float(bound_term(d, x0, t, rng())[0].mean() * math.log(2)) for d in kinds)
    assert off - exact == pytest.approx(float(loss_weights(schedule, sigma)[t]) * delta**2, rel=1e-4)


def test_unknown_sigma_is_refused():
    with pytest.raises(ValueError, match=r"sigma must be 'beta' or 'posterior'; got 'both'"):
        loss_weights(NoiseSchedule.linear(), "both")


def test_perfect_model_with_the_posteriors_variance_pays_only_at_the_ends():
    x0, schedule = bytes_batch(), NoiseSchedule.linear(30, 1e-3, 0.5)
    diffusion = DenoiseDiffusion(PerfectModel(x0, schedule), schedule=schedule, sigma="posterior").double()
    bound = variational_bound(diffusion, x0)
    assert bound.L_t.shape == (3, 30)
    torch.testing.assert_close(bound.L_t[:, 1:], torch.zeros(3, 29).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(bound.total, bound.L_T + bound.L_0, atol=1e-4, rtol=0)
    torch.testing.assert_close(bound.L_T, prior_bits(schedule, x0))


def test_total_is_the_sum_of_its_terms_and_repeatable():
    x0 = bytes_batch().float()
    diffusion = DenoiseDiffusion(lambda xt, t: 0.5 * xt, 10)
    first, second = (variational_bound(diffusion, x0, torch.Generator().manual_seed(3)) for _ in range(2))
    torch.testing.assert_close(first.total, first.L_T + first.L_t.sum(1))
    assert torch.equal(first.total, second.total)


def test_bound_of_a_chain_of_one_step_is_refused():
    with pytest.raises(ValueError, match="n_steps must be at least 2"):
        variational_bound(DenoiseDiffusion(nn.Identity(), 1), bytes_batch())
