"""The equations of notebook 11: each holds, and wrong ones in their place are found out."""

import pytest
import torch

from ddpm_lesson.lesson.ch11_sampling import proofs as sampling
from ddpm_lesson.lesson.ch11_sampling.proofs import prove
from ddpm_lesson.lesson.kit.proof import root


def step_with_beta(x0, eps, alpha_bar, alpha_bar_prev):
    """The mean of a DDIM step that leaves room for noise of variance beta, not of the posterior's."""
    sigma2 = min(1 - alpha_bar / alpha_bar_prev, 1 - alpha_bar_prev)
    return alpha_bar_prev**0.5 * x0 + (1 - alpha_bar_prev - sigma2) ** 0.5 * eps


def step_without_room(x0, eps, alpha_bar, alpha_bar_prev):
    """The mean of a DDIM step with eta = 0."""
    return alpha_bar_prev**0.5 * x0 + (1 - alpha_bar_prev) ** 0.5 * eps


PLANTED = [
    ("11.1", lambda xt, eps, a, a_bar: (xt - (1 - a) / root(1 - a_bar) * eps) / root(a_bar)),  # the source document's
    ("11.1", lambda xt, eps, a, a_bar: (xt - root(1 - a) / root(1 - a_bar) * eps) / root(a)),
    ("11.1", lambda xt, eps, a, a_bar: (xt - (1 - a) / (1 - a_bar) * eps) / root(a)),
    ("11.2", lambda x0, xt, beta: (x0, beta.expand(3))),  # the source document's: noise of variance beta_1
    ("11.2", lambda x0, xt, beta: ((xt / (1 - beta).sqrt()), torch.zeros(3))),
    ("11.3", lambda a, prev: 1 - a),
    ("11.3", lambda a, prev: prev / a - 1),
    ("11.3", lambda a, prev: 1 - (a / prev) ** 0.5),
    ("11.4", lambda s, a, p: sampling.larger_beta(a, p)),  # right for data N(0, 1) only
    ("11.4", lambda s, a, p: sampling.larger_beta(a, p) * (1 - p) / (1 - a)),  # right for a single point only
    ("11.4", lambda s, a, p: sampling.exact_variance(s**0.5, a, p)),
    ("11.5", lambda a, p: sampling.larger_beta(a, p) ** 2 / (1 - a)),
    ("11.5", lambda a, p: p * sampling.larger_beta(a, p) / (1 - a)),
    ("11.6", lambda x0, eps, z, p, s2: root(p) * x0 + root(1 - p) * eps + root(s2) * z),  # noise on top
    ("11.6", lambda x0, eps, z, p, s2: p * x0 + root(1 - p - s2) * eps + root(s2) * z),
    ("11.6", lambda x0, eps, z, p, s2: root(p) * x0 + (1 - p - s2) * eps + root(s2) * z),
    ("11.7", step_with_beta),
    ("11.7", step_without_room),
    ("11.8", lambda xt, eps, a, p: root(p / a) * xt),
    ("11.8", lambda xt, eps, a, p: root(p) * (xt / root(a) + (root(1 - p) - root(1 - a)) * eps)),
    ("11.8", lambda xt, eps, a, p: xt / root(a) + (root(1 / p - 1) - root(1 / a - 1)) * eps),
    ("11.9", {"linear": lambda weight: 1.0}),
    ("11.9", {"linear": lambda weight: (1 - weight) ** 2 + weight**2}),
    ("11.9", {"arc": sampling.length_of_the_mean}),
]


@pytest.mark.parametrize(("number", "wrong"), PLANTED)
def test_a_wrong_formula_is_found_out(number, wrong):
    proof = prove(number, **(wrong if isinstance(wrong, dict) else {"formula": wrong}))
    assert not proof.holds
    assert proof.error > 5 * proof.tolerance


@pytest.mark.parametrize("number", ["11.1", "11.3", "11.4", "11.7", "11.8"])
def test_a_formula_that_gives_nan_does_not_hold(number):
    assert not prove(number, formula=lambda *_: torch.tensor(torch.nan)).holds
