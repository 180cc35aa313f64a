"""The equations of notebook 12: each holds, and wrong ones in their place are found out."""

import math

import pytest
import torch

from ddpm_lesson.bound import decoder_log_likelihood
from ddpm_lesson.evaluate import expected_floor
from ddpm_lesson.lesson.ch12_evaluation.exercises import check_frechet
from ddpm_lesson.lesson.ch12_evaluation.proofs import bits_of_density, prove, squared_distance_of_pairs


def decoder(half=1 / 255, edges=True):
    """A wrong form of the decoder: another bin, or no infinite ends."""

    def formula(x0, mean, var):
        normal = torch.distributions.Normal(mean, var.sqrt())
        upper, lower = normal.cdf(x0 + half), normal.cdf(x0 - half)
        if edges:
            upper[-1], lower[0] = 1, 0
        return (upper - lower).clamp(min=1e-300).log()

    return formula


PLANTED = [
    ("12.1", decoder(edges=False)),
    ("12.1", decoder(half=0.5 / 255)),
    ("12.1", lambda x0, mean, var: decoder_log_likelihood(x0, mean, var**0.5)),
    ("12.2", lambda d: -d / math.log(2)),
    ("12.2", lambda d: -d / math.log(2) + math.log2(255)),
    ("12.2", lambda d: -d + math.log(255 / 2)),
    ("12.2", lambda d: bits_of_density(d) - 2 * math.log2(255 / 2)),
    ("12.3", lambda m1, c1, m2, c2, c: squared_distance_of_pairs(m1, c1, m2, c2, 0.5 * c)),
    ("12.3", lambda m1, c1, m2, c2, c: (c1 + c2 - 2 * c).trace()),
    ("12.3", lambda m1, c1, m2, c2, c: squared_distance_of_pairs(m1, c1, m2, c2, -c)),
    *(("12.4", mistake.function) for mistake in check_frechet.known),
    ("12.5", lambda m1, s1, m2, s2: (m1 - m2) ** 2 + s1**2 + s2**2),
    ("12.5", lambda m1, s1, m2, s2: (m1 - m2) ** 2 + (s1**2 - s2**2) ** 2),
    ("12.5", lambda m1, s1, m2, s2: abs(m1 - m2) + abs(s1 - s2)),
    ("12.6", lambda cov, n, m: cov.trace() * (1 / n + 1 / m)),  # the means alone
    ("12.6", lambda cov, n, m: expected_floor(cov, n, 10**9)),  # only one of the sets is a sample
    ("12.6", lambda cov, n, m: expected_floor(cov, n, m).sqrt()),
]


@pytest.mark.parametrize(("number", "formula"), PLANTED)
def test_wrong_formula_is_found_out(number, formula):
    assert not prove(number, formula=formula).holds
