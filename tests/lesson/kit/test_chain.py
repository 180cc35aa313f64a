"""The chain on a grid: its bound, its likelihood and its gap, each against another way."""

import math

import pytest
import torch

from ddpm_lesson.bound import gaussian_kl
from ddpm_lesson.lesson.kit.chain import GridChain, data_nodes, fitted_reverse, log_normal
from ddpm_lesson.lesson.kit.mixture import GaussianMixture
from ddpm_lesson.schedule import NoiseSchedule

DATA = GaussianMixture([0.4, 0.6], [-1.2, 0.9], [0.25, 0.35])
SCHEDULE = NoiseSchedule.from_betas([0.1, 0.2, 0.35, 0.5])
ONE_GAUSSIAN = GaussianMixture([1], [DATA.mean], [DATA.var**0.5])
X0 = torch.tensor([-1.5, 0.0, 0.8], dtype=torch.float64)


def bent(xt, t):
    """A model that is neither linear nor good."""
    return 0.7 * xt + 0.3 * torch.sin(2 * xt + t), 0.2 + 0.05 * t


@pytest.fixture(params=["one Gaussian", "bent"])
def chain(request):
    reverse = bent if request.param == "bent" else fitted_reverse(SCHEDULE, ONE_GAUSSIAN)
    return GridChain(SCHEDULE, reverse)


def test_terms_add_up_to_the_bound_before_it_was_rearranged(chain):
    torch.testing.assert_close(chain.bound(X0).total, chain.direct_bound(X0), rtol=0, atol=1e-9)


def test_bound_is_the_exact_likelihood_and_the_gap(chain):
    gap = chain.gap(X0)
    assert (gap > 0).all()
    torch.testing.assert_close(chain.bound(X0).total, chain.nll(X0) + gap, rtol=0, atol=1e-9)


def test_bound_agrees_with_draws_of_the_forward_chain(chain, rng):
    draws = chain.sampled_bound(0.8, 40_000, rng())
    error = draws.mean() - chain.bound(0.8).total[0]
    assert abs(error) < 4 * draws.std() / math.sqrt(len(draws))


def test_terms_agree_with_closed_form_posteriors(chain):
    """Ho et al. 2020, Eqs. 6 and 7, and the closed form of the Gaussian KL, with x_t by Gauss and Hermite."""
    s, terms = SCHEDULE.to(torch.float64), chain.bound(X0)
    end = gaussian_kl(s.alpha_bar[-1].sqrt() * X0, s.one_minus_alpha_bar[-1], torch.zeros(()), torch.ones(()))
    torch.testing.assert_close(terms.L_T, end, rtol=0, atol=1e-9)
    for t in range(1, 4):
        for i, x0 in enumerate(X0):
            after = GaussianMixture([1], [s.alpha_bar[t].sqrt() * x0], [s.one_minus_alpha_bar[t].sqrt()])
            xt, weight = data_nodes(after, 60)
            mean = s.alpha_bar_prev[t].sqrt() * s.beta[t] * x0
            mean = (mean + s.alpha[t].sqrt() * s.one_minus_alpha_bar_prev[t] * xt) / s.one_minus_alpha_bar[t]
            model_mean, model_var = chain.reverse(xt, t)
            kl = gaussian_kl(mean, s.beta_tilde[t], model_mean, torch.as_tensor(model_var, dtype=torch.float64))
            assert float(weight @ kl) == pytest.approx(float(terms.L_t[i, t]), abs=1e-9)


def test_last_term_is_the_expected_log_density_of_the_data(chain):
    s = SCHEDULE.to(torch.float64)
    x1, weight = data_nodes(GaussianMixture([1], [s.alpha[0].sqrt() * 0.8], [s.beta[0].sqrt()]), 60)
    expected = -weight @ log_normal(torch.tensor(0.8, dtype=torch.float64), *chain.reverse(x1, 0))
    assert float(chain.bound(0.8).L_0) == pytest.approx(float(expected), abs=1e-9)


def test_likelihood_of_a_linear_model_is_the_gaussian_that_its_steps_make():
    reverse = fitted_reverse(SCHEDULE, ONE_GAUSSIAN)
    mean, var = torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    for t in reversed(range(4)):
        (low, high), (step_var, _) = reverse(torch.tensor([0.0, 1.0], dtype=torch.float64), t)
        mean, var = low + (high - low) * mean, (high - low) ** 2 * var + step_var
    chain = GridChain(SCHEDULE, reverse)
    torch.testing.assert_close(chain.nll(X0), -log_normal(X0, mean, var), rtol=0, atol=1e-9)


def test_likelihood_is_the_average_over_draws_of_the_model(rng):
    generator, n = rng(), 40_000
    x = torch.randn(n, dtype=torch.float64, generator=generator)  # x_T
    for t in (3, 2, 1):
        mean, var = bent(x, t)
        x = mean + math.sqrt(var) * torch.randn(n, dtype=torch.float64, generator=generator)
    densities = log_normal(X0[:, None], *bent(x, 0)).exp()  # (3, n): p_theta(x_0 | x_1)
    error = densities.mean(1) - (-GridChain(SCHEDULE, bent).nll(X0)).exp()
    assert (error.abs() < 4 * densities.std(1) / math.sqrt(n)).all()


@pytest.mark.parametrize("t", range(4))
def test_fitted_step_has_the_mean_and_variance_of_the_step_back_of_the_data(t):
    s = SCHEDULE.to(torch.float64)
    reverse = fitted_reverse(SCHEDULE, DATA)
    for xt in (-1.3, 0.1, 2.0):
        exact = DATA.step_back(xt, float(s.beta[t]), float(s.alpha_bar_prev[t]))
        mean, var = reverse(torch.tensor(xt, dtype=torch.float64), t)
        assert (float(mean), float(var)) == pytest.approx((exact.mean, exact.var), abs=1e-6)


def test_no_gaussian_steps_back_have_a_lower_bound_than_the_fitted_ones():
    x0, weight = data_nodes(DATA)
    fitted = fitted_reverse(SCHEDULE, DATA)
    changes = (lambda m, v: (m, v), lambda m, v: (m + 0.05, v), lambda m, v: (m, 1.1 * v), lambda m, v: (m, 0.9 * v))
    bounds = []
    for change in changes:
        chain = GridChain(SCHEDULE, lambda xt, t, change=change: change(*fitted(xt, t)))
        bounds.append(float(weight @ chain.bound(x0).total))
    assert min(bounds[1:]) > bounds[0]


def test_smallest_bound_is_not_the_highest_likelihood():
    """Narrower steps than the best Gaussian ones, in the chain of notebook 01: a better model with a worse bound."""
    schedule = NoiseSchedule.from_betas([0.2, 0.3, 0.4, 0.5])
    fitted, (x0, weight) = fitted_reverse(schedule, DATA), data_nodes(DATA)
    exact, bound = {}, {}
    for factor in (1, 0.95):
        chain = GridChain(schedule, lambda xt, t, factor=factor: (fitted(xt, t)[0], factor * fitted(xt, t)[1]))
        exact[factor], bound[factor] = float(weight @ chain.nll(x0)), float(weight @ chain.direct_bound(x0))
    assert exact[0.95] < exact[1]
    assert bound[0.95] > bound[1]
    assert (exact[0.95], bound[0.95]) == pytest.approx((0.968, 1.051), abs=5e-4)  # as the notebook says


def test_average_over_the_data_has_the_mean_and_variance_of_the_data():
    x0, weight = data_nodes(DATA)
    assert float(weight.sum()) == pytest.approx(1)
    assert float(weight @ x0) == pytest.approx(DATA.mean)
    assert float(weight @ (x0 - DATA.mean) ** 2) == pytest.approx(DATA.var)


def test_one_step_is_a_chain_too():
    schedule = NoiseSchedule.from_betas([0.6])
    chain = GridChain(schedule, fitted_reverse(schedule, ONE_GAUSSIAN))
    torch.testing.assert_close(chain.bound(X0).total, chain.nll(X0) + chain.gap(X0), rtol=0, atol=1e-9)


def test_grid_that_cannot_hold_the_model_is_refused():
    for grid in (torch.linspace(-8, 8, 15), torch.linspace(-2, 2, 401)):
        with pytest.raises(ValueError, match="grid must be fine and wide enough"):
            GridChain(SCHEDULE, fitted_reverse(SCHEDULE, DATA), grid)


def test_uneven_grid_is_refused():
    with pytest.raises(ValueError, match="grid must be two or more evenly spaced points"):
        GridChain(SCHEDULE, bent, torch.logspace(-2, 1, 50))
