"""Exercises of notebook 01: right answers pass in every form, and every known mistake is called by its name."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from ddpm_lesson.lesson.ch01_from_kl_to_elbo import exercises
from ddpm_lesson.lesson.kit.exercise import as_tensors, call, same

EXERCISES = [
    exercises.check_bits_per_dim,
    exercises.check_elbo,
    exercises.check_gaussian_kl,
    exercises.check_negative_elbo,
]
MISTAKES = [(exercise, mistake) for exercise in EXERCISES for mistake in exercise.mistakes]


def ids(value):
    return getattr(value, "function", None) if hasattr(value, "cases") else getattr(value, "name", None)


@pytest.mark.parametrize("exercise", EXERCISES, ids=ids)
def test_solution_passes(exercise):
    result = exercise(exercise.solution)
    assert result.passed
    assert result.message.startswith("**Right.**")


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES, ids=ids)
def test_mistake_is_called_by_its_name(exercise, mistake):
    result = exercise(mistake.function)
    assert not result.passed
    assert result.misconception == mistake.name
    assert mistake.hint in result.message


@pytest.mark.parametrize("exercise", EXERCISES, ids=ids)
def test_mistakes_differ_from_each_other(exercise):
    answers = {m.name: [as_tensors(call(m.function, case)) for case in exercise.cases] for m in exercise.mistakes}
    for first, second in combinations(answers, 2):
        assert not same(answers[first], answers[second], exercise.tolerance), (first, second)


@pytest.mark.parametrize("exercise", EXERCISES, ids=ids)
def test_untouched_stub_gets_a_friendly_line(exercise):
    def stub(*arguments): ...

    result = exercise(stub)
    assert result.message.startswith("*Your turn:*")
    assert not result.passed


def kl_with_variances(mean1, std1, mean2, std2):
    var1, var2 = std1**2, std2**2
    return 0.5 * ((var2 / var1).log() + var1 / var2 + (mean2 - mean1) ** 2 / var2 - 1)


def kl_in_float32(mean1, std1, mean2, std2):
    mean1, std1, mean2, std2 = (v.float() for v in (mean1, std1, mean2, std2))
    std1 /= std2
    return (std1**2 - 1 + ((mean1 - mean2) / std2) ** 2) / 2 - std1.log()


def kl_in_numpy(*arguments):
    m1, s1, m2, s2 = (a.numpy() for a in arguments)
    return np.log(s2) - np.log(s1) + (s1**2 + np.square(m1 - m2)) / (2 * s2**2) - 0.5


def elbo_by_sum(log_prior, log_likelihood, log_q):
    log_prior += log_likelihood
    log_prior -= log_q
    return log_prior.sum(-1) / log_prior.shape[-1]


def elbo_as_kl(log_prior, log_likelihood, log_q):
    return log_likelihood.mean(1) - (log_q - log_prior).mean(1)


def negative_elbo_by_loop(log_q_end, log_prior, log_posterior, log_p):
    total = log_q_end - log_prior - log_p[:, 0]
    for i in range(log_posterior.shape[1]):
        total = total + log_posterior[:, i] - log_p[:, i + 1]
    return total


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
        (exercises.check_negative_elbo, negative_elbo_by_loop),
        (exercises.check_negative_elbo, lambda e, z, q, p: (e - z) + q.sum(1) - p.sum(1)),
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
