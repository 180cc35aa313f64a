"""The equations of notebook 02 hold, and what is not true does not."""

import math

import pytest
import torch

from ddpm_lesson.lesson.ch02_closed_form_posterior.exercises import check_posterior_mean, posterior_mean, posterior_var
from ddpm_lesson.lesson.ch02_closed_form_posterior.proofs import (
    DATA,
    FINE,
    STEPS,
    average_gap,
    gaussian_entropies,
    posterior_coefficients,
    prove,
    step_entropy,
    teachers_average,
)
from ddpm_lesson.lesson.kit.mixture import GaussianMixture
from ddpm_lesson.schedule import NoiseSchedule

slipped_mean = next(m.function for m in check_posterior_mean.known if m.name == "alpha for alpha_bar")


def weights(x0_root=0.5, xt_root=0.5, var_scale=1.0):
    def coefficients(alpha, alpha_bar_prev):
        a, b, var = posterior_coefficients(alpha, alpha_bar_prev)
        return a * alpha_bar_prev ** (x0_root - 0.5), b * alpha ** (xt_root - 0.5), var * var_scale

    return coefficients


def package_like(x0_mean, x0_var, xt, t, beta, keep_spread):
    alpha_bar = (1 - beta).cumprod(0)
    a, b, var = posterior_coefficients(float(1 - beta[t]), float(alpha_bar[t - 1]))
    return a * x0_mean + b * xt, var + (a * x0_var if keep_spread else 0)


def closed_form(x0, t, beta, mean_scale=1.0, var_scale=1.0):
    alpha_bar = (1 - beta).cumprod(0)[t]
    return mean_scale * alpha_bar.sqrt() * x0, var_scale * (1 - alpha_bar)


PLANTED = [
    ("2.1", {"draw": lambda mean, std, eps: mean + std**2 * eps}),
    ("2.1", {"draw": lambda mean, std, eps: mean - 0.01 + std * eps}),
    ("2.2", {"var": lambda a, b: (a + b) ** 2}),
    ("2.2", {"var": lambda a, b: a**2 + b**2 + 2 * a * b * 0.01}),
    ("2.3", {"formula": lambda x_prev, beta: ((1 - beta) * x_prev, beta)}),
    ("2.3", {"formula": lambda x_prev, beta: (math.sqrt(1 - beta) * x_prev, beta**2)}),
    ("2.4", {"var": lambda var_prev, beta: var_prev + beta}),
    ("2.4", {"var": lambda var_prev, beta: (1 - beta) ** 2 * var_prev + beta}),
    ("2.5", {"total": lambda alpha, alpha_bar_prev: 1 - alpha_bar_prev}),
    ("2.5", {"total": lambda alpha, alpha_bar_prev: 1 - (alpha * alpha_bar_prev) ** 0.5}),
    ("2.6", {"formula": lambda x0, t, beta: ((1 - beta[t]).sqrt() * x0, beta[t])}),  # alpha for alpha_bar
    ("2.6", {"formula": lambda x0, t, beta: ((1 - beta).prod() ** 0.5 * x0, beta.sum())}),
    (
        "2.6",
        {"formula": lambda x0, t, beta: closed_form(x0, t, beta, var_scale=1.001)},
    ),  # too little for chance to show
    ("2.6", {"formula": lambda x0, t, beta: closed_form(x0, t, beta, mean_scale=1.0001)}),
    ("2.7", {"rule": lambda likelihood, prior, evidence: likelihood * prior}),
    ("2.7", {"rule": lambda likelihood, prior, evidence: likelihood / evidence}),
    ("2.8", {"formula": lambda xt, alpha, beta: (xt / math.sqrt(alpha), beta)}),
    ("2.8", {"formula": lambda xt, alpha, beta: (xt * math.sqrt(alpha), beta / alpha)}),
    ("2.9", {"formula": lambda m1, v1, m2, v2: ((m1 + m2) / 2, 1 / (1 / v1 + 1 / v2))}),
    ("2.9", {"formula": lambda m1, v1, m2, v2: ((m1 * v2 + m2 * v1) / (v1 + v2), v1 + v2)}),
    ("2.10", {"var": lambda t, beta: beta[t]}),
    ("2.10", {"var": lambda t, beta: posterior_var(t, beta) ** 0.5}),
    ("2.11", {"mean": slipped_mean}),  # the source document's
    ("2.11", {"mean": lambda x0, xt, t, beta: posterior_mean(xt, x0, t, beta)}),
    ("2.12", {"coefficients": weights(x0_root=1.0)}),
    ("2.12", {"coefficients": weights(xt_root=1.0)}),
    ("2.12", {"coefficients": weights(var_scale=2)}),
    ("2.13", {"var": lambda beta, alpha_bar_prev, s2: beta}),
    ("2.13", {"var": lambda beta, alpha_bar_prev, s2: beta * s2}),
    ("2.13", {"var": lambda beta, alpha_bar_prev, s2: beta * (alpha_bar_prev * s2 + 1 - alpha_bar_prev)}),
    ("2.14", {"bounds": lambda beta, beta_tilde: (math.log(beta_tilde), math.log(beta))}),
    ("2.14", {"bounds": lambda beta, beta_tilde: (-10.0, 10.0)}),  # true, and useless
    ("2.14", {"bounds": lambda beta, beta_tilde: gaussian_entropies(beta, beta_tilde)[::-1]}),
    ("2.15", {"formula": lambda *arguments: package_like(*arguments, keep_spread=False)}),
    ("2.15", {"formula": lambda *arguments: package_like(*arguments, keep_spread=True)}),
    ("2.16", {"best": lambda mean, var: (mean, 0.99 * var)}),
    ("2.16", {"best": lambda mean, var: (mean + 0.01, var)}),
    ("2.17", {"formula": lambda cross_entropy, beta_tilde, beta: cross_entropy}),
    ("2.17", {"formula": lambda cross_entropy, beta_tilde, beta: teachers_average(cross_entropy, beta, beta)}),
]


@pytest.mark.parametrize(("number", "wrong"), PLANTED)
def test_wrong_formula_does_not_hold(number, wrong):
    assert not prove(number, **wrong).holds


@pytest.mark.parametrize(("number", "right"), [("2.10", {"var": posterior_var}), ("2.11", {"mean": posterior_mean})])
def test_the_exercises_solutions_pass_the_proofs(number, right):
    assert prove(number, **right).holds


@pytest.mark.parametrize("t", [1, 7, 19])
def test_posterior_agrees_with_diffusers(diffusers, t):
    scheduler = diffusers.DDPMScheduler(trained_betas=STEPS.numpy())
    assert float(posterior_var(t, STEPS)) == pytest.approx(float(scheduler._get_variance(t)), rel=1e-5)
    x0, xt = torch.tensor([[0.3, -1.2]]), torch.tensor([[0.9, 0.4]])
    alpha_bar = scheduler.alphas_cumprod[t]
    eps = (xt - alpha_bar.sqrt() * x0) / (1 - alpha_bar).sqrt()
    scheduler.config.clip_sample = False
    steps = [scheduler.step(eps, t, xt, generator=torch.Generator().manual_seed(seed)).prev_sample for seed in range(2)]
    noise = [torch.randn(xt.shape, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    std = float(scheduler._get_variance(t)) ** 0.5
    means = [step - std * eps for step, eps in zip(steps, noise, strict=True)]
    torch.testing.assert_close(means[0], means[1])
    torch.testing.assert_close(means[0].double(), posterior_mean(x0, xt, t, STEPS).double(), atol=1e-5, rtol=0)


def test_the_slip_is_right_at_the_first_two_steps_only():
    x0, xt = torch.tensor(0.9, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    errors = torch.stack([(slipped_mean(x0, xt, t, FINE) - posterior_mean(x0, xt, t, FINE)).abs() for t in range(1000)])
    assert float(errors[:2].max()) < 1e-12  # alpha_0 and alpha_bar_0 are one number
    assert float(errors[2:].min()) > 1e-6


def test_upper_bound_of_the_entropy_needs_a_variance_of_at_most_one():
    wide = GaussianMixture([1.0], [0.0], [2.0])
    assert step_entropy(wide.noised(0.5), 0.4) > gaussian_entropies(0.4, 0.2)[1] + 0.01


@pytest.mark.parametrize(("beta", "alpha_bar_prev"), [(0.3, 0.9), (0.1, 0.5)])
def test_average_gap_is_the_average_of_the_gaps(beta, alpha_bar_prev):
    xt = torch.linspace(-6, 6, 481, dtype=torch.float64)
    gaps = [DATA.step_back(float(x), beta, alpha_bar_prev).gaussian_gap() for x in xt]
    density = DATA.noised((1 - beta) * alpha_bar_prev).prob(xt)
    expected = float(torch.trapezoid(density * torch.tensor(gaps, dtype=torch.float64), xt))
    assert average_gap(DATA, beta, alpha_bar_prev) == pytest.approx(expected, rel=1e-6)


def test_twice_the_steps_miss_a_quarter():
    totals = []
    for n in (100, 200):
        s = NoiseSchedule.linear(n, 0.1 / n, 20 / n).to(torch.float64)
        totals.append(sum(average_gap(DATA, float(s.beta[t]), float(s.alpha_bar_prev[t])) for t in range(1, n)))
    assert 3 < totals[0] / totals[1] < 4


def test_gap_to_the_best_gaussian_is_zero_for_a_gaussian_only():
    assert GaussianMixture([1.0], [0.3], [0.7]).gaussian_gap() == pytest.approx(0, abs=1e-14)
    assert GaussianMixture([0.5, 0.5], [-1.0, 1.0], [0.2, 0.2]).gaussian_gap() > 0.1


def test_gap_is_the_entropy_that_the_mixture_lacks():
    far = GaussianMixture([0.5, 0.5], [-50.0, 50.0], [1.0, 1.0])  # its entropy: one Gaussian and one fair coin
    entropy = 0.5 * math.log(2 * math.pi * math.e) + math.log(2)
    assert far.gaussian_gap() == pytest.approx(0.5 * math.log(2 * math.pi * math.e * far.var) - entropy, abs=1e-9)


def test_gap_agrees_with_monte_carlo(rng):
    mixture = GaussianMixture([0.3, 0.7], [-1.0, 0.8], [0.5, 0.4])
    x = mixture.sample(200_000, rng())
    fit = torch.distributions.Normal(mixture.mean, mixture.var**0.5)
    ratios = mixture.log_prob(x) - fit.log_prob(x)
    assert mixture.gaussian_gap() == pytest.approx(float(ratios.mean()), abs=5 * float(ratios.std()) / len(x) ** 0.5)
