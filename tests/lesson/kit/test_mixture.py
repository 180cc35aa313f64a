"""Gaussian mixtures: every closed form against integrals on a fine grid."""

import math

import pytest
import torch

from ddpm_lesson.lesson.kit.mixture import GaussianMixture

X = torch.linspace(-12, 12, 48_001, dtype=torch.float64)


@pytest.fixture(scope="module")
def mixture():
    return GaussianMixture([0.3, 0.7], [-1.0, 0.5], [0.2, 0.4])


@pytest.fixture(scope="module")
def exact(mixture):
    """As good as all of its draws: its quantiles in 300,000 equal steps."""
    return mixture.quantile((torch.arange(300_000) + 0.5) / 300_000)


def normal(x, mean, std):
    return torch.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


def integral(values):
    return float(torch.trapezoid(values, X))


def test_density_integrates_to_one_with_the_stated_moments(mixture):
    assert integral(mixture.prob(X)) == pytest.approx(1, abs=1e-12)
    assert integral(X * mixture.prob(X)) == pytest.approx(mixture.mean, abs=1e-12)
    assert integral((X - mixture.mean) ** 2 * mixture.prob(X)) == pytest.approx(mixture.var, abs=1e-12)


def test_weights_are_scaled_to_one():
    assert GaussianMixture([1, 3], [0, 0], [1, 1]).weights.tolist() == [0.25, 0.75]


def test_samples_follow_the_density(mixture):
    x = mixture.sample(200_000, torch.Generator().manual_seed(0))
    assert float(x.mean()) == pytest.approx(mixture.mean, abs=5 * mixture.var**0.5 / 200_000**0.5)
    assert float((x < -0.5).double().mean()) == pytest.approx(integral(mixture.prob(X) * (X < -0.5)), abs=0.006)


@pytest.mark.parametrize("alpha_bar", [0.9, 0.5, 0.01])
def test_noised_density_is_the_convolution_with_noise(mixture, alpha_bar):
    for xt in (-1.3, 0.0, 0.8):
        by_integral = integral(mixture.prob(X) * normal(xt, alpha_bar**0.5 * X, (1 - alpha_bar) ** 0.5))
        density = mixture.noised(alpha_bar).prob(torch.tensor(xt, dtype=torch.float64))
        assert float(density) == pytest.approx(by_integral, abs=1e-10)


@pytest.mark.parametrize("alpha_bar", [0.9, 0.5, 0.01])
def test_exact_estimates_are_the_means_of_the_posterior_on_a_grid(mixture, alpha_bar):
    for xt in (-1.3, 0.0, 0.8):
        joint = mixture.prob(X) * normal(xt, alpha_bar**0.5 * X, (1 - alpha_bar) ** 0.5)
        x0 = integral(X * joint) / integral(joint)
        eps = integral((xt - alpha_bar**0.5 * X) / (1 - alpha_bar) ** 0.5 * joint) / integral(joint)
        at = torch.tensor([xt], dtype=torch.float64)
        assert float(mixture.exact_x0(at, alpha_bar)) == pytest.approx(x0, abs=1e-9)
        assert float(mixture.exact_eps(at, alpha_bar)) == pytest.approx(eps, abs=1e-9)


@pytest.mark.parametrize(("beta", "alpha_bar_prev"), [(0.01, 0.9), (0.4, 0.5), (0.4, 1.0)])
def test_step_back_is_bayes_on_a_grid(mixture, beta, alpha_bar_prev):
    for xt in (-1.0, 0.2):
        joint = mixture.noised(alpha_bar_prev).prob(X) * normal(xt, (1 - beta) ** 0.5 * X, beta**0.5)
        torch.testing.assert_close(
            mixture.step_back(xt, beta, alpha_bar_prev).prob(X), joint / integral(joint), atol=1e-8, rtol=0
        )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (([0.5, 0.5], [0.0], [1.0]), "weights, means and stds"),
        (([], [], []), "weights, means and stds"),
        (([0.5, 0.0], [0.0, 1.0], [1.0, 1.0]), "weights must be positive"),
        (([0.5, 0.5], [0.0, 1.0], [1.0, -1.0]), "stds must be positive"),
    ],
)
def test_impossible_mixtures_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        GaussianMixture(*arguments)


# Distribution function, quantiles and a distance


def test_distribution_function_is_the_integral_of_the_density(mixture):
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    integral = torch.cumulative_trapezoid(mixture.prob(x), x)
    torch.testing.assert_close(mixture.cdf(x)[1:], integral, atol=1e-4, rtol=0)


def test_quantiles_undo_the_distribution_function(mixture):
    u = torch.tensor([1e-6, 0.01, 0.3, 0.5, 0.9, 1 - 1e-6], dtype=torch.float64)
    torch.testing.assert_close(mixture.cdf(mixture.quantile(u)), u, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.3, -1.0])
def test_distance_is_wassersteins(mixture, exact, shift):
    from scipy.stats import wasserstein_distance

    samples = mixture.sample(3000, torch.Generator().manual_seed(1)) + shift
    assert mixture.distance(samples) == pytest.approx(wasserstein_distance(samples, exact), abs=2e-3)


def test_distance_of_a_shift_is_the_shift(mixture):
    n = 2000
    exact = mixture.quantile((torch.arange(n, dtype=torch.float64) + 0.5) / n)
    assert mixture.distance(exact) < 1e-12
    assert mixture.distance(exact.flip(0)[:, None] + 0.25) == pytest.approx(0.25)
