"""The equations of notebook 04: each holds, and wrong ones in their place are found out."""

import math

import numpy as np
import pytest
import torch

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule
from ddpm_lesson.bound import gaussian_kl, loss_weights
from ddpm_lesson.lesson.ch04_noise_prediction import proofs as noise
from ddpm_lesson.lesson.ch04_noise_prediction.proofs import prove
from ddpm_lesson.lesson.kit.chain import data_nodes, short_chain
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS, ExactNoise, GaussianMixture
from ddpm_lesson.lesson.kit.proof import root


def swapped_kl(mean1, var1, mean2, var2):
    return gaussian_kl(mean2, var2, mean1, var1)


def distance(factor=2.0, constant=lambda var, sigma2: math.log(sigma2 / var) + var / sigma2 - 1):
    """A wrong form of ``squared_distance``."""

    def formula(mean, var, model_mean, sigma2):
        return ((mean - model_mean) ** 2).sum(-1) / (factor * sigma2) + 0.5 * mean.shape[-1] * constant(var, sigma2)

    return formula


def weights_with(change):
    """``loss_weights`` with an error planted; ``change`` gets the weight and the schedule."""
    return lambda schedule, sigma: change(loss_weights(schedule, sigma), schedule.to(torch.float64))


def loss_with(change, draw=lambda n_steps, batch: torch.randint(n_steps, (batch,))):
    """``DenoiseDiffusion.loss`` with an error planted; ``change(x0, eps, eps_theta) -> scalar``, ``draw`` the times."""

    def loss(diffusion, x0):
        t = draw(diffusion.n_steps, len(x0))
        eps = torch.randn_like(x0)
        xt = diffusion.q_sample(x0, t, eps)
        return change(x0, eps, diffusion.eps_model(xt, t))

    return loss


def squares(x0, eps, guess):
    return ((eps - guess) ** 2).mean()


PLANTED = [
    ("4.1", swapped_kl),
    ("4.1", lambda m1, v1, m2, v2: 0.5 * ((v2 / v1).log() + (v1 + (m1 - m2).abs()) / v2 - 1)),
    ("4.1", lambda m1, v1, m2, v2: 0.5 * ((v2 / v1).log() + (v1 + (m1 - m2) ** 2) / v2)),
    ("4.2", distance(factor=1.0)),
    ("4.2", distance(constant=lambda var, sigma2: 0.0)),  # no constant: right only for sigma2 = beta_tilde
    ("4.3", {"x0_formula": lambda xt, eps, a: (xt - (1 - a) * eps) / root(a)}),
    ("4.3", {"x0_formula": lambda xt, eps, a: (xt - root(1 - a) * eps) / a}),
    ("4.3", {"eps_formula": lambda xt, x0, a: (xt - root(a) * x0) / (1 - a)}),
    ("4.4", lambda xt, eps, a, a_bar: (xt - (1 - a) / root(1 - a_bar) * eps) / root(a_bar)),  # the source document's
    ("4.4", lambda xt, eps, a, a_bar: (xt - root(1 - a) / root(1 - a_bar) * eps) / root(a)),
    ("4.4", lambda xt, eps, a, a_bar: (xt - (1 - a) / (1 - a_bar) * eps) / root(a)),
    ("4.5", lambda xt, mean, a, a_bar: root(1 - a_bar) / (1 - a) * (xt - root(a_bar) * mean)),
    ("4.5", lambda xt, mean, a, a_bar: root(1 - a_bar) / (1 - a) * (xt - mean)),
    ("4.6", lambda a, a_bar: (1 - a) ** 2 / (a_bar * (1 - a_bar))),
    ("4.6", lambda a, a_bar: (1 - a) / (root(a) * root(1 - a_bar))),
    ("4.7", weights_with(lambda w, s: 2 * w)),
    ("4.7", weights_with(lambda w, s: w * s.alpha / s.alpha_bar)),  # from the source document's mean
    ("4.7", weights_with(lambda w, s: torch.ones_like(w))),
    ("4.8", loss_with(lambda x0, eps, guess: ((x0 - guess) ** 2).mean())),
    ("4.8", loss_with(lambda x0, eps, guess: ((eps - guess) ** 2).mean().sqrt())),
    ("4.8", loss_with(lambda x0, eps, guess: ((eps - guess) ** 2).sum())),
    ("4.8", loss_with(squares, lambda n_steps, batch: torch.randint(1, n_steps, (batch,)))),  # never t = 0
    ("4.8", loss_with(squares, lambda n_steps, batch: torch.randint(n_steps - 1, (batch,)))),  # never t = T - 1
    ("4.8", loss_with(squares, lambda n_steps, batch: torch.randint(n_steps, (1,)).expand(batch))),  # one t for all
    ("4.9", lambda a_bar: (1 - a_bar) / a_bar),
    ("4.9", lambda a_bar: (a_bar / (1 - a_bar)) ** 0.5),
    ("4.10", lambda a, a_bar: noise.signal_to_noise(a_bar / a) - noise.signal_to_noise(a_bar)),
    ("4.10", lambda a, a_bar: noise.signal_to_noise(a_bar) / 2),
    ("4.11", lambda data, xt, a_bar: math.sqrt(1 - a_bar) * xt),  # right for data N(0, 1) only
    ("4.11", lambda data, xt, a_bar: data.exact_x0(xt, a_bar)),
    ("4.12", lambda data, xt, a_bar: -noise.noise_by_slope(data, xt, a_bar)),
    ("4.12", lambda data, xt, a_bar: noise.noise_by_slope(data, xt, a_bar) / math.sqrt(1 - a_bar)),
    ("4.13", lambda bound: bound.L_t[:, 1:].sum(1)),  # the source document's: only the sum over t = 2..T
    ("4.13", lambda bound: bound.L_t.sum(1)),
    ("4.13", lambda bound: bound.L_T + bound.L_t[:, 1:].sum(1)),
    ("4.14", lambda chain, x0: chain.bound(x0).total),
    ("4.14", lambda chain, x0: chain.bound(x0).total + chain.gap(x0)),
]


@pytest.mark.parametrize(("number", "wrong"), PLANTED)
def test_a_wrong_formula_is_found_out(number, wrong):
    proof = prove(number, **(wrong if isinstance(wrong, dict) else {"formula": wrong}))
    assert not proof.holds
    assert proof.error > 5 * proof.tolerance


def test_a_wrong_formula_that_is_not_a_number_is_found_out():
    assert not prove("4.1", formula=lambda *_: torch.tensor(torch.nan)).holds


def nan_for_the_posterior(schedule, sigma):
    return loss_weights(schedule, sigma) * (1 if sigma == "beta" else torch.nan)


def nan_but_at_first(mean1, var1, mean2, var2):
    return gaussian_kl(mean1, var1, mean2, var2) if mean1 == 0 else torch.tensor(torch.nan)


@pytest.mark.parametrize(("number", "formula"), [("4.1", nan_but_at_first), ("4.7", nan_for_the_posterior)])
def test_a_formula_that_is_a_number_only_sometimes_is_found_out(number, formula):
    assert not prove(number, formula=formula).holds


def test_the_package_converts_as_the_formulas_do():
    schedule = NoiseSchedule.linear(20).to(torch.float64)
    diffusion = DenoiseDiffusion(torch.nn.Identity(), schedule=schedule)
    generator = torch.Generator().manual_seed(0)
    xt, other = torch.randn(2, 20, 3, dtype=torch.float64, generator=generator)
    t = torch.arange(20)
    alpha, alpha_bar = schedule.alpha[:, None], schedule.alpha_bar[:, None]
    x0 = diffusion.predict_x0(xt, t, other)
    torch.testing.assert_close(x0, noise.x0_from_eps(xt, other, alpha_bar))
    torch.testing.assert_close(diffusion.predict_eps(xt, t, other), noise.eps_from_x0(xt, other, alpha_bar))
    mean, _ = diffusion.q_posterior(x0, xt, t)
    torch.testing.assert_close(mean, noise.mean_from_eps(xt, other, alpha, alpha_bar))


def test_exact_noise_is_the_mean_of_the_noises_that_lead_to_xt():
    data, schedule = TWO_BUMPS, NoiseSchedule.linear(10, 0.05, 0.5)
    generator = torch.Generator().manual_seed(0)
    n = 200_000
    x0 = data.sample(n, generator)
    eps = torch.randn(n, dtype=torch.float64, generator=generator)
    model = ExactNoise(data, schedule)
    for t in (0, 4, 9):
        alpha_bar = float(schedule.alpha_bar[t])
        xt = math.sqrt(alpha_bar) * x0 + math.sqrt(1 - alpha_bar) * eps
        here = (xt - 0.3).abs() < 0.02
        guess = model(torch.tensor([[0.3]], dtype=torch.float64), torch.tensor([t]))
        assert abs(float(guess) - float(eps[here].mean())) < 5 * float(eps[here].std()) / math.sqrt(int(here.sum()))


def test_exact_noise_takes_any_shape_and_many_times_at_once():
    schedule = NoiseSchedule.linear(10, 0.05, 0.5)
    model = ExactNoise(TWO_BUMPS, schedule)
    xt, t = torch.linspace(-1, 1, 24).view(4, 1, 2, 3), torch.tensor([0, 9, 3, 9])
    eps = model(xt, t)
    assert (eps.shape, eps.dtype) == (xt.shape, torch.float32)
    for i in range(4):
        alone = TWO_BUMPS.exact_eps(xt[i], float(schedule.to(torch.float64).alpha_bar[t[i]]))
        torch.testing.assert_close(eps[i], alone.float())


def test_noise_of_one_gaussian_is_a_straight_line():
    data, schedule = GaussianMixture([1.0], [0.0], [1.0]), NoiseSchedule.linear(10, 0.05, 0.5)
    xt, t = torch.tensor([[-1.0], [0.5], [2.0]]), torch.tensor([2, 5, 9])
    slope = schedule.one_minus_alpha_bar[t, None].sqrt()  # Cov(eps, x_t), because Var(x_t) = 1
    torch.testing.assert_close(ExactNoise(data, schedule)(xt, t), slope * xt)


def test_short_chain_starts_small_and_ends_in_noise():
    for n_steps in (2, 8, 16):
        schedule = short_chain(n_steps)
        assert schedule.n_steps == n_steps
        assert schedule.beta[0] < 0.01
        assert schedule.alpha_bar[-1] < 0.003


def test_bound_of_the_perfect_model_lies_above_the_likelihood_and_falls_towards_the_entropy_with_more_steps():
    x0, weights = data_nodes(TWO_BUMPS)
    x = torch.linspace(-3, 3, 2001, dtype=torch.float64)
    density = TWO_BUMPS.prob(x)
    entropy = -float(torch.trapezoid(density * density.log(), x))
    bounds = []
    for n_steps in (4, 8, 16):
        chain = noise.bump_chain(n_steps)
        bounds.append(float(weights @ chain.bound(x0).total))
        nll = float(weights @ chain.nll(x0))
        assert entropy < nll < bounds[-1]
    assert np.all(np.diff(bounds) < 0)


def test_sampled_bound_agrees_with_the_sum_of_terms():
    chain = noise.bump_chain()
    values = chain.sampled_bound(-0.6, 50_000, torch.Generator().manual_seed(0))
    error = float(values.std()) / math.sqrt(len(values))
    assert abs(float(values.mean()) - float(chain.bound(-0.6).total)) < 4 * error
