"""The exercises of notebook 02 accept every right answer, in any form."""

import math

import numpy as np
import pytest
import torch

from ddpm_lesson.lesson.ch02_closed_form_posterior.exercises import (
    check_alpha_bars,
    check_posterior_mean,
    check_posterior_var,
    check_product_of_gaussians,
    check_q_step,
)


def q_step_in_place(x_prev, beta, eps):
    return (eps * torch.sqrt(beta)).add_(x_prev * torch.sqrt(1 - beta))


def alpha_bars_in_a_loop(beta):
    product, out = 1.0, []
    for b in beta.tolist():
        product *= 1 - b
        out.append(product)
    return np.array(out)


def product_by_variances(m1, v1, m2, v2):
    return (m1 * v2 + m2 * v1) / (v1 + v2), v1 * v2 / (v1 + v2)


def mean_by_the_product(x0, xt, t, beta):
    beta = beta.double()
    alpha_bar = torch.cumprod(1 - beta, 0)
    if t == 0:
        return x0.double()
    m1, v1 = alpha_bar[t - 1].sqrt() * x0, 1 - alpha_bar[t - 1]
    m2, v2 = xt / (1 - beta[t]).sqrt(), beta[t] / (1 - beta[t])
    return product_by_variances(m1, v1, m2, v2)[0]


def mean_from_the_noise(x0, xt, t, beta):
    alpha, alpha_bar = 1 - beta, torch.cumprod(1 - beta, 0)
    eps = (xt - alpha_bar[t].sqrt() * x0) / (1 - alpha_bar[t]).sqrt()
    return (xt - beta[t] / (1 - alpha_bar[t]).sqrt() * eps) / alpha[t].sqrt()


def var_as_a_number(t, beta):
    alpha_bar = np.cumprod(1 - beta.numpy().astype(np.float64))
    return float(beta[t]) * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) if t else 0.0


def var_by_precisions(t, beta):
    if t == 0:
        return 0
    alpha_bar_prev = math.prod(1 - b for b in beta[:t].tolist())
    return 1 / (1 / (1 - alpha_bar_prev) + (1 - beta[t]) / beta[t])


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (check_q_step, q_step_in_place),
        (check_alpha_bars, alpha_bars_in_a_loop),
        (check_alpha_bars, lambda beta: torch.exp(torch.log1p(-beta.double()).cumsum(0))),
        (check_product_of_gaussians, product_by_variances),
        (check_posterior_mean, mean_by_the_product),
        (check_posterior_mean, mean_from_the_noise),
        (check_posterior_var, var_as_a_number),
        (check_posterior_var, var_by_precisions),
    ],
)
def test_right_answer_is_accepted_in_other_forms(exercise, answer):
    assert exercise(answer).passed
