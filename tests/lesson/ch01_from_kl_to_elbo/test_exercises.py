"""Exercises of notebook 01: right answers pass in every form."""

import math

import numpy as np
import pytest
import torch

from ddpm_lesson.lesson.ch01_from_kl_to_elbo import exercises


def kl_with_variances(mean1, std1, mean2, std2):
    var1, var2 = std1**2, std2**2
    return 0.5 * ((var2 / var1).log() + var1 / var2 + (mean2 - mean1) ** 2 / var2 - 1)


def kl_in_float32(mean1, std1, mean2, std2):
    mean1, std1, mean2, std2 = (v.float() for v in (mean1, std1, mean2, std2))
    std1 = std1 / std2
    return (std1**2 - 1 + ((mean1 - mean2) / std2) ** 2) / 2 - std1.log()


def kl_in_numpy(*arguments):
    m1, s1, m2, s2 = (a.numpy() for a in arguments)
    return np.log(s2) - np.log(s1) + (s1**2 + np.square(m1 - m2)) / (2 * s2**2) - 0.5


def elbo_by_sum(log_prior, log_likelihood, log_q):
    log_prior = log_prior + log_likelihood
    log_prior -= log_q
    return log_prior.sum(-1) / log_prior.shape[-1]


def elbo_as_kl(log_prior, log_likelihood, log_q):
    return log_likelihood.mean(1) - (log_q - log_prior).mean(1)


def bound_terms_by_loop(log_q_end, log_prior, log_posterior, log_p):
    steps = [log_posterior[:, i] - log_p[:, i + 1] for i in range(log_posterior.shape[1])]
    return [log_q_end - log_prior, torch.stack(steps, 1), -log_p.T[0]]


def bits_in_two_steps(nats, shape):
    _, channels, height, width = shape
    return [n / math.log(2) / (channels * height * width) for n in nats.tolist()]


def bits_with_log2_e(nats, shape):
    return nats * np.log2(np.e) / np.prod(shape[1:])


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (exercises.check_gaussian_kl, kl_with_variances),
        (exercises.check_gaussian_kl, kl_in_float32),
        (exercises.check_gaussian_kl, kl_in_numpy),
        (exercises.check_elbo, elbo_by_sum),
        (exercises.check_elbo, elbo_as_kl),
        (exercises.check_bound_terms, bound_terms_by_loop),
        (exercises.check_bound_terms, lambda e, z, q, p: (e - z, q - p[:, 1:], -p[:, :1].flatten())),
        (exercises.check_bits_per_dim, bits_in_two_steps),
        (exercises.check_bits_per_dim, bits_with_log2_e),
    ],
)
def test_right_answers_in_other_forms_pass(exercise, answer):
    assert exercise(answer).passed


def test_solution_of_the_kl_is_that_of_torch():
    mean1, std1, mean2, std2 = exercises.check_gaussian_kl.cases[0]
    normal = torch.distributions.Normal
    oracle = torch.distributions.kl_divergence(normal(mean1, std1), normal(mean2, std2))
    torch.testing.assert_close(exercises.check_gaussian_kl.solution(mean1, std1, mean2, std2), oracle)
